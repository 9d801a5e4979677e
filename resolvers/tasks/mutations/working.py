"""Working on tasks, and ending them: start, complete, complete a step, cancel."""

from typing import Any
from uuid import UUID

import strawberry

from db.accounts.rules import Viewer
from db.reading import Want
from db.session import Tx
from db.tasks import commands
from db.tasks.queries import WORK_TASK
from resolvers.context import Info
from resolvers.fields import MutationPayload, attr, mutation
from resolvers.ids import decode_pair, not_found
from resolvers.inputs import IDEMPOTENCY_KEY
from resolvers.tasks.mutations.shown import NOTE, task_key, task_shown
from resolvers.tasks.types import TaskStep, WorkTask


async def _step(self: Any, info: Info) -> Any:
    if self.task_id is None:
        return None
    task = await info.context.reading.one(WORK_TASK, Want("", (Want("steps"),)), self.task_id)
    steps = task.steps if task is not None else []
    return next((step for step in steps if step.template_id == self.template_id), None)


@strawberry.input(description="Which task to start.")
class StartTaskInput:
    """A task."""

    task_id: strawberry.ID = attr("The task.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which task is done.")
class CompleteTaskInput:
    """A task."""

    task_id: strawberry.ID = attr("The task.")
    instructions: str | None = attr(NOTE, default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which step is done.")
class CompleteStepInput:
    """A step."""

    step_id: strawberry.ID = attr("The step: `TaskStep.id`.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which task is no longer needed.")
class CancelTaskInput:
    """A task."""

    task_id: strawberry.ID = attr("The task.")
    cascade: bool = attr("Cancel every open task below it too. Without it, open ones are refused.", default=False)
    reason: str | None = attr("Why; appended to the `instructions` of each task that is cancelled.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `startTask` did.")
class StartTaskPayload(MutationPayload):
    """A started task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown()


@strawberry.type(description="What `completeTask` did.")
class CompleteTaskPayload(MutationPayload):
    """A completed task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown()


@strawberry.type(description="What `completeStep` did.")
class CompleteStepPayload(MutationPayload):
    """A completed step."""

    task_id: strawberry.Private[UUID | None] = None
    template_id: strawberry.Private[UUID | None] = None
    step: TaskStep | None = strawberry.field(resolver=_step, description="The step as it is now; null where refused.")
    task: WorkTask | None = task_shown()


@strawberry.type(description="What `cancelTask` did.")
class CancelTaskPayload(MutationPayload):
    """A cancelled task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown()
    cancelled_descendants: int = attr("How many tasks below it were cancelled with it; holds do not count.", default=0)


@mutation
async def start_task(tx: Tx, viewer: Viewer, input: StartTaskInput) -> StartTaskPayload:
    """Begin to work on a task. For its assignee, a member of its team, that team's admins, and ADMIN.

    TASK_NOT_OPEN outside its dates or where its plan is withdrawn, TASK_ON_HOLD, TASK_CLOSED; INVALID_TRANSITION where
    it has been started.
    """
    key = task_key(input.task_id)
    await commands.start_task(tx, actor=viewer, task_id=key, now=tx.now)
    return StartTaskPayload(task_id=key)


@mutation
async def complete_task(tx: Tx, viewer: Viewer, input: CompleteTaskInput) -> CompleteTaskPayload:
    """Say that a task is done; it need not have been started. For whoever may start it.

    A timed hold on it ends with it. OPEN_CHILDREN while a task below it is open, STEPS_INCOMPLETE while it has open
    steps, TASK_NOT_OPEN, TASK_CLOSED.
    """
    key = task_key(input.task_id)
    await commands.complete_task(tx, actor=viewer, task_id=key, note=input.instructions, now=tx.now)
    return CompleteTaskPayload(task_id=key)


@mutation
async def complete_step(tx: Tx, viewer: Viewer, input: CompleteStepInput) -> CompleteStepPayload:
    """Complete one step of a task: the first starts the task, the last completes it. A second time does nothing.

    For the assignee and ADMIN. Refused like `startTask`.
    """
    pair = decode_pair(input.step_id, "TaskStep")
    if pair is None:
        raise not_found("step", "stepId")
    done = await commands.complete_step(tx, actor=viewer, task_id=pair[0], template_id=pair[1], now=tx.now)
    return CompleteStepPayload(task_id=done.task_id, template_id=done.template_id)


@mutation
async def cancel_task(tx: Tx, viewer: Viewer, input: CancelTaskInput) -> CancelTaskPayload:
    """Say that a task is no longer needed. For its assignee and whoever gave it, its team and that team's admins,
    EDITOR and ADMIN; a plan's task for the plan's teachers, EDITOR and ADMIN.

    A timed hold on it ends with it. OPEN_CHILDREN while a task below it is open, unless `cascade` is given;
    TASK_CLOSED.
    """
    key = task_key(input.task_id)
    below = await commands.cancel_task(
        tx, actor=viewer, task_id=key, cascade=input.cascade, reason=input.reason, now=tx.now
    )
    return CancelTaskPayload(task_id=key, cancelled_descendants=below)
