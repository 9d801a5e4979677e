"""What becomes of a plan whose publication ended without going live, or is tried again by a person."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text

from db.errors import Code, refuse
from db.ledger.commands import enqueue
from db.plans.commands.requesting import drop_void
from db.plans.jobs import RevertPlan, SweepPlan
from db.plans.models import Plan
from db.plans.rules import PlanState, plan_topic, settled_state
from db.session import Tx

_AROUND = text(
    """
    SELECT coalesce(c.ends_at < :now, false) AS has_ended,
        EXISTS (SELECT FROM tasking_plans t WHERE t.plan_id = p.id AND t.opens_at < :now) AS has_passed
    FROM plans p JOIN courses c ON c.id = p.course_id WHERE p.id = :plan_id
    """
)


async def lock_plan(tx: Tx, plan_id: UUID) -> None:
    """Lock a plan before the job that works on it: the order that every command keeps."""
    await tx.execute(select(Plan.id).where(Plan.id == plan_id).with_for_update(key_share=True))


async def settle_publication(tx: Tx, *, plan_id: UUID, job_id: UUID, was_cancelled: bool) -> None:
    """Take a plan out of PUBLISHING after its newest job ended, and have what the job has made swept up.

    A job that is not the newest changes nothing: where a newer one runs, that one's end sweeps.
    """
    plan = await tx.get(Plan, plan_id, with_for_update={"key_share": True}, populate_existing=True)
    if plan is None:
        return
    if plan.state is PlanState.PUBLISHING:
        if plan.publish_job_id != job_id:
            return
        before = plan.state_before_publish or PlanState.DRAFT
        was_published = plan.first_published_at is not None
        plan.state = settled_state(before=before, was_published=was_published, was_cancelled=was_cancelled)
        plan.state_before_publish = None
        plan.withdrawn_at = tx.now if plan.state is PlanState.WITHDRAWN else None
        if not await drop_void(tx, plan, now=tx.now):
            await ask_to_revert(tx, plan)
        tx.hint(plan_topic(plan_id))
    await enqueue(tx, work=SweepPlan(plan_id=plan_id, generation=plan.publish_generation), actor_id=None)
    await tx.flush()


async def ask_to_revert(tx: Tx, plan: Plan) -> None:
    """Have a plan looked at when what learners have opens: by then what is saved has gone live, or is void."""
    if plan.is_replacing and plan.live_content is not None and plan.live_generation < plan.publish_generation:
        work = RevertPlan(plan_id=plan.id, live_generation=plan.live_generation)
        await enqueue(tx, work=work, actor_id=None, scheduled_at=plan.live_opens_at)


async def revert_plan(tx: Tx, *, plan_id: UUID) -> bool:
    """Make what is saved what learners have, where the rest did not go live before the opening: whether there was any.

    A publication that is under way by then may still go live; where it does not, its end does the same.
    """
    plan = await tx.get(Plan, plan_id, with_for_update={"key_share": True}, populate_existing=True)
    is_void = plan is not None and await drop_void(tx, plan, now=tx.now)
    if is_void:
        tx.hint(plan_topic(plan_id))
        await tx.flush()
    return is_void


async def follow_retry(
    tx: Tx, *, plan_id: UUID, old_job_id: UUID, new_job_id: UUID, keeps_tasks: bool, now: datetime
) -> None:
    """Make the new job the plan's newest, and the plan PUBLISHING again.

    Raises Refused (JOB_NOT_RETRYABLE) where the plan would have to be published anew: a newer publication has taken the
    old job's place, its course is over, or an opening has passed that decides what a publication may change.
    """
    plan = await tx.get(Plan, plan_id, with_for_update={"key_share": True}, populate_existing=True)
    if plan is None or plan.publish_job_id != old_job_id or plan.state is PlanState.WITHDRAWN:
        raise refuse(Code.JOB_NOT_RETRYABLE, "The plan has gone on since: publish it as it is now.", "jobId")
    facts = (await tx.execute(_AROUND, {"plan_id": plan_id, "now": now})).one()
    has_opened = plan.live_opens_at is not None and plan.live_opens_at <= now
    if facts.has_ended or (not keeps_tasks and (has_opened or facts.has_passed)):
        message = "An opening has passed or the course has ended since: publish the plan as it is now."
        raise refuse(Code.JOB_NOT_RETRYABLE, message, "jobId")
    plan.publish_job_id = new_job_id
    plan.is_replacing = not keeps_tasks
    plan.state_before_publish = plan.state
    plan.state = PlanState.PUBLISHING
    tx.hint(plan_topic(plan_id))
    await tx.flush()
