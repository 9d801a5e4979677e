"""What may be done with a task: every rule with its code, and the actions that follow from the same rules."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from db.errors import Code, Refused
from db.tasks.rules import (
    TASK,
    Standing,
    StepDecision,
    TaskAction,
    TaskFacts,
    TaskStatus,
    TaskValues,
    available_actions,
    decide_complete,
    decide_start,
    decide_step,
    decide_update,
    is_overdue,
    is_ready,
    require_may_edit,
    require_may_note,
)
from db.tasks.rules.making import OF_THE_PLAN

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
S = TaskStatus
TASK_OF_THREE = TaskFacts(S.ASSIGNED, NOW - HOUR, NOW + HOUR, is_withdrawn=False, step_count=3, completed_steps=0)

NOT_WORKABLE = [
    (replace(TASK_OF_THREE, opens_at=NOW + HOUR), Code.TASK_NOT_OPEN),
    (replace(TASK_OF_THREE, closes_at=NOW - HOUR), Code.TASK_NOT_OPEN),
    (replace(TASK_OF_THREE, is_withdrawn=True), Code.TASK_NOT_OPEN),
    (replace(TASK_OF_THREE, status=S.ON_HOLD), Code.TASK_ON_HOLD),
    (replace(TASK_OF_THREE, status=S.COMPLETED), Code.TASK_CLOSED),
    (replace(TASK_OF_THREE, status=S.CANCELLED), Code.TASK_CLOSED),
]


@pytest.mark.parametrize(("facts", "code"), NOT_WORKABLE)
def test_a_task_that_may_not_be_worked_on_refuses_everything_and_offers_nothing(facts: TaskFacts, code: Code) -> None:
    assert not is_ready(facts, now=NOW)
    offered = set(available_actions(facts, Standing(is_assignee=True, is_admin=True, is_editor=True), now=NOW))
    assert not offered & {TaskAction.START, TaskAction.COMPLETE, TaskAction.COMPLETE_STEP}
    for decide in (decide_start, decide_complete):
        with pytest.raises(Refused) as refused:
            decide(facts, now=NOW)
        assert refused.value.code is code
    with pytest.raises(Refused) as refused:
        decide_step(facts, is_completed=False, now=NOW)
    assert refused.value.code is code


def test_opening_and_closing_instants_belong_to_the_time_for_work() -> None:
    assert is_ready(replace(TASK_OF_THREE, opens_at=NOW, closes_at=NOW), now=NOW)


def test_a_task_without_dates_is_always_ready() -> None:
    assert is_ready(replace(TASK_OF_THREE, opens_at=None, closes_at=None), now=NOW)


def test_a_task_is_started_once() -> None:
    assert decide_start(TASK_OF_THREE, now=NOW) is S.IN_PROGRESS
    with pytest.raises(Refused) as refused:
        decide_start(replace(TASK_OF_THREE, status=S.IN_PROGRESS), now=NOW)
    assert refused.value.code is Code.INVALID_TRANSITION


def test_a_task_with_open_steps_is_not_completed() -> None:
    with pytest.raises(Refused) as refused:
        decide_complete(replace(TASK_OF_THREE, completed_steps=1), now=NOW)
    (problem,) = refused.value.problems
    assert problem.code is Code.STEPS_INCOMPLETE
    assert problem.details == {"missing": 2, "steps": 3}
    assert decide_complete(replace(TASK_OF_THREE, completed_steps=3), now=NOW) is S.COMPLETED
    assert decide_complete(replace(TASK_OF_THREE, step_count=0), now=NOW) is S.COMPLETED


@pytest.mark.parametrize(
    ("status", "completed", "statuses"),
    [
        (S.ASSIGNED, 0, (S.IN_PROGRESS,)),
        (S.IN_PROGRESS, 1, ()),
        (S.IN_PROGRESS, 2, (S.COMPLETED,)),
        (S.ASSIGNED, 2, (S.IN_PROGRESS, S.COMPLETED)),
    ],
)
def test_the_first_step_starts_the_task_and_the_last_completes_it(
    status: TaskStatus, completed: int, statuses: tuple[TaskStatus, ...]
) -> None:
    facts = replace(TASK_OF_THREE, status=status, completed_steps=completed)
    assert decide_step(facts, is_completed=False, now=NOW) == StepDecision(statuses, completes_step=True)


def test_a_step_that_is_completed_stays_so_even_on_a_closed_task() -> None:
    closed = replace(TASK_OF_THREE, status=S.COMPLETED)
    assert decide_step(closed, is_completed=True, now=NOW) == StepDecision((), completes_step=False)


def test_actions_are_those_that_would_not_be_refused() -> None:
    def actions(facts: TaskFacts) -> list[TaskAction]:
        return list(available_actions(replace(facts, is_of_plan=True), Standing(is_assignee=True), now=NOW))

    assert actions(TASK_OF_THREE) == [TaskAction.START, TaskAction.COMPLETE_STEP, TaskAction.ADD_NOTE]
    assert actions(replace(TASK_OF_THREE, status=S.IN_PROGRESS)) == [TaskAction.COMPLETE_STEP, TaskAction.ADD_NOTE]
    assert actions(replace(TASK_OF_THREE, step_count=0)) == [TaskAction.START, TaskAction.COMPLETE, TaskAction.ADD_NOTE]
    assert available_actions(TASK_OF_THREE, Standing(), now=NOW) == []


@pytest.mark.parametrize("field", OF_THE_PLAN)
@pytest.mark.parametrize("is_of_plan", [False, True])
@pytest.mark.parametrize("standing", [Standing(), *(Standing(**{each.name: True}) for each in fields(Standing))])
def test_a_change_is_offered_where_it_is_allowed_and_a_note_alone_where_only_that_is(
    standing: Standing, is_of_plan: bool, field: str
) -> None:
    facts = replace(TASK_OF_THREE, is_of_plan=is_of_plan)

    def is_allowed(*changed: str) -> bool:
        try:
            require_may_note(standing)
            require_may_edit(standing, *changed)
            decide_update(facts, TaskValues("Title"), changed=changed, note="Note")
        except Refused:
            return False
        return True

    offered = set(available_actions(facts, standing, now=NOW))
    assert (TaskAction.UPDATE in offered) == is_allowed(field)
    assert (TaskAction.ADD_NOTE in offered) == (is_allowed() and not is_allowed(field))


def test_whoever_may_not_change_a_task_is_told_so_at_each_field() -> None:
    require_may_edit(Standing(is_assignee=True))
    with pytest.raises(Refused) as refused:
        require_may_edit(Standing(is_assignee=True), "title", "dueAt")
    assert [(each.code, each.path) for each in refused.value.problems] == [
        (Code.FORBIDDEN, ("title",)),
        (Code.FORBIDDEN, ("dueAt",)),
    ]


@pytest.mark.parametrize(
    ("status", "due_at", "overdue"),
    [
        (S.ASSIGNED, NOW - HOUR, True),
        (S.ON_HOLD, NOW - HOUR, True),
        (S.ASSIGNED, NOW, False),
        (S.ASSIGNED, None, False),
        (S.COMPLETED, NOW - HOUR, False),
    ],
)
def test_an_open_task_past_its_due_date_is_overdue_unless_its_plan_was_withdrawn(
    status: TaskStatus, due_at: datetime | None, overdue: bool
) -> None:
    assert is_overdue(status=status, due_at=due_at, is_withdrawn=False, now=NOW) is overdue
    assert not is_overdue(status=status, due_at=due_at, is_withdrawn=True, now=NOW)


def test_closed_is_final() -> None:
    assert TASK.terminal == {S.COMPLETED, S.CANCELLED}
    assert sorted(f"{before}>{after}" for before, after in TASK.illegal) == [
        "CANCELLED>ASSIGNED",
        "CANCELLED>COMPLETED",
        "CANCELLED>IN_PROGRESS",
        "CANCELLED>ON_HOLD",
        "COMPLETED>ASSIGNED",
        "COMPLETED>CANCELLED",
        "COMPLETED>IN_PROGRESS",
        "COMPLETED>ON_HOLD",
        "IN_PROGRESS>ASSIGNED",
        "ON_HOLD>IN_PROGRESS",
    ]
