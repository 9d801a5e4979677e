"""Types of tasks."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db.reading import Entity
from db.tasks.queries import TIMED_HOLD, WORK_TASK
from db.tasks.rules import HoldEndReason, HoldExpiry, HoldOnAssign, QueueTab, TaskAction, TaskStatus, TeamTab
from resolvers.accounts.types import Actor, Assignee
from resolvers.context import Info
from resolvers.fields import Node, Row, RowInterface, attr, computed, enum_type, listed, node_id, related
from resolvers.ids import encode_id
from resolvers.paging import After, Connection, First
from resolvers.scalars import JSON

if TYPE_CHECKING:
    from resolvers.plans.types import TaskPlan

enum_type(
    TaskStatus,
    name="TaskStatus",
    description="Where a task is.",
    values={
        "ASSIGNED": "It waits for its assignee.",
        "IN_PROGRESS": "Work has begun.",
        "ON_HOLD": "It has an open child, or a timed hold. Never set by a client: it follows from them.",
        "COMPLETED": "It is done. Final.",
        "CANCELLED": "It is no longer needed. Final.",
    },
)
enum_type(
    HoldExpiry,
    name="HoldExpiry",
    description="What happens to a task when its hold runs out.",
    values={"RESUME": "It goes on.", "COMPLETE": "It is completed."},
)
enum_type(
    HoldOnAssign,
    name="HoldOnAssign",
    description="What happens to the open hold of a team's task when it is assigned to a person.",
    values={"CANCEL": "The hold ends.", "MOVE": "The hold moves to the person's task, with the same end."},
)
enum_type(
    QueueTab,
    name="QueueTab",
    description="The tabs of a queue of tasks.",
    values={
        "ASSIGNED": "Assigned and in progress; by itself ordered by `assignedAt`, newest first.",
        "ON_HOLD": "On hold; by itself ordered by the end of the hold, soonest first, those without one last.",
        "COMPLETED": "Closed in the last 7 days, whether completed or cancelled; by itself newest first.",
    },
)
enum_type(
    TeamTab,
    name="TeamTab",
    description="The tabs of a team's queue. A task is in one of them at most, so their counts add up.",
    values={
        "UNASSIGNED": "Nobody has it yet: assigned to the team or in progress, with nothing open below it.",
        "ASSIGNED": "A task below it is open, such as that of the person it was given to, and no timed hold.",
        "ON_HOLD": "A timed hold on it is open.",
        "COMPLETED": "Closed in the last 7 days, whether completed or cancelled.",
    },
)
enum_type(
    HoldEndReason,
    name="HoldEndReason",
    description="Why a hold is over.",
    values={
        "EXPIRED": "Its time was over.",
        "ENDED_EARLY": "Somebody ended it: `endHold`.",
        "SUPERSEDED": "Another hold was placed in its stead.",
        "CHILD_CREATED": "A task was made below the one that it held.",
        "TASK_CLOSED": "The task that it held was completed or cancelled.",
    },
)
enum_type(
    TaskAction,
    name="TaskAction",
    description="Something that a viewer may do with a task.",
    values={
        "START": "Begin to work on it: `startTask`.",
        "COMPLETE": "Say that it is done: `completeTask`.",
        "CANCEL": "Say that it is no longer needed: `cancelTask`, with `cascade` where tasks below it are open.",
        "ASSIGN": "Give a team's task to a person: `assignTask`.",
        "REASSIGN": "Give it to somebody else: `reassignTask`.",
        "PLACE_HOLD": "Pause it until an instant: `placeHold`.",
        "END_HOLD": "End its hold early: `endHold`.",
        "CREATE_CHILD": "Make a task below it: `createTask`.",
        "UPDATE": "Change its title or dates, add a note: `updateTask`.",
        "ADD_NOTE": "Add a note: `updateTask` with `instructions` and nothing else, for title and dates are not the "
        "viewer's to change.",
        "COMPLETE_STEP": "Complete one of its steps: `completeStep`.",
    },
)


@strawberry.type(description="What holds a type of task allows. The only place where these limits are.")
class HoldPolicy:
    """Limits of holds."""

    min_days: int = attr("The shortest hold, in days of 24 hours.")
    max_days: int = attr("The longest hold, in days of 24 hours.")
    presets: list[int] = attr("Durations worth offering, in days.")
    on_expiry: HoldExpiry = attr("What happens to the task when its hold runs out.")
    on_assign: HoldOnAssign = attr("What happens to an open hold when a team's task is assigned to a person.")
    note_required: bool = attr("Whether `placeHold` must say why.")


@strawberry.type(description="A kind of task.")
class TaskType:
    """A kind of task."""

    name: str = attr("Stable, for programs: `reading`, `general` …")
    label: str = attr("For people.")
    hold: HoldPolicy | None = attr("What holds are allowed; null: none.")


@strawberry.type(description="Something that somebody wrote to a task.")
class TaskNote:
    """A note."""

    at: datetime = attr("When it was written.")
    actor: Actor = attr("Who wrote it.")
    text: str = attr("What it says.")


@strawberry.type(description="One change of a task's status.")
class TaskTransition:
    """A line of a task's history."""

    at: datetime = attr("When it happened.")
    actor: Actor = attr("Who did it: a person, or the system.")
    from_status: TaskStatus | None = attr("The status before; null: the task was created.", name="from")
    to_status: TaskStatus = attr("The status after.", name="to")
    reason: str | None = attr("Why, in words.")


@strawberry.type(description="One step of a learner's task. Its id belongs to this learner's step alone.")
class TaskStep:
    """A step."""

    position: int = attr("Its place in the task, from 1.")
    kind: str = attr("What it is: `page`, `exercise`, `external`.")
    title: str = attr("For people.")
    completed_at: datetime | None = attr("When the learner completed it; null: not yet.")

    @computed()
    def id(self: Any) -> strawberry.ID:
        """Opaque; what `completeStep` takes. It is this learner's: another learner's same step has another id."""
        return strawberry.ID(encode_id("TaskStep", f"{self.task_id}.{self.template_id}"))

    @computed()
    def content(self: Any) -> JSON:
        """What is to be done: `{itemId}`, `{exerciseId, points}` or `{url}`, by kind."""
        content = dict(self.content)
        if "itemId" in content:
            content["itemId"] = encode_id("CourseItem", content["itemId"])
        return JSON(content)


@strawberry.interface(description="A piece of work, or a hold on one.")
class Task(Node, RowInterface):
    """What work and holds share."""

    type: TaskType = attr("What kind of task it is.")
    title: str = attr("For people.")
    status: TaskStatus = attr("Where it is.")
    instructions: list[str] = attr("What was written to it, oldest first. Only ever added to.")
    notes: list[TaskNote] = attr("The same with who wrote it and when, oldest first.")
    parent: Annotated["WorkTask", strawberry.lazy("resolvers.tasks.types")] | None = attr(
        "The task above it; null at the root, and where the viewer may not see it."
    )
    is_root: bool = attr("Whether there is no task above it.")
    assigned_to: Assignee = attr("Whose it is: a person or a team.")
    assigned_by: Actor = attr("Who assigned it.")
    cancelled_by: Actor | None = attr("Who cancelled it; null: nobody, or the system.")
    created_at: datetime = attr("When it was made.")
    assigned_at: datetime = attr("When it last became somebody's to do.")
    started_at: datetime | None = attr("When work began; null: not yet.")
    placed_on_hold_at: datetime | None = attr("When it was last put on hold; null: never.")
    closed_at: datetime | None = attr("When it was completed or cancelled; null: it is open.")

    @listed
    def timeline(self, info: Info, first: First = None, after: After = None) -> Connection[TaskTransition]:
        """Every change of its status, newest first."""
        return related(self, info)


@strawberry.type(description="One person's or one team's piece of work.")
class WorkTask(Row, Task, Node):
    """A piece of work."""

    id: strawberry.ID = node_id()
    available_actions: list[TaskAction] = attr(
        "What to offer the viewer now, by the same rules that decide the mutations. PLACE_HOLD and END_HOLD are never "
        "both there, nor are UPDATE and ADD_NOTE."
    )
    root: Annotated["WorkTask", strawberry.lazy("resolvers.tasks.types")] | None = attr(
        "The task at the top of its tree, itself where there is none above it; null where the viewer may not see that."
    )
    active_hold: Annotated["TimedHoldTask", strawberry.lazy("resolvers.tasks.types")] | None = attr(
        "The timed hold that is open on it; null: none. A task can be ON_HOLD without one: because of its children."
    )
    holds: list[Annotated["TimedHoldTask", strawberry.lazy("resolvers.tasks.types")]] = attr(
        "Every timed hold that it ever had, newest first."
    )
    steps: list[TaskStep] = attr("Its steps in order; empty where it has none.")
    step_count: int = attr("How many steps it has.")
    completed_step_count: int = attr("How many of them are completed.")
    opens_at: datetime | None = attr("From when on it may be worked on; null: at once.")
    due_at: datetime | None = attr("When it should be done; null: no date.")
    closes_at: datetime | None = attr("Until when it may be worked on; null: without end.")
    is_ready: bool = attr("Whether it may be worked on now: open, opened, not closed, not on hold, not withdrawn.")
    is_overdue: bool = attr("Whether it is open and its due date has passed; never where its plan was withdrawn.")
    is_withdrawn: bool = attr("Whether its plan was withdrawn: it is shown and cannot be worked on.")
    plan: Annotated["TaskPlan", strawberry.lazy("resolvers.plans.types")] | None = attr(
        "The plan it was made by; null: none, or not visible to the viewer."
    )

    @listed
    def children(
        self, info: Info, first: First = None, after: After = None
    ) -> Connection[Annotated["WorkTask", strawberry.lazy("resolvers.tasks.types")]]:
        """The tasks directly below it that the viewer may see, newest first. Holds are left out."""
        return related(self, info)


@strawberry.type(description="When a hold ends, and how that went.")
class TaskTimer(Row):
    """A timer."""

    due_at: datetime = attr("When the hold ends: `endsAt`.")
    attempts: int = attr("How often it was tried; more than once only where it failed.")
    next_attempt_at: datetime | None = attr("When it is tried again; null where it has not failed.")
    last_error: str | None = attr("Why it failed, for ADMIN; null for others, and where it has not failed.")
    processed_at: datetime | None = attr("When it ended the hold; null: it has not.")
    cancelled_at: datetime | None = attr("When it was cancelled, because the hold had ended before; null: it was not.")


@strawberry.type(
    description="A pause of a task until an instant: a task of its own, below the one that it holds (`parent`), and "
    "kept for ever. Made by `placeHold`. While it is open its status is ASSIGNED; it is COMPLETED where its time ran "
    "out, else CANCELLED."
)
class TimedHoldTask(Row, Task, Node):
    """A hold."""

    id: strawberry.ID = node_id()
    duration_days: int = attr("For how long it was placed, in days of 24 hours.")
    starts_at: datetime = attr("When it was placed.")
    ends_at: datetime = attr("When it ends by itself: `startsAt` and `durationDays` times 24 hours.")
    days_elapsed: int = attr("Whole days of 24 hours from `startsAt` to now, or to its end where it is over.")
    end_reason: HoldEndReason | None = attr("Why it is over; null while it is open.")
    timer: TaskTimer = attr("What ends it.")


@strawberry.type(description="How many tasks each tab of a queue has, and how many are late.")
class TaskCounts:
    """Counts of a queue."""

    unassigned: int = attr("A team's tasks that nobody has yet; 0 in a person's queue.")
    assigned: int = attr("Those of the tab ASSIGNED.")
    on_hold: int = attr("Those of the tab ON_HOLD.")
    completed: int = attr("Those of the tab COMPLETED: closed in the last 7 days.")
    overdue: int = attr("Open and past their due date, whatever the tab; not those of withdrawn plans.")


NODES: dict[str, Entity] = {"WorkTask": WORK_TASK, "TimedHoldTask": TIMED_HOLD}
TYPES: list[type] = [WorkTask, TimedHoldTask]
