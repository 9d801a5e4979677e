"""Who may do what with a task, and what is offered to them: from the same functions that decide."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from db.errors import Code, Problem, Refused, refuse
from db.tasks.rules.making import OF_THE_PLAN, of_plan_problem
from db.tasks.rules.statuses import TaskAction, TaskStatus
from db.tasks.rules.tree import decide_cancel
from db.tasks.rules.work import TaskFacts, decide_complete, decide_start, require_workable


@dataclass(frozen=True, slots=True)
class Standing:
    """What the viewer is to a task.

    `is_team_admin`: of the team that has the task, or of one that its assignee is in; of a plan's task nobody is,
    for what people learn is no business of their team. `teaches`: the course of its plan. `is_assigner`: they gave it.
    """

    is_admin: bool = False
    is_editor: bool = False
    is_assignee: bool = False
    is_team_member: bool = False
    is_team_admin: bool = False
    is_assigner: bool = False
    teaches: bool = False

    @property
    def may_work(self) -> bool:
        """Start, complete, complete a step."""
        return self.is_admin or self.is_assignee or self.is_team_member or self.is_team_admin

    @property
    def may_hold(self) -> bool:
        """Place a hold, end one."""
        return self.may_work or self.teaches

    @property
    def may_delegate(self) -> bool:
        """Make a task below it, assign it, reassign it."""
        return self.is_editor or self.is_team_admin

    @property
    def may_edit(self) -> bool:
        """Change its title and dates."""
        return self.may_delegate or self.is_assigner

    @property
    def may_note(self) -> bool:
        """Write to it."""
        return self.may_hold or self.may_edit

    def may_cancel(self, *, is_of_plan: bool) -> bool:
        """Say that it is no longer needed. What a plan gave is not for the learner to cancel."""
        return self.teaches or self.may_edit or (self.may_work and not is_of_plan) or self.is_admin

    def may_read(self, *, is_of_plan: bool, is_live: bool, is_shown: bool) -> bool:
        """See it. `is_live`: of no plan, or of its plan's live generation. `is_shown`: the learner sees it already."""
        if is_of_plan:
            return is_live and (self.is_editor or self.teaches or (self.is_assignee and is_shown))
        return self.is_editor or self.is_assignee or self.is_team_member or self.is_team_admin or self.is_assigner


_MAY_WORK = "Only the assignee, their team, its admins or an ADMIN may do this."
_MAY_HOLD = "Only the assignee, their team, its admins, the plan's teachers or an ADMIN may do this."
_MAY_DELEGATE = "Only EDITOR, ADMIN and the admins of the team may do this."
_MAY_EDIT = "Only whoever assigned it, EDITOR, ADMIN and the admins of the team may do this."
_MAY_CANCEL = "Only whoever assigned it, its assignee, the plan's teachers, EDITOR and ADMIN may do this."


def require_may_work(standing: Standing, path: str = "taskId") -> None:
    """Raises Refused (FORBIDDEN)."""
    _require(standing.may_work, _MAY_WORK, path)


def require_may_hold(standing: Standing, path: str = "taskId") -> None:
    """Raises Refused (FORBIDDEN)."""
    _require(standing.may_hold, _MAY_HOLD, path)


def require_may_delegate(standing: Standing, path: str = "taskId") -> None:
    """Raises Refused (FORBIDDEN)."""
    _require(standing.may_delegate, _MAY_DELEGATE, path)


def require_may_note(standing: Standing, path: str = "taskId") -> None:
    """Raises Refused (FORBIDDEN)."""
    _require(standing.may_note, _MAY_HOLD, path)


def require_may_cancel(standing: Standing, *, is_of_plan: bool, path: str = "taskId") -> None:
    """Raises Refused (FORBIDDEN)."""
    _require(standing.may_cancel(is_of_plan=is_of_plan), _MAY_CANCEL, path)


def require_may_edit(standing: Standing, *paths: str) -> None:
    """Raises Refused (FORBIDDEN) at each field that would be changed; does nothing where there is none."""
    if paths and not standing.may_edit:
        raise Refused(*(Problem(Code.FORBIDDEN, _MAY_EDIT, (path,)) for path in paths))


def require_within_team(standing: Standing, *, is_within: bool, path: str = "assigneeId") -> None:
    """Team admins give tasks to their team and its members only. Raises Refused (FORBIDDEN).

    `is_within`: the new assignee is a team that they administer, or a member of one.
    """
    _require(standing.is_editor or is_within, "Team admins may give tasks to their own team and its members.", path)


def _require(may: bool, message: str, path: str) -> None:
    if not may:
        raise refuse(Code.FORBIDDEN, message, path)


def available_actions(facts: TaskFacts, standing: Standing, *, now: datetime) -> Sequence[TaskAction]:
    """What this viewer may do with the task now: the actions whose rule would not refuse."""
    if not facts.is_open:
        return ()
    may_change = standing.may_edit and not any(of_plan_problem(facts, name) for name in OF_THE_PLAN)
    offered = {
        TaskAction.START: standing.may_work and _allows(lambda: decide_start(facts, now=now)),
        TaskAction.COMPLETE: standing.may_work and _allows(lambda: decide_complete(facts, now=now)),
        TaskAction.COMPLETE_STEP: standing.may_work and _has_steps_to_do(facts, now=now),
        # A hold may replace another one; what is offered is to end it.
        TaskAction.PLACE_HOLD: standing.may_hold and facts.allows_holds and not facts.has_open_hold,
        TaskAction.END_HOLD: standing.may_hold and facts.has_open_hold,
        TaskAction.CREATE_CHILD: standing.may_delegate,
        TaskAction.ASSIGN: standing.may_delegate and facts.is_team_task,
        TaskAction.REASSIGN: standing.may_delegate,
        TaskAction.UPDATE: may_change,
        TaskAction.ADD_NOTE: standing.may_note and not may_change,
        TaskAction.CANCEL: standing.may_cancel(is_of_plan=facts.is_of_plan)
        and _allows(lambda: decide_cancel(facts, cascade=True)),
    }
    return [action for action, is_offered in offered.items() if is_offered]


def _has_steps_to_do(facts: TaskFacts, *, now: datetime) -> bool:
    return facts.completed_steps < facts.step_count and _allows(lambda: require_workable(facts, now=now))


def _allows(rule: Callable[[], TaskStatus | None]) -> bool:
    try:
        rule()
    except Refused:
        return False
    return True
