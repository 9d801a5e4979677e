"""The words of tasks: where one can be, what may follow what, and what hints about it are called."""

from enum import StrEnum
from uuid import UUID

from db.machine import Machine

# The type of every hold. It is never created by hand, and allows no holds itself.
HOLD_TYPE = "timed_hold"
HOLD_TITLE = "Timed hold"


class TaskStatus(StrEnum):
    """Where a task is. ON_HOLD is derived: it has an open child."""

    ASSIGNED = "ASSIGNED"
    IN_PROGRESS = "IN_PROGRESS"
    ON_HOLD = "ON_HOLD"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class HoldExpiry(StrEnum):
    """What happens to a task when its hold runs out."""

    RESUME = "RESUME"
    COMPLETE = "COMPLETE"


class HoldOnAssign(StrEnum):
    """What happens to a team task's hold when it is given to a person."""

    CANCEL = "CANCEL"
    MOVE = "MOVE"


class HoldEndReason(StrEnum):
    """Why a hold is over."""

    EXPIRED = "EXPIRED"
    ENDED_EARLY = "ENDED_EARLY"
    SUPERSEDED = "SUPERSEDED"
    CHILD_CREATED = "CHILD_CREATED"
    TASK_CLOSED = "TASK_CLOSED"


class TaskAction(StrEnum):
    """What a viewer may do with a task."""

    START = "START"
    COMPLETE = "COMPLETE"
    CANCEL = "CANCEL"
    ASSIGN = "ASSIGN"
    REASSIGN = "REASSIGN"
    PLACE_HOLD = "PLACE_HOLD"
    END_HOLD = "END_HOLD"
    CREATE_CHILD = "CREATE_CHILD"
    UPDATE = "UPDATE"
    ADD_NOTE = "ADD_NOTE"
    COMPLETE_STEP = "COMPLETE_STEP"


class QueueTab(StrEnum):
    """The tabs of a person's queue."""

    ASSIGNED = "ASSIGNED"
    ON_HOLD = "ON_HOLD"
    COMPLETED = "COMPLETED"


class TeamTab(StrEnum):
    """The tabs of a team's queue. They never overlap, so their counts add up.

    ON_HOLD: a timed hold is open. ASSIGNED: else, a child is open. UNASSIGNED: neither.
    """

    UNASSIGNED = "UNASSIGNED"
    ASSIGNED = "ASSIGNED"
    ON_HOLD = "ON_HOLD"
    COMPLETED = "COMPLETED"


_S = TaskStatus

TASK = Machine(
    name="task",
    states=TaskStatus,
    initial=_S.ASSIGNED,
    edges={
        (_S.ASSIGNED, _S.IN_PROGRESS): "work begins",
        (_S.ASSIGNED, _S.ON_HOLD): "a child is opened",
        (_S.IN_PROGRESS, _S.ON_HOLD): "a child is opened",
        (_S.ON_HOLD, _S.ASSIGNED): "its last open child closes",
        (_S.ASSIGNED, _S.COMPLETED): "done without having been started",
        (_S.IN_PROGRESS, _S.COMPLETED): "done",
        (_S.ON_HOLD, _S.COMPLETED): "done while a timed hold is open, or with its children",
        (_S.ASSIGNED, _S.CANCELLED): "no longer needed",
        (_S.IN_PROGRESS, _S.CANCELLED): "no longer needed",
        (_S.ON_HOLD, _S.CANCELLED): "no longer needed",
    },
)

HOLD = Machine(
    name="hold",
    states=TaskStatus,
    initial=_S.ASSIGNED,
    edges={
        (_S.ASSIGNED, _S.COMPLETED): "its time is over",
        (_S.ASSIGNED, _S.CANCELLED): "ended early, replaced, or no longer needed",
    },
)

ACTIVE = frozenset({_S.ASSIGNED, _S.IN_PROGRESS})
CLOSED = TASK.terminal
OPEN = frozenset(TaskStatus) - CLOSED


def task_topic(task_id: UUID) -> str:
    """The topic of hints about a task: "look at it again"."""
    return f"task.{task_id}"


def queue_topic(*, user_id: UUID | None = None, team_id: UUID | None = None) -> str:
    """The topic of hints about the queue of a person or of a team: something entered it, changed in it or left it."""
    return f"queue.team.{team_id}" if user_id is None else f"queue.user.{user_id}"
