"""Saving plans, and asking for their publication in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from db.accounts.rules import Viewer
from db.errors import Code, Refused
from db.plans.commands.requesting import (
    Saved,
    ask_to_publish,
    facts_of,
    stored_draft,
    tasking_rows,
    write_plan,
)
from db.plans.commands.surroundings import Surroundings, items_of, targets_of, the_course, the_plan
from db.plans.models import Plan
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
    problems_of_any_course,
)
from db.session import Tx


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

    Raises Refused: FORBIDDEN at `courseId`; NOT_FOUND there, with what else can be told without a course; and
    everything that `decide_save` finds.
    """
    dated = tuple(Tasking(None, each.opens_at, each.due_at, each.closes_at) for each in taskings)
    draft = Draft(type, title, description, settings, dated)
    try:
        course = await the_course(tx, actor=actor, course_id=course_id, now=now)
    except Refused as refusal:
        more = problems_of_any_course(draft) if refusal.code is Code.NOT_FOUND else ()
        raise Refused(*refusal.problems, *more) from None
    draft = replace(draft, taskings=await _targeted(tx, course.course_id, taskings))
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
    tx.add_all(tasking_rows(plan.id, decision.draft.taskings))
    job_id = await ask_to_publish(tx, plan, decision, actor=actor, now=now) if decision.publishes else None
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
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, expected_revision=expected_revision, now=now)
    stored = await stored_draft(tx, plan, now=now)
    wanted = stored.saved
    if "taskings" in changes:
        wanted = replace(wanted, taskings=await _targeted(tx, plan.course_id, changes["taskings"], wanted.taskings))
    wanted = replace(
        wanted,
        title=changes.get("title", wanted.title),
        description=changes.get("description", wanted.description),
        settings=changes.get("settings", wanted.settings),
    )
    facts, wanted = facts_of(plan, course), stored.understood(wanted)
    decision = await _decide(tx, course, facts, wanted, before=stored.standing, publish=publish, now=now)
    writes = stored.is_void or not decision.keeps_tasks
    return await write_plan(tx, plan, decision, actor=actor, writes_taskings=writes, now=now)


async def publish_plan(
    tx: Tx, *, actor: Viewer, plan_id: UUID, open_now: bool, expected_revision: int | None, now: datetime
) -> Saved:
    """Ask for the publication of a plan as it is saved. `open_now` moves opening dates that have passed to now.

    Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`, and what `decide_save` finds.
    """
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, expected_revision=expected_revision, now=now)
    stored = await stored_draft(tx, plan, now=now)
    standing, facts = stored.standing, facts_of(plan, course)
    decision = await _decide(tx, course, facts, standing, before=standing, publish=True, open_now=open_now, now=now)
    writes = stored.is_void or not decision.keeps_tasks
    return await write_plan(tx, plan, decision, actor=actor, writes_taskings=writes, now=now)


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


async def _targeted(
    tx: Tx, course_id: UUID, wanted: Sequence[TaskingWanted], stored: Sequence[Tasking] = ()
) -> tuple[Tasking, ...]:
    named = [(each.target_type, each.target_id) for each in wanted]
    known = dict(await targets_of(tx, course_id=course_id, wanted=named))
    # What a plan has may stay, also where a class was archived or a learner has left since: forms send it back.
    known.update({_name(each.target): each.target for each in stored if each.target is not None})
    return tuple(
        Tasking(known.get(name), each.opens_at, each.due_at, each.closes_at)
        for name, each in zip(named, wanted, strict=True)
    )


def _name(target: Target) -> tuple[str, UUID | None]:
    """A target as a caller names it."""
    if target.course_id is not None:
        return "Course", target.course_id
    if target.class_id is not None:
        return "CourseClass", target.class_id
    return "User", target.user_id
