"""Making tasks, changing what they say, and giving them to people: create, update, assign, reassign."""

from datetime import datetime
from uuid import UUID

import strawberry

from db.accounts.rules import Viewer
from db.session import Tx
from db.tasks import commands
from db.tasks.commands import TaskChanges
from resolvers.fields import MutationPayload, attr, mutation
from resolvers.inputs import IDEMPOTENCY_KEY
from resolvers.tasks.mutations.shown import NOTE, assignee_of, parent_key, task_key, task_shown
from resolvers.tasks.types import WorkTask


@strawberry.input(description="A new task.")
class CreateTaskInput:
    """A new task."""

    type: str = attr("The name of its type, one of `taskTypes`; `timed_hold` is refused: see `placeHold`.")
    title: str = attr("For people, 1 to 255 characters.")
    assignee_id: strawberry.ID = attr("Whose it is to be: a person who is active, or a team.")
    parent_id: strawberry.ID | None = attr("The task that it is to stand below; absent: none.", default=None)
    instructions: str | None = attr("The first note of its `instructions`; blank is ignored.", default=None)
    opens_at: datetime | None = attr("From when on it may be worked on; absent: at once.", default=None)
    due_at: datetime | None = attr("When it should be done; absent: no date.", default=None)
    closes_at: datetime | None = attr("Until when it may be worked on; absent: without end.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What is to change of a task. An absent field stays as it is.")
class UpdateTaskInput:
    """Changes of a task. There is no status: that follows from what is done."""

    task_id: strawberry.ID = attr("The task.")
    title: str | None = attr("For people, 1 to 255 characters; null is refused.", default=strawberry.UNSET)
    instructions: str | None = attr(NOTE, default=None)
    opens_at: datetime | None = attr("From when on it may be worked on; null: at once.", default=strawberry.UNSET)
    due_at: datetime | None = attr("When it should be done; null: no date.", default=strawberry.UNSET)
    closes_at: datetime | None = attr("Until when it may be worked on; null: without end.", default=strawberry.UNSET)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which team's task goes to whom.")
class AssignTaskInput:
    """A task and a person."""

    task_id: strawberry.ID = attr("The team's task.")
    assignee_id: strawberry.ID = attr("A person who is active.")
    instructions: str | None = attr("The first note of the person's task; blank is ignored.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which task goes to whom instead.")
class ReassignTaskInput:
    """A task and its new assignee."""

    task_id: strawberry.ID = attr("The task.")
    assignee_id: strawberry.ID = attr("A person who is active, or a team; a plan's task goes to a person only.")
    instructions: str | None = attr("A note to append to the new task; blank is ignored.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `createTask` did.")
class CreateTaskPayload(MutationPayload):
    """A new task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown("The new task; null where it was refused.")


@strawberry.type(description="What `updateTask` did.")
class UpdateTaskPayload(MutationPayload):
    """A changed task."""

    task_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown()


@strawberry.type(description="What `assignTask` did.")
class AssignTaskPayload(MutationPayload):
    """An assigned task."""

    task_id: strawberry.Private[UUID | None] = None
    child_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown("The team's task as it is now; null where the mutation was refused.")
    child: WorkTask | None = task_shown("The person's new task, below the team's; null where refused.", key="child_id")


@strawberry.type(description="What `reassignTask` did.")
class ReassignTaskPayload(MutationPayload):
    """A reassigned task."""

    task_id: strawberry.Private[UUID | None] = None
    replaced_id: strawberry.Private[UUID | None] = None
    task: WorkTask | None = task_shown("The new task, in the old one's place; null where the mutation was refused.")
    replaced: WorkTask | None = task_shown("The old task, now CANCELLED; null where refused.", key="replaced_id")


@mutation
async def create_task(tx: Tx, viewer: Viewer, input: CreateTaskInput) -> CreateTaskPayload:
    """Make a task for a person or a team. For EDITOR, ADMIN, and team admins inside their team.

    Below another task it puts that ON_HOLD and ends its timed hold (CHILD_CREATED). At `parentId` TASK_CLOSED, and
    INVALID_PARENT for a hold; at `assigneeId` ASSIGNEE_INACTIVE, and DUPLICATE_TASK where they have an open one of this
    type there; DATES_OUT_OF_ORDER.
    """
    task_id = await commands.create_task(
        tx,
        actor=viewer,
        type_name=input.type,
        title=input.title,
        assignee=assignee_of(input.assignee_id),
        parent_id=parent_key(input.parent_id),
        instructions=input.instructions,
        opens_at=input.opens_at,
        due_at=input.due_at,
        closes_at=input.closes_at,
        now=tx.now,
    )
    return CreateTaskPayload(task_id=task_id)


@mutation
async def update_task(tx: Tx, viewer: Viewer, input: UpdateTaskInput) -> UpdateTaskPayload:
    """Change a task's title and dates, and append a note; its status follows from what is done, and is never set.

    Title and dates: for whoever gave the task, the team's admins, EDITOR and ADMIN; those of a plan's task are the
    plan's. A note: also for whoever may put it on hold. DATES_OUT_OF_ORDER, TASK_CLOSED.
    """
    key = task_key(input.task_id)
    changes = TaskChanges()
    if input.title is not strawberry.UNSET:
        changes["title"] = input.title
    if input.opens_at is not strawberry.UNSET:
        changes["opens_at"] = input.opens_at
    if input.due_at is not strawberry.UNSET:
        changes["due_at"] = input.due_at
    if input.closes_at is not strawberry.UNSET:
        changes["closes_at"] = input.closes_at
    await commands.update_task(
        tx, actor=viewer, task_id=key, changes=changes, instructions=input.instructions, now=tx.now
    )
    return UpdateTaskPayload(task_id=key)


@mutation
async def assign_task(tx: Tx, viewer: Viewer, input: AssignTaskInput) -> AssignTaskPayload:
    """Give a team's task to a person: a new task of the same type, title and dates below it, and the team's is ON_HOLD
    until that is closed. For the team's admins, EDITOR and ADMIN.

    A timed hold on the team's task ends, or moves to the person's with its id and `endsAt`, by the type's policy
    (`HoldPolicy.onAssign`). TASK_CLOSED; ASSIGNEE_INACTIVE and DUPLICATE_TASK at `assigneeId`.
    """
    assigned = await commands.assign_task(
        tx,
        actor=viewer,
        task_id=task_key(input.task_id),
        assignee=assignee_of(input.assignee_id),
        instructions=input.instructions,
        now=tx.now,
    )
    return AssignTaskPayload(task_id=assigned.task_id, child_id=assigned.new_task_id)


@mutation
async def reassign_task(tx: Tx, viewer: Viewer, input: ReassignTaskInput) -> ReassignTaskPayload:
    """Give a task to somebody else: a new task in the same place and status, and the old one is CANCELLED. For the
    team's admins, EDITOR and ADMIN.

    What is open below it goes along, a timed hold with its id and `endsAt`. A plan's task takes its steps and dates
    along. TASK_CLOSED; ASSIGNEE_INACTIVE and DUPLICATE_TASK at `assigneeId`.
    """
    assigned = await commands.reassign_task(
        tx,
        actor=viewer,
        task_id=task_key(input.task_id),
        assignee=assignee_of(input.assignee_id),
        instructions=input.instructions,
        now=tx.now,
    )
    return ReassignTaskPayload(task_id=assigned.new_task_id, replaced_id=assigned.task_id)
