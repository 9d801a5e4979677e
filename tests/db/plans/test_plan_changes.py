"""The rules of taking back, bringing back, deleting and giving more time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from db.errors import Code, Refused
from db.plans.rules import (
    NEW_PLAN,
    CourseWindow,
    Draft,
    Extension,
    ExtensionDecision,
    Item,
    PlanFacts,
    PlanState,
    PlanType,
    SaveDecision,
    Target,
    Tasking,
    decide_delete,
    decide_extension,
    decide_restore,
    decide_save,
    decide_withdraw,
)
from db.plans.rules.changing import EXTENDED_LIMIT

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
PAGE = UUID(int=1)
COURSE, CLASS, OTHER, LEARNER = (UUID(int=number) for number in (10, 11, 12, 13))
OF_COURSE = Tasking(Target(course_id=COURSE), NOW - DAY, NOW + DAY, NOW + 2 * DAY)
OF_CLASS = Tasking(Target(class_id=CLASS), NOW - DAY, NOW + 2 * DAY, NOW + 3 * DAY)
OF_OTHER = Tasking(Target(class_id=OTHER), NOW - DAY, NOW + 4 * DAY, NOW + 5 * DAY)
STORED = Draft(PlanType.READING, "Read", "", {"page_ids": [str(PAGE)]}, (OF_COURSE, OF_CLASS, OF_OTHER))
PUBLISHED = PlanFacts(
    PlanState.PUBLISHED,
    live_opens_at=NOW + DAY,
    first_published_at=NOW - DAY,
    publish_last_requested_at=NOW - DAY,
)
OPEN = replace(PUBLISHED, live_opens_at=NOW - DAY)
WITHDRAWN = replace(PUBLISHED, state=PlanState.WITHDRAWN)


def extend(
    target: Target | None,
    facts: PlanFacts = OPEN,
    *,
    classes: tuple[UUID, ...] = (),
    stored: Draft = STORED,
    **dates: Any,
) -> ExtensionDecision:
    window = dates.pop("window", CourseWindow())
    return decide_extension(
        facts,
        stored,
        Extension(target, dates.get("due"), dates.get("closes")),
        course_id=COURSE,
        class_ids=classes,
        window=window,
        items={PAGE: Item(PAGE, "Forces")},
        now=NOW,
    )


def refusal(*arguments: Any, **named: Any) -> list[tuple[Code, str]]:
    with pytest.raises(Refused) as refused:
        extend(*arguments, **named)
    return [(problem.code, ".".join(problem.path)) for problem in refused.value.problems]


def test_a_class_gets_more_time_and_the_others_keep_theirs() -> None:
    decided = extend(Target(class_id=CLASS), due=NOW + 3 * DAY)
    assert decided.before == OF_CLASS
    assert decided.after == replace(OF_CLASS, due_at=NOW + 3 * DAY)
    assert set(decided.save.draft.taskings) == {OF_COURSE, decided.after, OF_OTHER}
    assert (decided.save.publishes, decided.save.keeps_tasks) == (True, True)


def test_a_learner_without_dates_of_their_own_starts_from_those_that_hold_for_them() -> None:
    learner = Target(user_id=LEARNER)
    latest = extend(learner, classes=(CLASS, OTHER), closes=NOW + 9 * DAY)
    assert (latest.after.target, latest.after.due_at) == (learner, OF_OTHER.due_at)
    assert extend(learner, classes=(UUID(int=99),), closes=NOW + 9 * DAY).after.due_at == OF_COURSE.due_at
    assert len(latest.save.draft.taskings) == 4


def test_whom_the_plan_does_not_reach_is_not_found() -> None:
    later = NOW + 9 * DAY
    only_class = replace(STORED, taskings=(OF_CLASS,))
    for target in (None, Target(course_id=COURSE), Target(class_id=OTHER), Target(user_id=LEARNER)):
        assert refusal(target, stored=only_class, closes=later) == [(Code.NOT_FOUND, "targetId")]
    assert refusal(Target(user_id=LEARNER), closes=later) == [(Code.NOT_FOUND, "targetId")]


def test_dates_only_ever_move_to_later() -> None:
    target = Target(class_id=CLASS)
    assert refusal(target, due=NOW + DAY) == [(Code.DATE_NOT_LATER, "dueAt")]
    assert refusal(target, due=OF_CLASS.due_at, closes=OF_CLASS.closes_at) == [
        (Code.DATE_NOT_LATER, "dueAt"),
        (Code.DATE_NOT_LATER, "closesAt"),
    ]
    assert refusal(target, due=NOW, closes=NOW + 9 * DAY) == [(Code.DATE_NOT_LATER, "dueAt")]
    with pytest.raises(Refused) as refused:
        extend(target, due=NOW + DAY)
    [problem] = refused.value.problems
    assert problem.message == "`dueAt` only ever moves to later: it is 2026-03-04T09:00:00Z now."
    assert problem.details == {"now": "2026-03-04T09:00:00Z"}
    # A form sends both: one that stays is no reason to refuse the other.
    assert extend(target, due=OF_CLASS.due_at, closes=NOW + 9 * DAY).after.due_at == OF_CLASS.due_at


def test_a_due_date_needs_a_closing_date_that_is_not_before_it() -> None:
    assert refusal(Target(class_id=CLASS), due=NOW + 4 * DAY) == [(Code.DATES_OUT_OF_ORDER, "closesAt")]


def test_more_time_ends_with_the_course() -> None:
    window = CourseWindow(ends_at=NOW + 6 * DAY)
    assert refusal(Target(class_id=CLASS), closes=NOW + 7 * DAY, window=window) == [
        (Code.OUTSIDE_COURSE_DATES, "closesAt")
    ]


def test_an_extension_without_a_date_is_none() -> None:
    assert refusal(Target(class_id=CLASS)) == [(Code.BAD_USER_INPUT, "dueAt")]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (NEW_PLAN, Code.CONFLICT),
        (WITHDRAWN, Code.PLAN_WITHDRAWN),
        (replace(OPEN, has_course_ended=True), Code.COURSE_ENDED),
    ],
)
def test_what_is_not_with_learners_is_not_extended(facts: PlanFacts, code: Code) -> None:
    assert refusal(Target(class_id=CLASS), facts, due=NOW + 3 * DAY) == [(code, "")]


def test_before_opening_an_extension_is_a_save_like_any_other() -> None:
    passed = refusal(Target(class_id=CLASS), PUBLISHED, due=NOW + 3 * DAY)
    assert {code for code, _ in passed} == {Code.OPEN_DATE_PASSED}
    later = replace(STORED, taskings=(replace(OF_CLASS, opens_at=NOW),))
    decided = extend(Target(class_id=CLASS), PUBLISHED, stored=later, due=NOW + 3 * DAY)
    assert (decided.save.publishes, decided.save.keeps_tasks) == (True, False)


def test_so_many_learners_get_more_time_before_the_opening_as_after_it() -> None:
    later = NOW + DAY
    own = [Tasking(Target(user_id=UUID(int=100 + n)), later, later, later + DAY) for n in range(EXTENDED_LIMIT)]
    for facts in (PUBLISHED, OPEN):
        room = replace(STORED, taskings=(replace(OF_CLASS, opens_at=later), *own[: EXTENDED_LIMIT - 2]))
        saved = extend(Target(user_id=LEARNER), facts, stored=room, classes=(CLASS,), due=NOW + 3 * DAY).save
        assert len(saved.draft.taskings) == EXTENDED_LIMIT
        full = replace(room, taskings=(*room.taskings, own[-1]))
        assert refusal(Target(user_id=LEARNER), facts, stored=full, classes=(CLASS,), due=NOW + 3 * DAY) == [
            (Code.BAD_USER_INPUT, "targetId")
        ]


def test_what_extensions_have_added_may_stay_in_a_save_that_adds_no_more() -> None:
    later = NOW + DAY
    own = [Tasking(Target(user_id=UUID(int=100 + n)), later, later, later + DAY) for n in range(150)]
    stored = replace(STORED, taskings=tuple(own[:149]))

    def save(draft: Draft) -> SaveDecision:
        items = {PAGE: Item(PAGE, "Forces")}
        return decide_save(PUBLISHED, draft, before=stored, window=CourseWindow(), items=items, publish=True, now=NOW)

    assert save(replace(stored, title="Anew")).draft.taskings == stored.taskings
    with pytest.raises(Refused) as refused:
        save(replace(stored, taskings=tuple(own)))
    [problem] = refused.value.problems
    assert (problem.path, problem.details) == (("taskingPlans",), {"max": 149})


# --- taking back, bringing back, deleting -----------------------------------------------------------------------------


def code_of(decide: Any, facts: PlanFacts, *arguments: Any, **named: Any) -> Code | None:
    try:
        decide(facts, *arguments, **named)
    except Refused as refused:
        return refused.code
    return None


STATES: list[tuple[PlanState, Code | None, Code | None, Code | None]] = [
    # state, withdraw, restore, delete
    (PlanState.DRAFT, Code.CONFLICT, Code.PLAN_NOT_WITHDRAWN, None),
    (PlanState.PUBLISHING, None, Code.PLAN_NOT_WITHDRAWN, Code.CONFLICT),
    (PlanState.PUBLISHED, None, Code.PLAN_NOT_WITHDRAWN, Code.CONFLICT),
    (PlanState.PUBLISH_FAILED, None, Code.PLAN_NOT_WITHDRAWN, Code.CONFLICT),
    (PlanState.WITHDRAWN, Code.PLAN_WITHDRAWN, None, Code.CONFLICT),
]


@pytest.mark.parametrize(("state", "withdraw", "restore", "delete"), STATES)
def test_each_state_says_what_may_follow(
    state: PlanState, withdraw: Code | None, restore: Code | None, delete: Code | None
) -> None:
    facts = replace(NEW_PLAN, state=state)
    later = replace(STORED, taskings=(replace(OF_CLASS, opens_at=NOW),))
    assert code_of(decide_withdraw, facts) is withdraw
    assert code_of(decide_restore, facts, later, now=NOW) is restore
    assert code_of(decide_delete, facts) is delete


def test_nothing_changes_once_the_course_has_ended() -> None:
    over = replace(PUBLISHED, has_course_ended=True)
    assert code_of(decide_withdraw, over) is Code.COURSE_ENDED
    assert code_of(decide_delete, replace(NEW_PLAN, has_course_ended=True)) is Code.COURSE_ENDED
    assert code_of(decide_restore, replace(WITHDRAWN, has_course_ended=True), STORED, now=NOW) is Code.COURSE_ENDED


def test_openings_that_passed_before_anybody_had_a_task_are_moved_to_now() -> None:
    never = replace(WITHDRAWN, first_published_at=None, live_opens_at=None)
    decided = decide_restore(never, STORED, now=NOW)
    assert decided.opened_now == (0, 1, 2)
    assert {each.opens_at for each in decided.draft.taskings} == {NOW}
    assert (decided.publishes, decided.keeps_tasks) == (True, False)


def test_what_learners_have_opened_is_restored_as_it_was() -> None:
    decided = decide_restore(replace(WITHDRAWN, live_opens_at=NOW - DAY), STORED, now=NOW)
    assert (decided.draft, decided.opened_now, decided.keeps_tasks) == (STORED, (), True)


def test_what_could_not_be_done_in_time_is_not_published_for_the_first_time() -> None:
    late = replace(STORED, taskings=(OF_CLASS, replace(OF_OTHER, due_at=NOW - timedelta(microseconds=1))))
    never = replace(WITHDRAWN, first_published_at=None, live_opens_at=None)
    with pytest.raises(Refused) as refused:
        decide_restore(never, late, now=NOW)
    assert [(problem.code, problem.path) for problem in refused.value.problems] == [
        (Code.DUE_DATE_PASSED, ("taskingPlans", "1", "dueAt"))
    ]
    assert decide_restore(WITHDRAWN, late, now=NOW).opened_now == (0,)
