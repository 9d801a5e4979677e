"""Saving plans, and asking for their publication in the same transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from sqlalchemy import delete, select

from db.accounts.rules import Viewer
from db.errors import Code, refuse
from db.ledger.commands import cancel_others, enqueue
from db.ledger.jobs import Subject
from db.plans.commands.surroundings import Surroundings, items_of, targets_of, the_course, the_plan
from db.plans.jobs import PublishPlan
from db.plans.models import Plan, TaskingPlan
from db.plans.rules import (
    NEW_PLAN,
    Draft,
    PlanFacts,
    PlanState,
    PlanType,
    SaveDecision,
    Target,
    Tasking,
    decide_save,
    page_keys,
    plan_topic,
)
from db.session import Tx

SUBJECT = "TaskPlan"
NEXT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TaskingWanted:
    """A tasking plan as a caller names it: the type and key of its target, None where the id was malformed."""

    target_type: str | None
    target_id: UUID | None
    opens_at: datetime
    due_at: datetime
    closes_at: datetime


class PlanChanges(TypedDict, total=False):
    """What `updatePlan` was given; a name that is missing stays as it is."""

    title: str
    description: str
    settings: Any
    taskings: Sequence[TaskingWanted]


@dataclass(frozen=True, slots=True)
class Saved:
    """The plan that was written, and the job that publishes it where one does."""

    plan_id: UUID
    job_id: UUID | None


async def create_plan(
    tx: Tx,
    *,
    actor: Viewer,
    course_id: UUID,
    type: PlanType,
    title: str,
    description: str,
    settings: Any,
    taskings: Sequence[TaskingWanted],
    publish: bool,
    now: datetime,
) -> Saved:
    """Write a new plan, and ask for its publication where that is wanted.

    Raises Refused: NOT_FOUND or FORBIDDEN at `courseId`, and everything that `decide_save` finds.
    """
    course = await the_course(tx, actor=actor, course_id=course_id, now=now)
    draft = Draft(type, title, description, settings, await _targeted(tx, course.course_id, taskings))
    facts = replace(NEW_PLAN, has_course_ended=course.has_ended)
    decision = await _decide(tx, course, facts, draft, before=None, publish=publish, now=now)
    plan = Plan(
        course_id=course_id,
        type=type,
        title=decision.draft.title,
        description=decision.draft.description,
        settings=decision.draft.settings,
        state=PlanState.DRAFT,
        publish_generation=0,
        created_by_id=actor.user_id,
        created_at=now,
        updated_at=now,
    )
    await tx.insert(plan)
    tx.add_all(_rows(plan.id, decision.draft.taskings))
    job_id = await _ask_to_publish(tx, plan, decision, actor=actor, now=now) if decision.publishes else None
    await tx.flush()
    return Saved(plan.id, job_id)


async def update_plan(
    tx: Tx,
    *,
    actor: Viewer,
    plan_id: UUID,
    changes: PlanChanges,
    publish: bool,
    expected_revision: int | None,
    now: datetime,
) -> Saved:
    """Save a plan. Where its publication was ever requested, that asks for another one.

    Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`, and what `decide_save` finds.
    """
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, now=now)
    _check_revision(plan, expected_revision)
    stored = await _stored(tx, plan)
    wanted = stored
    if "taskings" in changes:
        wanted = replace(wanted, taskings=await _targeted(tx, plan.course_id, changes["taskings"]))
    wanted = replace(
        wanted,
        title=changes.get("title", wanted.title),
        description=changes.get("description", wanted.description),
        settings=changes.get("settings", wanted.settings),
    )
    decision = await _decide(tx, course, _facts(plan, course), wanted, before=stored, publish=publish, now=now)
    return await _save(tx, plan, decision, actor=actor, now=now)


async def publish_plan(
    tx: Tx, *, actor: Viewer, plan_id: UUID, open_now: bool, expected_revision: int | None, now: datetime
) -> Saved:
    """Ask for the publication of a plan as it is saved. `open_now` moves opening dates that have passed to now.

    Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`, and what `decide_save` finds.
    """
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, now=now)
    _check_revision(plan, expected_revision)
    stored = await _stored(tx, plan)
    decision = await _decide(
        tx, course, _facts(plan, course), stored, before=stored, publish=True, open_now=open_now, now=now
    )
    return await _save(tx, plan, decision, actor=actor, now=now)


# ------------------------------------------------------------------------------------------------- inside


async def _decide(
    tx: Tx,
    course: Surroundings,
    facts: PlanFacts,
    draft: Draft,
    *,
    before: Draft | None,
    publish: bool,
    open_now: bool = False,
    now: datetime,
) -> SaveDecision:
    items = await items_of(tx, course_id=course.course_id, keys=page_keys(draft.settings))
    return decide_save(
        facts,
        draft,
        before=before,
        window=course.window,
        items=items,
        publish=publish,
        open_now=open_now,
        now=now,
    )


async def _save(tx: Tx, plan: Plan, decision: SaveDecision, *, actor: Viewer, now: datetime) -> Saved:
    plan.title = decision.draft.title
    plan.description = decision.draft.description
    plan.settings = decision.draft.settings
    plan.revision += 1
    plan.updated_at = now
    if not decision.keeps_tasks:
        await _replace_taskings(tx, plan.id, decision.draft.taskings)
    job_id = await _ask_to_publish(tx, plan, decision, actor=actor, now=now) if decision.publishes else None
    tx.hint(plan_topic(plan.id))
    await tx.flush()
    return Saved(plan.id, job_id)


async def _ask_to_publish(tx: Tx, plan: Plan, decision: SaveDecision, *, actor: Viewer, now: datetime) -> UUID:
    """Stamp the request, make its job, and stop the jobs of older requests. The caller holds the plan's lock."""
    last = plan.publish_last_requested_at
    plan.publish_last_requested_at = now if last is None else max(now, last + NEXT)
    plan.publish_generation += 1
    if plan.state is not PlanState.PUBLISHING:
        plan.state_before_publish = plan.state
        plan.state = PlanState.PUBLISHING
    plan.is_replacing = not decision.keeps_tasks
    subject = Subject(SUBJECT, plan.id, plan.title)
    work = PublishPlan(plan_id=plan.id, generation=plan.publish_generation, keeps_tasks=decision.keeps_tasks)
    job = await enqueue(tx, work=work, actor_id=actor.user_id, subject=subject)
    plan.publish_job_id = job.job_id
    # The new job is the plan's newest before the old ones end, so that their ends do not touch the plan.
    await tx.flush()
    await cancel_others(
        tx,
        subject=subject,
        kind=work.kind,
        keep_job_id=job.job_id,
        actor_id=actor.user_id,
        reason="A newer publication was requested.",
        now=now,
    )
    tx.hint(plan_topic(plan.id))
    return job.job_id


def _check_revision(plan: Plan, expected: int | None) -> None:
    if expected is not None and expected != plan.revision:
        message = f"The plan was saved meanwhile: it is at revision {plan.revision}, not {expected}. Load it again."
        raise refuse(Code.CONFLICT, message, "expectedRevision", revision=plan.revision)


def _facts(plan: Plan, course: Surroundings) -> PlanFacts:
    return PlanFacts(
        state=plan.state,
        live_opens_at=plan.live_opens_at,
        first_published_at=plan.first_published_at,
        publish_last_requested_at=plan.publish_last_requested_at,
        has_course_ended=course.has_ended,
        is_replacing=plan.state is PlanState.PUBLISHING and plan.is_replacing,
    )


async def _stored(tx: Tx, plan: Plan) -> Draft:
    rows = await tx.scalars(select(TaskingPlan).where(TaskingPlan.plan_id == plan.id).order_by(TaskingPlan.id))
    taskings = tuple(Tasking(_target(row), row.opens_at, row.due_at, row.closes_at) for row in rows)
    return Draft(plan.type, plan.title, plan.description, plan.settings, taskings)


def _target(row: TaskingPlan) -> Target:
    return Target(course_id=row.course_id, class_id=row.class_id, user_id=row.user_id)


async def _targeted(tx: Tx, course_id: UUID, wanted: Sequence[TaskingWanted]) -> tuple[Tasking, ...]:
    known = await targets_of(tx, course_id=course_id, wanted=[(each.target_type, each.target_id) for each in wanted])
    return tuple(
        Tasking(known.get((each.target_type, each.target_id)), each.opens_at, each.due_at, each.closes_at)
        for each in wanted
    )


async def _replace_taskings(tx: Tx, plan_id: UUID, wanted: Sequence[Tasking]) -> None:
    """Make the stored list the wanted one; a target that stays keeps its row, and so its id."""
    rows = await tx.scalars(select(TaskingPlan).where(TaskingPlan.plan_id == plan_id))
    stored: Mapping[Target, TaskingPlan] = {_target(row): row for row in rows}
    kept = {tasking.target for tasking in wanted}
    gone = [row.id for target, row in stored.items() if target not in kept]
    if gone:
        await tx.execute(delete(TaskingPlan).where(TaskingPlan.id.in_(gone)))
    for tasking in wanted:
        row = stored.get(tasking.target) if tasking.target is not None else None
        if row is None:
            tx.add_all(_rows(plan_id, [tasking]))
        else:
            row.opens_at, row.due_at, row.closes_at = tasking.opens_at, tasking.due_at, tasking.closes_at


def _rows(plan_id: UUID, taskings: Sequence[Tasking]) -> list[TaskingPlan]:
    return [
        TaskingPlan(
            plan_id=plan_id,
            course_id=tasking.target.course_id,
            class_id=tasking.target.class_id,
            user_id=tasking.target.user_id,
            opens_at=tasking.opens_at,
            due_at=tasking.due_at,
            closes_at=tasking.closes_at,
        )
        for tasking in taskings
        if tasking.target is not None
    ]
