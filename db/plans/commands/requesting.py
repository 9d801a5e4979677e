"""What every command that leads to a publication shares: the plan as the rules see it, its tasking plans, its job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select

from db.accounts.rules import Viewer
from db.ledger.commands import cancel_others, enqueue
from db.ledger.jobs import Subject
from db.plans.commands.surroundings import Surroundings
from db.plans.jobs import PublishPlan
from db.plans.models import Plan, TaskingPlan
from db.plans.rules import Draft, PlanFacts, PlanState, SaveDecision, Target, Tasking, plan_topic, same_taskings
from db.session import Tx

SUBJECT = "TaskPlan"
NEXT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Saved:
    """The plan that was written, and the job that publishes it where one does."""

    plan_id: UUID
    job_id: UUID | None


def facts_of(plan: Plan, course: Surroundings) -> PlanFacts:
    """A plan as the rules see it."""
    return PlanFacts(
        state=plan.state,
        live_opens_at=plan.live_opens_at,
        first_published_at=plan.first_published_at,
        publish_last_requested_at=plan.publish_last_requested_at,
        has_course_ended=course.has_ended,
        is_replacing=plan.state is PlanState.PUBLISHING and plan.is_replacing,
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A plan as it is saved, and as it stands: what was saved and did not go live before the opening is void."""

    saved: Draft
    standing: Draft

    @property
    def is_void(self) -> bool:
        """Whether the one has to be made the other."""
        return self.saved is not self.standing

    def understood(self, wanted: Draft) -> Draft:
        """What a caller wants who may have read what is saved: where that is void, they leave it as it stands."""
        if wanted.settings == self.saved.settings:
            wanted = replace(wanted, settings=self.standing.settings)
        if same_taskings(wanted.taskings, self.saved.taskings):
            wanted = replace(wanted, taskings=self.standing.taskings)
        return wanted


async def stored_draft(tx: Tx, plan: Plan, *, now: datetime) -> Stored:
    """A plan as it is saved and as it stands.

    Its tasking plans are in the order of the API, for a refusal names them by their place.
    """
    own = select(TaskingPlan).where(TaskingPlan.plan_id == plan.id)
    rows = await tx.scalars(own.order_by(TaskingPlan.due_at, TaskingPlan.id))
    taskings = tuple(Tasking(_target(row), row.opens_at, row.due_at, row.closes_at) for row in rows)
    saved = Draft(plan.type, plan.title, plan.description, plan.settings, taskings)
    return Stored(saved, _live(plan, saved) if _is_void(plan, now) else saved)


async def drop_void(tx: Tx, plan: Plan, *, now: datetime) -> bool:
    """Make what is saved what learners have, where the rest did not go live before the opening: whether it was so."""
    stored = await stored_draft(tx, plan, now=now)
    if stored.is_void:
        plan.settings = stored.standing.settings
        plan.is_replacing = False
        plan.revision += 1
        plan.updated_at = now
        await replace_taskings(tx, plan.id, stored.standing.taskings)
    return stored.is_void


def _is_void(plan: Plan, now: datetime) -> bool:
    has_opened = plan.live_opens_at is not None and plan.live_opens_at <= now
    # Workers of an older version let a generation go live without saying so: then it is the newest that was asked for.
    is_older = plan.is_replacing and plan.live_generation < plan.publish_generation
    return has_opened and is_older and plan.state is not PlanState.PUBLISHING and plan.live_content is not None


def _live(plan: Plan, saved: Draft) -> Draft:
    content = plan.live_content or {}
    rows = [
        ([key and UUID(key) for key in row[:3]], map(datetime.fromisoformat, row[3:])) for row in content["taskings"]
    ]
    taskings = tuple(Tasking(Target(*keys), *dates) for keys, dates in rows)
    return replace(saved, settings=content["settings"], taskings=taskings)


def _target(row: TaskingPlan) -> Target:
    return Target(course_id=row.course_id, class_id=row.class_id, user_id=row.user_id)


async def replace_taskings(tx: Tx, plan_id: UUID, wanted: Sequence[Tasking]) -> None:
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
            tx.add_all(tasking_rows(plan_id, [tasking]))
        else:
            row.opens_at, row.due_at, row.closes_at = tasking.opens_at, tasking.due_at, tasking.closes_at


def tasking_rows(plan_id: UUID, taskings: Sequence[Tasking]) -> list[TaskingPlan]:
    """New rows; what has no target is left out."""
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


async def write_plan(
    tx: Tx, plan: Plan, decision: SaveDecision, *, actor: Viewer, writes_taskings: bool, now: datetime
) -> Saved:
    """Write what was decided, and ask for the publication where one follows. The caller holds the plan's lock."""
    plan.title = decision.draft.title
    plan.description = decision.draft.description
    plan.settings = decision.draft.settings
    plan.revision += 1
    plan.updated_at = now
    if writes_taskings:
        await replace_taskings(tx, plan.id, decision.draft.taskings)
    job_id = await ask_to_publish(tx, plan, decision, actor=actor, now=now) if decision.publishes else None
    tx.hint(plan_topic(plan.id))
    await tx.flush()
    return Saved(plan.id, job_id)


async def ask_to_publish(tx: Tx, plan: Plan, decision: SaveDecision, *, actor: Viewer, now: datetime) -> UUID:
    """Stamp the request, make its job, and stop the jobs of older requests. The caller holds the plan's lock."""
    last = plan.publish_last_requested_at
    plan.publish_last_requested_at = now if last is None else max(now, last + NEXT)
    plan.publish_generation += 1
    if plan.state is not PlanState.PUBLISHING:
        plan.state_before_publish = plan.state
        plan.state = PlanState.PUBLISHING
        plan.withdrawn_at = None
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
