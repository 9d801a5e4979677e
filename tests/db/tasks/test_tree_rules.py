"""The rules of trees and holds as tables: what goes in, what comes out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from db.errors import Code, Refused
from db.tasks.rules import (
    HOLD,
    TASK,
    HoldExpiry,
    HoldOnAssign,
    HoldPolicy,
    ParentFacts,
    Standing,
    TaskAction,
    TaskFacts,
    TaskStatus,
    available_actions,
    backoff,
    decide_after_child,
    decide_cancel,
    decide_complete,
    decide_expiry,
    decide_place,
    decide_start,
    decide_with,
    note_of,
    note_problem,
    require_hold,
)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
S, A = TaskStatus, TaskAction
FACTS = TaskFacts(S.ASSIGNED, None, None, is_withdrawn=False, step_count=0, completed_steps=0, allows_holds=True)
POLICY = HoldPolicy(1, 120, [30], HoldExpiry.RESUME, HoldOnAssign.CANCEL, note_required=False)
EVERYBODY = Standing(is_admin=True, is_editor=True)


def code_of(rule: object, *arguments: object, **named: object) -> Code | None:
    try:
        rule(*arguments, **named)  # type: ignore[operator]  # one of the rules
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(("machine", "pair"), [(m, pair) for m in (TASK, HOLD) for pair in m.illegal])
def test_what_is_not_in_the_table_is_not_allowed(machine: object, pair: tuple[TaskStatus, TaskStatus]) -> None:
    assert not machine.allows(*pair)  # type: ignore[attr-defined]  # one of the machines
    assert (
        pair[0] in {S.COMPLETED, S.CANCELLED}
        or machine is HOLD
        or pair
        in {
            (S.IN_PROGRESS, S.ASSIGNED),
            (S.ON_HOLD, S.IN_PROGRESS),
        }
    )


@pytest.mark.parametrize(
    ("status", "open_children", "has_hold", "start", "complete", "cancel"),
    [
        (S.ASSIGNED, 0, False, None, None, None),
        (S.IN_PROGRESS, 0, False, Code.INVALID_TRANSITION, None, None),
        (S.ON_HOLD, 0, True, Code.TASK_ON_HOLD, None, None),
        (S.ON_HOLD, 1, False, Code.TASK_ON_HOLD, Code.OPEN_CHILDREN, Code.OPEN_CHILDREN),
        (S.ON_HOLD, 1, True, Code.TASK_ON_HOLD, Code.OPEN_CHILDREN, Code.OPEN_CHILDREN),
        (S.COMPLETED, 0, False, Code.TASK_CLOSED, Code.TASK_CLOSED, Code.TASK_CLOSED),
        (S.CANCELLED, 0, False, Code.TASK_CLOSED, Code.TASK_CLOSED, Code.TASK_CLOSED),
    ],
)
def test_what_the_status_allows(
    status: TaskStatus,
    *,
    open_children: int,
    has_hold: bool,
    start: Code | None,
    complete: Code | None,
    cancel: Code | None,
) -> None:
    facts = replace(FACTS, status=status, open_children=open_children, has_open_hold=has_hold)
    assert code_of(decide_start, facts, now=NOW) == start
    assert code_of(decide_complete, facts, now=NOW) == complete
    assert code_of(decide_cancel, facts, cascade=False) == cancel
    assert code_of(decide_cancel, facts, cascade=True) == (Code.TASK_CLOSED if cancel is Code.TASK_CLOSED else None)


@pytest.mark.parametrize(
    ("is_team", "child_type", "kept", "after"),
    [
        (False, "general", True, S.ASSIGNED),
        (False, "general", False, S.ASSIGNED),
        (False, "timed_hold", False, S.ASSIGNED),
        (True, "general", True, S.COMPLETED),
        (True, "general", False, S.CANCELLED),
        (True, "decision", True, S.ASSIGNED),
        (True, "timed_hold", True, S.ASSIGNED),
    ],
)
def test_what_a_task_becomes_when_its_last_open_child_closes(
    is_team: bool, child_type: str, kept: bool, after: TaskStatus
) -> None:
    parent = ParentFacts(S.ON_HOLD, "general", is_team, 0, kept)
    assert decide_after_child(parent, child_type=child_type) is after
    assert decide_after_child(replace(parent, open_children=1), child_type=child_type) is None
    for status in set(S) - {S.ON_HOLD}:
        assert decide_after_child(replace(parent, status=status), child_type=child_type) is None


@pytest.mark.parametrize(
    ("on_expiry", "missing", "after"),
    [
        (HoldExpiry.RESUME, 0, S.ASSIGNED),
        (HoldExpiry.COMPLETE, 0, S.COMPLETED),
        (HoldExpiry.COMPLETE, 2, S.ASSIGNED),
        (None, 0, S.ASSIGNED),
    ],
)
def test_what_a_task_becomes_when_its_hold_runs_out(
    on_expiry: HoldExpiry | None, missing: int, after: TaskStatus
) -> None:
    for is_team in (False, True):
        parent = ParentFacts(S.ON_HOLD, "general", is_team, 0, True)
        assert decide_expiry(parent, on_expiry=on_expiry, missing_steps=missing) is after
        beside = replace(parent, open_children=1)
        assert decide_expiry(beside, on_expiry=on_expiry, missing_steps=missing) is None


@pytest.mark.parametrize(("days", "allowed"), [(-5, False), (0, False), (1, True), (120, True), (121, False)])
def test_a_hold_lasts_as_long_as_its_type_allows(days: int, allowed: bool) -> None:
    code = code_of(decide_place, FACTS, POLICY, label="Task", duration_days=days, note=None, now=NOW)
    assert code is (None if allowed else Code.HOLD_DURATION_OUT_OF_RANGE)


def test_a_hold_ends_so_many_times_24_hours_later_and_all_that_is_wrong_is_said_at_once() -> None:
    decision = decide_place(FACTS, POLICY, label="Task", duration_days=30, note=None, now=NOW)
    assert (decision.starts_at, decision.ends_at) == (NOW, NOW + timedelta(hours=24 * 30))
    with pytest.raises(Refused) as refused:
        decide_place(FACTS, replace(POLICY, note_required=True), label="Task", duration_days=0, note=None, now=NOW)
    assert [(each.code, each.path, each.details) for each in refused.value.problems] == [
        (Code.HOLD_DURATION_OUT_OF_RANGE, ("durationDays",), {"min": 1, "max": 120}),
        (Code.BAD_USER_INPUT, ("instructions",), None),
    ]
    assert "1 to 120 days" in refused.value.problems[0].message


def test_no_task_offers_to_place_and_to_end_a_hold_and_none_on_hold_by_a_child_offers_work() -> None:
    for status, children, hold, team, steps in product(S, (0, 1), (False, True), (False, True), (0, 2)):
        facts = replace(
            FACTS,
            status=status,
            open_children=children,
            has_open_hold=hold,
            is_team_task=team,
            step_count=steps,
        )
        offered = set(available_actions(facts, EVERYBODY, now=NOW))
        assert not {A.PLACE_HOLD, A.END_HOLD} <= offered
        if status is S.ON_HOLD and children:
            assert not offered & {A.START, A.COMPLETE, A.COMPLETE_STEP}
        assert (A.START in offered) == (code_of(decide_start, facts, now=NOW) is None)
        assert (A.COMPLETE in offered) == (code_of(decide_complete, facts, now=NOW) is None)
        assert (A.END_HOLD in offered) == (code_of(require_hold, facts) is None)
        assert (A.CANCEL in offered) == (code_of(decide_cancel, facts, cascade=True) is None)


def test_a_timer_waits_a_minute_then_twice_as_long_and_never_more_than_an_hour() -> None:
    minutes = [backoff(attempts) / timedelta(minutes=1) for attempts in (1, 2, 3, 6, 7, 8, 1_000)]
    assert minutes == [1, 2, 4, 32, 60, 60, 60]


def test_a_blank_note_is_none() -> None:
    assert [note_of(text) for text in (None, "", " \n ", "  So ")] == [None, None, None, "So"]


def test_a_note_is_not_endless() -> None:
    assert note_problem(None) is None
    assert note_problem("x" * 10_000, "reason") is None
    problem = note_problem("x" * 10_001, "reason")
    assert problem is not None
    assert (problem.code, problem.path, problem.details) == (Code.BAD_USER_INPUT, ("reason",), {"max": 10_000})


def test_what_is_wrong_with_a_task_and_with_what_is_asked_is_said_at_once() -> None:
    closed = replace(FACTS, status=S.COMPLETED)
    long = note_problem("x" * 10_001)
    for rule in (lambda: decide_complete(closed, now=NOW), lambda: decide_cancel(closed, cascade=False)):
        with pytest.raises(Refused) as refused:
            decide_with(rule, None, long)
        assert [(each.code, each.path) for each in refused.value.problems] == [
            (Code.TASK_CLOSED, ("taskId",)),
            (Code.BAD_USER_INPUT, ("instructions",)),
        ]
    assert decide_with(lambda: decide_complete(FACTS, now=NOW), None) is S.COMPLETED
    assert code_of(decide_with, lambda: decide_complete(FACTS, now=NOW), long) is Code.BAD_USER_INPUT
