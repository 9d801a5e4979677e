"""New tasks, and what may be changed of one: its type, title and dates."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from db.accounts.rules import text_problem
from db.errors import Code, Problem, Refused
from db.tasks.rules.statuses import HOLD_TYPE
from db.tasks.rules.work import TaskFacts, require_open

# What a plan decides for all of its tasks: its next publication would undo a change of one.
OF_THE_PLAN = {"title": "updatePlan", "opensAt": "updatePlan", "dueAt": "extendPlan", "closesAt": "extendPlan"}


@dataclass(frozen=True, slots=True)
class TaskValues:
    """The columns of a task that a person writes. A date that is None: there is none."""

    title: str
    opens_at: datetime | None = None
    due_at: datetime | None = None
    closes_at: datetime | None = None


def decide_new(values: TaskValues, *, type_name: str, is_known_type: bool) -> TaskValues:
    """A task as it may be made. Raises Refused with everything that is wrong."""
    problems = [_type_problem(type_name, is_known=is_known_type), *_value_problems(values)]
    return _checked(values, problems)


def decide_update(facts: TaskFacts, after: TaskValues, *, changed: Collection[str]) -> TaskValues:
    """A task as it may be after a change of the fields named in `changed`, which are those of the API.

    Raises Refused: TASK_CLOSED, or everything that is wrong.
    """
    require_open(facts)
    if facts.is_of_plan and changed:
        raise Refused(
            *(
                Problem(Code.BAD_USER_INPUT, f"This is the plan's to say, for all of its tasks: `{how}`.", (name,))
                for name, how in OF_THE_PLAN.items()
                if name in changed
            )
        )
    return _checked(after, _value_problems(after))


def _checked(values: TaskValues, problems: Collection[Problem | None]) -> TaskValues:
    found = [problem for problem in problems if problem is not None]
    if found:
        raise Refused(*found)
    return TaskValues(values.title.strip(), values.opens_at, values.due_at, values.closes_at)


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
