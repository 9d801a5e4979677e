"""What a task may become, who may see that, and what a learner may do with it. Values in, decisions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from db.errors import Code, refuse
from db.machine import Machine


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
    COMPLETE_STEP = "COMPLETE_STEP"


class QueueTab(StrEnum):
    """The tabs of a queue."""

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

ACTIVE = frozenset({_S.ASSIGNED, _S.IN_PROGRESS})
CLOSED = TASK.terminal
OPEN = frozenset(TaskStatus) - CLOSED


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task as the rules see it. Its dates are those of a plan's task; each is None where the task has none."""

    status: TaskStatus
    opens_at: datetime | None
    closes_at: datetime | None
    is_withdrawn: bool
    step_count: int
    completed_steps: int


@dataclass(frozen=True, slots=True)
class StepDecision:
    """What completing a step makes of its task: the statuses it passes, in order. Empty: nothing changes."""

    statuses: tuple[TaskStatus, ...]
    completes_step: bool


def is_ready(facts: TaskFacts, *, now: datetime) -> bool:
    """Whether the task may be worked on now."""
    return facts.status in ACTIVE and _closed_window(facts, now=now) is None


def is_overdue(*, status: TaskStatus, due_at: datetime | None, now: datetime) -> bool:
    """Whether an open task's due date has passed."""
    return status in OPEN and due_at is not None and due_at < now


def require_workable(facts: TaskFacts, *, now: datetime) -> None:
    """Raises Refused where the task may not be worked on: TASK_CLOSED, TASK_ON_HOLD or TASK_NOT_OPEN."""
    if facts.status in CLOSED:
        raise refuse(Code.TASK_CLOSED, f"This task is {facts.status.lower()}. A closed task stays closed.")
    closed = _closed_window(facts, now=now)
    if closed is not None:
        raise refuse(Code.TASK_NOT_OPEN, closed)
    if facts.status is _S.ON_HOLD:
        raise refuse(Code.TASK_ON_HOLD, "This task is on hold. End its hold or close its children first.")


def decide_start(facts: TaskFacts, *, now: datetime) -> TaskStatus:
    """The status after starting. Raises Refused: INVALID_TRANSITION where it has been started."""
    require_workable(facts, now=now)
    if facts.status is _S.IN_PROGRESS:
        raise refuse(Code.INVALID_TRANSITION, "This task has been started already.")
    return _S.IN_PROGRESS


def decide_complete(facts: TaskFacts, *, now: datetime) -> TaskStatus:
    """The status after completing. Raises Refused: STEPS_INCOMPLETE where steps are open."""
    require_workable(facts, now=now)
    missing = facts.step_count - facts.completed_steps
    if missing > 0:
        message = f"{missing} of {facts.step_count} steps are not completed."
        raise refuse(Code.STEPS_INCOMPLETE, message, missing=missing, steps=facts.step_count)
    return _S.COMPLETED


def decide_step(facts: TaskFacts, *, is_completed: bool, now: datetime) -> StepDecision:
    """What completing one step does: the first starts the task, the last completes it; a second time does nothing.

    Raises Refused where the task may not be worked on.
    """
    if is_completed:
        return StepDecision((), completes_step=False)
    require_workable(facts, now=now)
    statuses: tuple[TaskStatus, ...] = (_S.IN_PROGRESS,) if facts.status is _S.ASSIGNED else ()
    if facts.completed_steps + 1 >= facts.step_count:
        statuses = (*statuses, _S.COMPLETED)
    return StepDecision(statuses, completes_step=True)


def available_actions(facts: TaskFacts, *, is_assignee: bool, is_admin: bool, now: datetime) -> Sequence[TaskAction]:
    """What this viewer may do with the task now: the actions whose rule would not refuse."""
    if not (is_assignee or is_admin) or not is_ready(facts, now=now):
        return ()
    actions = []
    if facts.status is _S.ASSIGNED:
        actions.append(TaskAction.START)
    if facts.completed_steps >= facts.step_count:
        actions.append(TaskAction.COMPLETE)
    else:
        actions.append(TaskAction.COMPLETE_STEP)
    return actions


def _closed_window(facts: TaskFacts, *, now: datetime) -> str | None:
    if facts.is_withdrawn:
        return "The plan of this task was withdrawn."
    if facts.opens_at is not None and now < facts.opens_at:
        return f"This task opens at {facts.opens_at.isoformat()}."
    if facts.closes_at is not None and now > facts.closes_at:
        return f"This task closed at {facts.closes_at.isoformat()}."
    return None


def task_topic(task_id: UUID) -> str:
    """The topic of hints about a task: "look at it again"."""
    return f"task.{task_id}"
