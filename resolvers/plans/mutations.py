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
from db.plans.queries import PLAN
from db.plans.rules import PlanType
from db.session import Tx
from resolvers.context import Info
from resolvers.fields import MutationPayload, attr, mutation
from resolvers.ids import decode_any, require_id
from resolvers.ledger.types import Job
from resolvers.plans.types import TaskPlan, stored_settings
from resolvers.scalars import JSON
from resolvers.selection import wanted

IDEMPOTENCY_KEY = (
    "The same key by the same caller with the same input within 24 hours gives the first outcome again: "
    "send one with every request that you may have to repeat."
)
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
    open_now: bool = attr("Move opening dates that have passed to now, instead of refusing them.", default=False)
    expected_revision: int | None = attr(EXPECTED_REVISION, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


async def _plan(self: Any, info: Info) -> Any:
    return None if self.plan_id is None else await info.context.reading.one(PLAN, wanted(info), self.plan_id)


async def _job(self: Any, info: Info) -> Any:
    return None if self.job_id is None else await info.context.reading.one(JOB, wanted(info), self.job_id)


PLAN_AS_IT_IS = "The plan as it is now; null where the mutation was refused."
JOB_THAT_PUBLISHES = "The job that publishes it: follow it with `jobProgress`. Null: nothing had to be published."


@strawberry.type(description="What `createPlan` did.")
class CreatePlanPayload(MutationPayload):
    """A new plan."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = strawberry.field(resolver=_plan, description=PLAN_AS_IT_IS)
    job: Job | None = strawberry.field(resolver=_job, description=JOB_THAT_PUBLISHES)


@strawberry.type(description="What `updatePlan` did.")
class UpdatePlanPayload(MutationPayload):
    """A saved plan."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = strawberry.field(resolver=_plan, description=PLAN_AS_IT_IS)
    job: Job | None = strawberry.field(resolver=_job, description=JOB_THAT_PUBLISHES)


@strawberry.type(description="What `publishPlan` did.")
class PublishPlanPayload(MutationPayload):
    """A requested publication."""

    plan_id: strawberry.Private[UUID | None] = None
    job_id: strawberry.Private[UUID | None] = None
    plan: TaskPlan | None = strawberry.field(resolver=_plan, description=PLAN_AS_IT_IS)
    job: Job | None = strawberry.field(resolver=_job, description=JOB_THAT_PUBLISHES)


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
        course_id=require_id(input.course_id, "courseId", types=("Course",), thing="course"),
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

    Once learners have opened their tasks only title and description change; anything else is refused as a whole with
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


MUTATIONS: list[Any] = [create_plan, update_plan, publish_plan]
