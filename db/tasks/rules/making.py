"""New tasks, and what may be changed of one: its type, title and dates."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from db.accounts.rules import raise_problems, text_problem
from db.errors import Code, Problem
from db.tasks.rules.holds import note_problem
from db.tasks.rules.statuses import HOLD_TYPE
from db.tasks.rules.work import TaskFacts, closed_problem

# What a plan decides for all of its tasks: its next publication would undo a change of one.
OF_THE_PLAN = {"title": "updatePlan", "opensAt": "updatePlan", "dueAt": "extendPlan", "closesAt": "extendPlan"}


@dataclass(frozen=True, slots=True)
class TaskValues:
    """The columns of a task that a person writes. A date that is None: there is none."""

    title: str
    opens_at: datetime | None = None
    due_at: datetime | None = None
    closes_at: datetime | None = None


def decide_new(
    values: TaskValues,
    *,
    type_name: str,
    is_known_type: bool,
    note: str | None,
    surroundings: Sequence[Problem | None] = (),
) -> TaskValues:
    """A task as it may be made, with this note. `surroundings`: what is against its parent and its assignee.

    Raises Refused with everything that is wrong.
    """
    problems = [_type_problem(type_name, is_known=is_known_type), *_value_problems(values), note_problem(note)]
    raise_problems([*surroundings, *problems])
    return _tidy(values)


def decide_update(facts: TaskFacts, after: TaskValues, *, changed: Collection[str], note: str | None) -> TaskValues:
    """A task as it may be after a change of the fields named in `changed`, which are those of the API.

    Raises Refused with everything that is wrong.
    """
    problems = [of_plan_problem(facts, name) for name in OF_THE_PLAN if name in changed]
    if not facts.is_of_plan:
        problems = _value_problems(after)
    raise_problems([closed_problem(facts), *problems, note_problem(note)])
    return _tidy(after)


def of_plan_problem(facts: TaskFacts, name: str) -> Problem | None:
    """Why this field of a task is not for anybody to change by itself: its plan has it. None where it has no plan."""
    if not facts.is_of_plan:
        return None
    message = f"This is the plan's to say, for all of its tasks: `{OF_THE_PLAN[name]}`."
    return Problem(Code.BAD_USER_INPUT, message, (name,))


def _tidy(values: TaskValues) -> TaskValues:
    return replace(values, title=values.title.strip())


def _type_problem(type_name: str, *, is_known: bool) -> Problem | None:
    if type_name == HOLD_TYPE:
        return Problem(Code.BAD_USER_INPUT, "A hold is placed with `placeHold`, never created.", ("type",))
    if not is_known:
        return Problem(Code.BAD_USER_INPUT, "There is no such type of task. `taskTypes` lists them.", ("type",))
    return None


def _value_problems(values: TaskValues) -> list[Problem | None]:
    problems = [text_problem(values.title, "title")]
    dates = [("opensAt", values.opens_at), ("dueAt", values.due_at), ("closesAt", values.closes_at)]
    given = [(name, at) for name, at in dates if at is not None]
    for (earlier, before), (later, after) in pairwise(given):
        if before > after:
            message = f"`{later}` must not be before `{earlier}`."
            problems.append(Problem(Code.DATES_OUT_OF_ORDER, message, (later,)))
    return problems
