"""The mutations of plans."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from db.accounts.rules import Viewer
from db.errors import Code, Problem, Refused
from db.ledger.queries import JOB
from db.plans import commands
from db.plans.commands import PlanChanges, TaskingWanted
from db.plans.queries import PLAN, TASKING_PLAN
from db.plans.rules import PlanType
from db.session import Tx
from resolvers.fields import MutationPayload, attr, computed, mutation, shown
from resolvers.ids import NOTHING, decode_any, decode_id, encode_id, require_id
from resolvers.inputs import IDEMPOTENCY_KEY
from resolvers.ledger.types import Job
from resolvers.plans.types import TaskingPlan, TaskPlan, stored_settings
from resolvers.scalars import JSON

EXPECTED_REVISION = "Refused with CONFLICT where the plan was saved since this revision; absent: the last one wins."


@strawberry.input(description="Who gets a plan, and when.")
class TaskingPlanInput:
    """A target and its dates."""

    target_id: strawberry.ID = attr("A course, a class of it, or an active learner of it.")
    opens_at: datetime = attr("From when on learners see the task and may work on it.")
    due_at: datetime = attr("When it should be done; not before `opensAt`.")
    closes_at: datetime = attr("Until when it may be worked on; not before `dueAt`.")


@strawberry.input(description="A new plan.")
class CreatePlanInput:
    """A new plan."""

    course_id: strawberry.ID = attr("The course it belongs to.")
    type: PlanType = attr("What kind of work it gives out. It never changes.")
    title: str = attr("For people, 1 to 255 characters.")
    description: str | None = attr("For learners.", default=None)
    settings: JSON = attr("What there is to do: see the descriptions of `PlanType`.")
    tasking_plans: list[TaskingPlanInput] = attr("Who gets it, and when: at least one, each target once.")
    publish: bool = attr("Publish it at once.", default=False)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What is to change of a plan. An absent field stays as it is.")
class UpdatePlanInput:
    """Changes of a plan."""

    plan_id: strawberry.ID = attr("The plan.")
    title: str | None = attr("For people, 1 to 255 characters; null is refused.", default=strawberry.UNSET)
    description: str | None = attr("For learners; null empties it.", default=strawberry.UNSET)
    settings: JSON | None = attr("What there is to do, the whole of it; null is refused.", default=strawberry.UNSET)
    tasking_plans: list[TaskingPlanInput] | None = attr(
        "Who gets it, and when: the whole list; null is refused.", default=strawberry.UNSET
    )
    publish: bool = attr("Publish it. A plan whose publication was ever asked for always does.", default=False)
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which plan to publish.")
class PublishPlanInput:
    """A request to publish."""

    plan_id: strawberry.ID = attr("The plan.")
    open_now: bool = attr(
        "Move opening dates that have passed to now, instead of refusing them. Those to come stay.", default=False
    )
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Whom to give more time, and how much. At least one of the two dates.")
class ExtendPlanInput:
    """More time."""

    plan_id: strawberry.ID = attr("The plan.")
    target_id: strawberry.ID = attr(
        "Whom: the course, a class of it or one active learner, as far as the plan reaches them. Who has no dates of "
        "their own gets some."
    )
    due_at: datetime | None = attr(
        "When it is due from now on: later than it is. Absent or null: as it is.", default=None
    )
    closes_at: datetime | None = attr(
        "Until when it may be worked on from now on: later than it is. Absent or null: as it is.", default=None
    )
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which draft to delete.")
class DeletePlanInput:
    """A draft to delete."""

    plan_id: strawberry.ID = attr("The plan: a draft that was never published.")
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which plan to take back.")
class WithdrawPlanInput:
    """A plan to withdraw."""

    plan_id: strawberry.ID = attr("The plan.")
    reason: str | None = attr("Why: shown at the publication that is cancelled by it.", default=None)
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which plan to bring back.")
class RestorePlanInput:
    """A plan to restore."""

    plan_id: strawberry.ID = attr("The plan: one that is withdrawn.")
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


PLAN_AS_IT_IS = "The plan as it is now; null where the mutation was refused."
JOB_THAT_PUBLISHES = "The job that publishes it: follow it with `jobProgress`. Null: nothing had to be published."


@strawberry.type(description="What `createPlan` did.")
class CreatePlanPayload(MutationPayload):
    """A new plan."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = shown(PLAN, "plan_id", PLAN_AS_IT_IS)
    job: Job | None = shown(JOB, "job_id", JOB_THAT_PUBLISHES)


@strawberry.type(description="What `updatePlan` did.")
class UpdatePlanPayload(MutationPayload):
    """A saved plan."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = shown(PLAN, "plan_id", PLAN_AS_IT_IS)
    job: Job | None = shown(JOB, "job_id", JOB_THAT_PUBLISHES)


@strawberry.type(description="What `publishPlan` did.")
class PublishPlanPayload(MutationPayload):
    """A requested publication."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = shown(PLAN, "plan_id", PLAN_AS_IT_IS)
    job: Job | None = shown(JOB, "job_id", JOB_THAT_PUBLISHES)


@strawberry.type(description="What `extendPlan` did.")
class ExtendPlanPayload(MutationPayload):
    """More time."""

    plan_id: strawberry.Private[UUID | None] = None
    tasking_plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = shown(PLAN, "plan_id", PLAN_AS_IT_IS)
    tasking_plan: TaskingPlan | None = shown(
        TASKING_PLAN, "tasking_plan_id", "The tasking plan that has the later dates: an old one or a new one."
    )
    job: Job | None = shown(
        JOB, "job_id", "The job that brings the dates to the learners' tasks: follow it with `jobProgress`."
    )


@strawberry.type(description="What `deletePlan` did.")
class DeletePlanPayload(MutationPayload):
    """A deleted draft."""

    plan_id: strawberry.Private[UUID | None] = None

    @computed()
    def deleted_plan_id(self) -> strawberry.ID | None:
        """The id of the draft that is gone; null where the mutation was refused."""
        return None if self.plan_id is None else strawberry.ID(encode_id("TaskPlan", self.plan_id))


@strawberry.type(description="What `withdrawPlan` did.")
class WithdrawPlanPayload(MutationPayload):
    """A plan taken back."""

    plan_id: strawberry.Private[UUID | None] = None
    cancelled_job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = shown(PLAN, "plan_id", PLAN_AS_IT_IS)
    cancelled_job: Job | None = shown(
        JOB, "cancelled_job_id", "The publication that was under way, which ends CANCELLED. Null: none was."
    )


@strawberry.type(description="What `restorePlan` did.")
class RestorePlanPayload(MutationPayload):
    """A plan brought back."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = shown(PLAN, "plan_id", PLAN_AS_IT_IS)
    job: Job | None = shown(JOB, "job_id", JOB_THAT_PUBLISHES)


@mutation
async def create_plan(tx: Tx, viewer: Viewer, input: CreatePlanInput) -> CreatePlanPayload:
    """Write a new plan. For the course's teachers, EDITOR and ADMIN.

    All that is wrong is told at once, each with its path: NO_TASKING_PLANS, DATES_OUT_OF_ORDER,
    OUTSIDE_COURSE_DATES, DUPLICATE_TARGET, INVALID_SETTINGS; with `publish` also EMPTY_PLAN, DUE_DATE_PASSED and
    OPEN_DATE_PASSED. COURSE_ENDED once the course is over.
    """
    saved = await commands.create_plan(
        tx,
        actor=viewer,
        course_id=decode_id(input.course_id, "Course") or NOTHING,
        type=input.type,
        title=input.title,
        description=input.description or "",
        settings=stored_settings(input.settings),
        taskings=_taskings(input.tasking_plans),
        publish=input.publish,
        now=tx.now,
    )
    return CreatePlanPayload(plan_id=saved.plan_id, job_id=saved.job_id)


@mutation
async def update_plan(tx: Tx, viewer: Viewer, input: UpdatePlanInput) -> UpdatePlanPayload:
    """Change a plan. For the course's teachers, EDITOR and ADMIN.

    Once the plan is open to learners, only title and description change; anything else is refused as a whole with
    NOT_UPDATABLE_AFTER_OPEN. A plan whose publication was ever asked for is published again by every save.
    """
    saved = await commands.update_plan(
        tx,
        actor=viewer,
        plan_id=require_id(input.plan_id, "planId", types=("TaskPlan",), thing="plan"),
        changes=_changes(input),
        publish=input.publish,
        expected_revision=input.expected_revision,
        now=tx.now,
    )
    return UpdatePlanPayload(plan_id=saved.plan_id, job_id=saved.job_id)


@mutation
async def publish_plan(tx: Tx, viewer: Viewer, input: PublishPlanInput) -> PublishPlanPayload:
    """Make every learner's task, in a job: the answer comes at once, with the job QUEUED.

    Follow it with `jobProgress(jobId:)`. Learners see nothing until every task exists, then all of them at once. A
    newer request supersedes an older one, whose job is cancelled.
    """
    saved = await commands.publish_plan(
        tx,
        actor=viewer,
        plan_id=require_id(input.plan_id, "planId", types=("TaskPlan",), thing="plan"),
        open_now=input.open_now,
        expected_revision=input.expected_revision,
        now=tx.now,
    )
    return PublishPlanPayload(plan_id=saved.plan_id, job_id=saved.job_id)


@mutation
async def extend_plan(tx: Tx, viewer: Viewer, input: ExtendPlanInput) -> ExtendPlanPayload:
    """Give more time: move the due and closing dates of the course, a class or one learner to later, and only to later.

    The one change of dates that is possible once the plan is open to learners; the plan's `extensions` keep a
    record. DATE_NOT_LATER for an earlier date, DATES_OUT_OF_ORDER, OUTSIDE_COURSE_DATES; CONFLICT for a draft, whose
    dates `updatePlan` changes; PLAN_WITHDRAWN, COURSE_ENDED.
    """
    decoded = decode_any(input.target_id) or (None, None)
    done = await commands.extend_plan(
        tx,
        actor=viewer,
        plan_id=require_id(input.plan_id, "planId", types=("TaskPlan",), thing="plan"),
        target_type=decoded[0],
        target_id=decoded[1],
        due_at=input.due_at,
        closes_at=input.closes_at,
        expected_revision=input.expected_revision,
        now=tx.now,
    )
    return ExtendPlanPayload(plan_id=done.plan_id, tasking_plan_id=done.tasking_plan_id, job_id=done.job_id)


@mutation
async def delete_plan(tx: Tx, viewer: Viewer, input: DeletePlanInput) -> DeletePlanPayload:
    """Delete a draft that was never published. CONFLICT for anything else: that is withdrawn and never deleted."""
    plan_id = require_id(input.plan_id, "planId", types=("TaskPlan",), thing="plan")
    await commands.delete_plan(tx, actor=viewer, plan_id=plan_id, expected_revision=input.expected_revision, now=tx.now)
    return DeletePlanPayload(plan_id=plan_id)


@mutation
async def withdraw_plan(tx: Tx, viewer: Viewer, input: WithdrawPlanInput) -> WithdrawPlanPayload:
    """Take a plan back, also while it is being published: learners see it as withdrawn and cannot work on it.

    Nothing is deleted, and `restorePlan` brings it back. CONFLICT for a draft; PLAN_WITHDRAWN, COURSE_ENDED.
    """
    done = await commands.withdraw_plan(
        tx,
        actor=viewer,
        plan_id=require_id(input.plan_id, "planId", types=("TaskPlan",), thing="plan"),
        reason=input.reason,
        expected_revision=input.expected_revision,
        now=tx.now,
    )
    return WithdrawPlanPayload(plan_id=done.plan_id, cancelled_job_id=done.cancelled_job_id)


@mutation
async def restore_plan(tx: Tx, viewer: Viewer, input: RestorePlanInput) -> RestorePlanPayload:
    """Bring a withdrawn plan back and publish it again. Learners go on where they were.

    Openings that passed before anybody had a task are moved to now. PLAN_NOT_WITHDRAWN, COURSE_ENDED; DUE_DATE_PASSED
    where it was never published and could not be done in time.
    """
    saved = await commands.restore_plan(
        tx,
        actor=viewer,
        plan_id=require_id(input.plan_id, "planId", types=("TaskPlan",), thing="plan"),
        expected_revision=input.expected_revision,
        now=tx.now,
    )
    return RestorePlanPayload(plan_id=saved.plan_id, job_id=saved.job_id)


def _taskings(given: Sequence[TaskingPlanInput]) -> list[TaskingWanted]:
    decoded = [(decode_any(each.target_id) or (None, None), each) for each in given]
    return [
        TaskingWanted(type_name, key, each.opens_at, each.due_at, each.closes_at) for (type_name, key), each in decoded
    ]


def _changes(input: UpdatePlanInput) -> PlanChanges:
    nulls = {"title": input.title, "settings": input.settings, "taskingPlans": input.tasking_plans}
    problems = [
        Problem(Code.BAD_USER_INPUT, f"`{name}` cannot be empty: leave it out to keep it.", (name,))
        for name, value in nulls.items()
        if value is None
    ]
    if problems:
        raise Refused(*problems)
    changes = PlanChanges()
    if isinstance(input.title, str):
        changes["title"] = input.title
    if input.description is not strawberry.UNSET:
        changes["description"] = input.description or ""
    if input.settings is not strawberry.UNSET:
        changes["settings"] = stored_settings(input.settings)
    if input.tasking_plans is not strawberry.UNSET and input.tasking_plans is not None:
        changes["taskings"] = _taskings(input.tasking_plans)
    return changes


MUTATIONS: list[Any] = [
    create_plan,
    update_plan,
    publish_plan,
    extend_plan,
    delete_plan,
    withdraw_plan,
    restore_plan,
]
