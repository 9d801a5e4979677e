"""Giving more time: the one change of dates that is possible once learners have opened their tasks."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from db.accounts.rules import Viewer
from db.plans.commands.requesting import facts_of, stored_draft, write_plan
from db.plans.commands.surroundings import classes_attended, items_of, targets_of, the_plan
from db.plans.models import PlanExtension, TaskingPlan
from db.plans.rules import Extension, decide_extension, page_keys
from db.session import Tx


@dataclass(frozen=True, slots=True)
class Extended:
    """The plan, the tasking plan that has the later dates, and the job that brings them to the learners' tasks."""

    plan_id: UUID
    tasking_plan_id: UUID
    job_id: UUID | None


async def extend_plan(
    tx: Tx,
    *,
    actor: Viewer,
    plan_id: UUID,
    target_type: str | None,
    target_id: UUID | None,
    due_at: datetime | None,
    closes_at: datetime | None,
    expected_revision: int | None = None,
    now: datetime,
) -> Extended:
    """Move the due and closing dates of a course, a class or one learner to later, and keep a record of it.

    Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`, and what `decide_extension` finds.
    """
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, expected_revision=expected_revision, now=now)
    asked = (target_type, target_id)
    target = (await targets_of(tx, course_id=plan.course_id, wanted=[asked])).get(asked)
    learner = target.user_id if target is not None else None
    attended = [] if learner is None else await classes_attended(tx, course_id=plan.course_id, user_id=learner)
    decision = decide_extension(
        facts_of(plan, course),
        (await stored_draft(tx, plan, now=now)).standing,
        Extension(target, due_at, closes_at),
        course_id=plan.course_id,
        class_ids=attended,
        window=course.window,
        items=await items_of(tx, course_id=plan.course_id, keys=page_keys(plan.settings)),
        now=now,
    )
    before, after = decision.before, decision.after
    assert after.target is not None  # noqa: S101 - the rule has refused it
    saved = await write_plan(tx, plan, decision.save, actor=actor, writes_taskings=True, now=now)
    key = {"course_id": after.target.course_id, "class_id": after.target.class_id, "user_id": after.target.user_id}
    await tx.insert(
        PlanExtension(
            plan_id=plan_id,
            **key,
            actor_id=actor.user_id,
            at=now,
            due_before=before.due_at,
            due_at=after.due_at,
            closes_before=before.closes_at,
            closes_at=after.closes_at,
        )
    )
    found = select(TaskingPlan.id).where(TaskingPlan.plan_id == plan_id).filter_by(**key)
    return Extended(plan_id, (await tx.scalars(found)).one(), saved.job_id)
