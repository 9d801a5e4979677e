"""The mutations of tasks."""

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
from resolvers.ids import decode_pair, not_found, require_id
from resolvers.selection import wanted
from resolvers.tasks.types import TaskStep, WorkTask

IDEMPOTENCY_KEY = "The same key with the same input within 24 hours gives the first outcome again."
TASK_AS_IT_IS = "The task as it is now; null where the mutation was refused."


async def _task(self: Any, info: Info) -> Any:
    return None if self.task_id is None else await info.context.reading.one(WORK_TASK, wanted(info), self.task_id)


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
    instructions: str | None = attr("A note to append; blank is ignored.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which step is done.")
class CompleteStepInput:
    """A step."""

    step_id: strawberry.ID = attr("The step: `TaskStep.id`.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `startTask` did.")
class StartTaskPayload(MutationPayload):
    """A started task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = strawberry.field(resolver=_task, description=TASK_AS_IT_IS)


@strawberry.type(description="What `completeTask` did.")
class CompleteTaskPayload(MutationPayload):
    """A completed task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = strawberry.field(resolver=_task, description=TASK_AS_IT_IS)


@strawberry.type(description="What `completeStep` did.")
class CompleteStepPayload(MutationPayload):
    """A completed step."""

    task_id: strawberry.Private[UUID | None] = None
    template_id: strawberry.Private[UUID | None] = None
    step: TaskStep | None = strawberry.field(resolver=_step, description="The step as it is now; null where refused.")
    task: WorkTask | None = strawberry.field(resolver=_task, description=TASK_AS_IT_IS)


@mutation
async def start_task(tx: Tx, viewer: Viewer, input: StartTaskInput) -> StartTaskPayload:
    """Begin to work on a task. For its assignee, a member of its team, and ADMIN.

    TASK_NOT_OPEN outside its dates or where its plan is withdrawn, TASK_ON_HOLD, TASK_CLOSED; INVALID_TRANSITION where
    it has been started.
    """
    key = require_id(input.task_id, "taskId", types=("WorkTask",), thing="task")
    await commands.start_task(tx, actor=viewer, task_id=key, now=tx.now)
    return StartTaskPayload(task_id=key)


@mutation
async def complete_task(tx: Tx, viewer: Viewer, input: CompleteTaskInput) -> CompleteTaskPayload:
    """Say that a task is done. For its assignee, a member of its team, and ADMIN.

    STEPS_INCOMPLETE while it has open steps; otherwise refused like `startTask`.
    """
    key = require_id(input.task_id, "taskId", types=("WorkTask",), thing="task")
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


MUTATIONS: list[Any] = [start_task, complete_task, complete_step]
