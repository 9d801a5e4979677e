"""Trees of tasks: who may stand below whom, and what becomes of a task when its children open and close."""

from dataclasses import dataclass
from uuid import UUID

from db.accounts.rules import raise_problems
from db.errors import Code, Problem
from db.tasks.rules.holds import HoldPolicy, note_problem
from db.tasks.rules.statuses import HoldExpiry, HoldOnAssign, TaskStatus
from db.tasks.rules.work import TaskFacts, closed_problem, open_children, require_open

_S = TaskStatus
# Far deeper than anybody plans work, and few enough that closing a chain of them is a matter of milliseconds.
MOST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class ParentFacts:
    """The task above one that has just closed. `open_children` counts holds too, without the one that closed.

    `has_kept_child`: one of its ordinary children was not cancelled.
    """

    status: TaskStatus
    type_name: str
    is_team_task: bool
    open_children: int
    has_kept_child: bool


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to whom a task is to be given; `team_id` instead where it is a team."""

    user_id: UUID | None = None
    team_id: UUID | None = None
    is_active: bool = True


def decide_after_child(parent: ParentFacts, *, child_type: str) -> TaskStatus | None:
    """What the task above becomes when a child has closed. None: it stays as it is.

    A person's task is theirs again. A team's task ends with its last child of its own type: that was the work.
    """
    if parent.status is not _S.ON_HOLD or parent.open_children:
        return None
    if not parent.is_team_task or child_type != parent.type_name:
        return _S.ASSIGNED
    return _S.COMPLETED if parent.has_kept_child else _S.CANCELLED


def decide_expiry(parent: ParentFacts, *, on_expiry: HoldExpiry | None, missing_steps: int) -> TaskStatus | None:
    """What a task becomes when its hold has run out. None: something else holds it, so it stays on hold.

    COMPLETE never completes what nobody could: a task with steps that are not done goes on.
    """
    if parent.status is not _S.ON_HOLD or parent.open_children:
        return None
    return _S.COMPLETED if on_expiry is HoldExpiry.COMPLETE and missing_steps <= 0 else _S.ASSIGNED


def parent_problem(parent: TaskFacts, *, level: int, path: str) -> Problem | None:
    """Why no task may be made below this one, or None where one may: TASK_CLOSED or INVALID_PARENT, at `path`.

    `level` is the parent's, from 1 at the root. That a hold is no parent is said where it is read.
    """
    if parent.is_open and level >= MOST_LEVELS:
        message = f"Tasks can be nested {MOST_LEVELS} deep, and this one is the deepest."
        return Problem(Code.INVALID_PARENT, message, (path,), {"max": MOST_LEVELS})
    return closed_problem(parent, path)


def assignee_problem(assignee: Person | None, *, is_taken: bool) -> Problem | None:
    """Why they cannot get a task: NOT_FOUND, ASSIGNEE_INACTIVE or DUPLICATE_TASK, or None where they can.

    `is_taken`: they have an open one of this type there already.
    """
    path = ("assigneeId",)
    if assignee is None:
        return Problem(Code.NOT_FOUND, "There is no such user or team.", path)
    if not assignee.is_active:
        return Problem(Code.ASSIGNEE_INACTIVE, "This user is not active. Choose somebody who is.", path)
    return duplicate_problem() if is_taken else None


def duplicate_problem() -> Problem:
    """The reason against a second open task of the same kind for the same assignee."""
    message = "They have an open task of this type here already. Close that one first, or choose somebody else."
    return Problem(Code.DUPLICATE_TASK, message, ("assigneeId",))


def decide_assign(facts: TaskFacts, assignee: Person | None, *, level: int, is_taken: bool, note: str | None) -> None:
    """Whether a task can be given to a person as a child of its own, with this note.

    Raises Refused with everything that is wrong: TASK_CLOSED, BAD_USER_INPUT or INVALID_PARENT at `taskId`, what is
    against the assignee, and BAD_USER_INPUT at `instructions`.
    """
    of_task = parent_problem(facts, level=level, path="taskId")
    if facts.is_open and not facts.is_team_task:
        message = "Only a team's task is assigned to a person. Give a person's task to another with `reassignTask`."
        of_task = Problem(Code.BAD_USER_INPUT, message, ("taskId",))
    of_assignee = assignee_problem(assignee, is_taken=is_taken)
    if assignee is not None and assignee.team_id is not None:
        message = "`assigneeId` must be a person here. Give the task to another team with `reassignTask`."
        of_assignee = Problem(Code.BAD_USER_INPUT, message, ("assigneeId",))
    raise_problems([of_task, of_assignee, note_problem(note)])


def decide_reassign(
    facts: TaskFacts, assignee: Person | None, *, is_same: bool, is_taken: bool, note: str | None
) -> None:
    """Whether a task can go to this assignee, with this note. `is_same`: it is theirs.

    Raises Refused with everything that is wrong: TASK_CLOSED at `taskId`, what is against the assignee, and
    BAD_USER_INPUT at `instructions`.
    """
    of_assignee = assignee_problem(assignee, is_taken=is_taken)
    if is_same:
        of_assignee = Problem(Code.DUPLICATE_TASK, "The task is theirs already.", ("assigneeId",))
    elif facts.is_of_plan and assignee is not None and assignee.team_id is not None:
        message = "A plan's task belongs to a person, never to a team."
        of_assignee = Problem(Code.BAD_USER_INPUT, message, ("assigneeId",))
    raise_problems([closed_problem(facts), of_assignee, note_problem(note)])


def moves_hold(policy: HoldPolicy | None) -> bool:
    """Whether the hold of a team's task goes along when it is assigned to a person. It ends otherwise."""
    return policy is not None and policy.on_assign is HoldOnAssign.MOVE


def decide_cancel(facts: TaskFacts, *, cascade: bool) -> TaskStatus:
    """The status after cancelling. Raises Refused: TASK_CLOSED; OPEN_CHILDREN without `cascade`."""
    require_open(facts)
    if facts.open_children and not cascade:
        raise open_children(facts)
    return _S.CANCELLED
