"""Taking a plan back, bringing it back, and deleting what nobody has ever had."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from db.accounts.rules import Viewer
from db.ledger.commands import enqueue, request_cancel
from db.ledger.rules import reason_of
from db.plans.commands.requesting import Saved, facts_of, stored_draft, write_plan
from db.plans.commands.settling import ask_to_revert
from db.plans.commands.surroundings import the_plan
from db.plans.jobs import SweepPlan
from db.plans.rules import PlanState, decide_delete, decide_restore, decide_withdraw, plan_topic
from db.session import Tx

# A publication that was given up may have left tasks that nobody has seen and its sweep has not come to. In the order
# of the two indexes of a plan's tasks, and so many at a time: how many a draft has, Postgres only knows of the average
# plan, and would read the tasks of all plans to find that it has none.
_BATCH = 5_000
_DELETE_TASKS = text(
    """
    DELETE FROM tasks WHERE id = ANY (ARRAY(
        (
            SELECT id FROM tasks WHERE plan_id = :plan_id AND status <> 'CANCELLED'
            ORDER BY generation, assignee_user_id LIMIT :size
        ) UNION ALL (
            SELECT id FROM tasks WHERE plan_id = :plan_id AND status = 'CANCELLED'
            ORDER BY generation, assignee_user_id LIMIT :size
        )
    ))
    """
)
_DELETE_STEPS = text("DELETE FROM task_step_templates WHERE plan_id = :plan_id")
_DELETE_PLAN = text("DELETE FROM plans WHERE id = :plan_id")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The plan that was taken back, and the publication of it that was under way."""

    plan_id: UUID
    cancelled_job_id: UUID | None


async def withdraw_plan(
    tx: Tx,
    *,
    actor: Viewer,
    plan_id: UUID,
    reason: str | None,
    expected_revision: int | None = None,
    now: datetime,
) -> Withdrawn:
    """Take a plan back: learners see that it is withdrawn and cannot work on it. Their tasks stay.

    A publication under way is cancelled: one that has not begun at once, one that runs at its next step, and it can
    no longer go live. Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`,
    BAD_USER_INPUT at `reason`, and what `decide_withdraw` finds.
    """
    because = reason_of(reason)
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, expected_revision=expected_revision, now=now)
    decide_withdraw(facts_of(plan, course))
    in_flight = plan.publish_job_id if plan.state is PlanState.PUBLISHING else None
    plan.state = PlanState.WITHDRAWN
    plan.state_before_publish = None
    plan.withdrawn_at = now
    plan.revision += 1
    plan.updated_at = now
    await tx.flush()
    if in_flight is not None:
        why = "The plan was withdrawn." if because is None else f"The plan was withdrawn: {because}"
        outcome = await request_cancel(tx, job_id=in_flight, actor_id=actor.user_id, reason=why, now=now)
        await ask_to_revert(tx, plan)
        # One that still runs is swept up after when it ends: until then it may write.
        if outcome.ended is not None:
            work = SweepPlan(plan_id=plan_id, generation=plan.publish_generation)
            await enqueue(tx, work=work, actor_id=None)
    tx.hint(plan_topic(plan_id))
    return Withdrawn(plan_id, in_flight)


async def restore_plan(
    tx: Tx, *, actor: Viewer, plan_id: UUID, expected_revision: int | None = None, now: datetime
) -> Saved:
    """Bring a plan back as it was, and publish it again.

    Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`, and what `decide_restore` finds.
    """
    plan, course = await the_plan(tx, actor=actor, plan_id=plan_id, expected_revision=expected_revision, now=now)
    stored = await stored_draft(tx, plan, now=now)
    decision = decide_restore(facts_of(plan, course), stored.standing, now=now)
    writes = stored.is_void or bool(decision.opened_now)
    return await write_plan(tx, plan, decision, actor=actor, writes_taskings=writes, now=now)


async def delete_plan(
    tx: Tx, *, actor: Viewer, plan_id: UUID, expected_revision: int | None = None, now: datetime
) -> None:
    """Delete a draft that was never published.

    Raises Refused: NOT_FOUND, FORBIDDEN at `planId`, CONFLICT at `expectedRevision`, and what `decide_delete` finds.
    """
    plan, course = await the_plan(
        tx, actor=actor, plan_id=plan_id, expected_revision=expected_revision, now=now, is_to_go=True
    )
    decide_delete(facts_of(plan, course))
    tx.expunge(plan)
    while await tx.affect(_DELETE_TASKS, {"plan_id": plan_id, "size": _BATCH}) >= _BATCH:
        pass
    for statement in (_DELETE_STEPS, _DELETE_PLAN):
        await tx.execute(statement, {"plan_id": plan_id})
    tx.hint(plan_topic(plan_id))
