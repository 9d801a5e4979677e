"""Working on a task: when it may be worked on, and what starting, completing and its steps make of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from db.accounts.rules import raise_problems
from db.errors import Code, Problem, Refused, refuse, written
from db.tasks.rules.statuses import ACTIVE, OPEN, TaskStatus

_S = TaskStatus
T = TypeVar("T")
ON_HOLD = "This task is on hold. End its hold or close its children first."


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task as the rules see it. Each of its dates is None where the task has none.

    `open_children` leaves holds out; of these there is at most one, `has_open_hold`. `allows_holds` is its type's.
    """

    status: TaskStatus
    opens_at: datetime | None
    closes_at: datetime | None
    is_withdrawn: bool
    step_count: int
    completed_steps: int
    open_children: int = 0
    has_open_hold: bool = False
    allows_holds: bool = False
    is_team_task: bool = False
    is_of_plan: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is neither completed nor cancelled."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class StepDecision:
    """What completing a step makes of its task: the statuses it passes, in order. Empty: nothing changes."""

    statuses: tuple[TaskStatus, ...]
    completes_step: bool


def is_ready(facts: TaskFacts, *, now: datetime) -> bool:
    """Whether the task may be worked on now."""
    return facts.status in ACTIVE and _closed_window(facts, now=now) is None


def is_overdue(*, status: TaskStatus, due_at: datetime | None, is_withdrawn: bool, now: datetime) -> bool:
    """Whether an open task's due date has passed. Nobody can do what was withdrawn, so nobody is late with it."""
    return status in OPEN and not is_withdrawn and due_at is not None and due_at < now


def require_workable(facts: TaskFacts, *, now: datetime, path: str = "taskId") -> None:
    """Raises Refused where the task may not be worked on: TASK_CLOSED, TASK_ON_HOLD or TASK_NOT_OPEN."""
    _require_window(facts, now=now, path=path)
    if facts.status is _S.ON_HOLD:
        raise refuse(Code.TASK_ON_HOLD, ON_HOLD, path)


def decide_start(facts: TaskFacts, *, now: datetime) -> TaskStatus:
    """The status after starting. Raises Refused: INVALID_TRANSITION where it has been started."""
    require_workable(facts, now=now)
    if facts.status is _S.IN_PROGRESS:
        raise refuse(Code.INVALID_TRANSITION, "This task has been started already.", "taskId")
    return _S.IN_PROGRESS


def decide_complete(facts: TaskFacts, *, now: datetime) -> TaskStatus:
    """The status after completing; a task that only a timed hold holds may be completed.

    Raises Refused: TASK_CLOSED, TASK_NOT_OPEN, OPEN_CHILDREN, TASK_ON_HOLD, STEPS_INCOMPLETE where steps are open.
    """
    _require_window(facts, now=now)
    if facts.open_children:
        raise open_children(facts)
    if facts.status is _S.ON_HOLD and not facts.has_open_hold:
        raise refuse(Code.TASK_ON_HOLD, ON_HOLD, "taskId")
    missing = facts.step_count - facts.completed_steps
    if missing > 0:
        message = f"{missing} of {facts.step_count} steps are not completed."
        raise refuse(Code.STEPS_INCOMPLETE, message, "taskId", missing=missing, steps=facts.step_count)
    return _S.COMPLETED


def decide_step(facts: TaskFacts, *, is_completed: bool, now: datetime) -> StepDecision:
    """What completing one step does: the first starts the task, the last completes it; a second time does nothing.

    Raises Refused at `stepId` where the task may not be worked on.
    """
    if is_completed:
        return StepDecision((), completes_step=False)
    require_workable(facts, now=now, path="stepId")
    statuses: tuple[TaskStatus, ...] = (_S.IN_PROGRESS,) if facts.status is _S.ASSIGNED else ()
    if facts.completed_steps + 1 >= facts.step_count:
        statuses = (*statuses, _S.COMPLETED)
    return StepDecision(statuses, completes_step=True)


def closed_problem(facts: TaskFacts, path: str = "taskId") -> Problem | None:
    """Why nothing can be done with a task that is closed: TASK_CLOSED. None where it is open."""
    if facts.is_open:
        return None
    return Problem(Code.TASK_CLOSED, f"This task is {facts.status.lower()}. A closed task stays closed.", (path,))


def require_open(facts: TaskFacts, path: str = "taskId") -> None:
    """Raises Refused: TASK_CLOSED."""
    raise_problems([closed_problem(facts, path)])


def decide_with(rule: Callable[[], T], *others: Problem | None) -> T:
    """What a rule decides. Raises Refused with its reasons and with these others, which it does not know, at once."""
    try:
        decided = rule()
    except Refused as refusal:
        raise Refused(*refusal.problems, *[other for other in others if other is not None]) from None
    raise_problems(others)
    return decided


def open_children(facts: TaskFacts) -> Refused:
    """The refusal to close a task above open ones."""
    count = "1 task" if facts.open_children == 1 else f"{facts.open_children} tasks"
    message = f"Close what is open below this task first: {count}."
    return refuse(Code.OPEN_CHILDREN, message, "taskId", open=facts.open_children)


def _require_window(facts: TaskFacts, *, now: datetime, path: str = "taskId") -> None:
    require_open(facts, path)
    closed = _closed_window(facts, now=now)
    if closed is not None:
        raise refuse(Code.TASK_NOT_OPEN, closed, path)


def _closed_window(facts: TaskFacts, *, now: datetime) -> str | None:
    if facts.is_withdrawn:
        return "The plan of this task was withdrawn."
    if facts.opens_at is not None and now < facts.opens_at:
        return f"This task opens at {written(facts.opens_at)}."
    if facts.closes_at is not None and now > facts.closes_at:
        return f"This task closed at {written(facts.closes_at)}."
    return None
