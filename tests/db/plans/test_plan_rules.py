"""What may be saved and published: every rule with its code and its path, all of them at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import Code, Refused
from db.plans.rules import (
    NEW_PLAN,
    PLAN,
    Content,
    CourseWindow,
    Draft,
    Item,
    PlanAction,
    PlanFacts,
    PlanState,
    PlanType,
    SaveDecision,
    Target,
    Tasking,
    available_actions,
    decide_save,
    locked_fields,
    make_steps,
    settled_state,
)

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
PAGE = UUID(int=1)
OTHER_PAGE = UUID(int=2)
ITEMS = {PAGE: Item(PAGE, "Forces"), OTHER_PAGE: Item(OTHER_PAGE, "Motion")}
CLASS = Target(class_id=UUID(int=10))
LATER = Tasking(CLASS, NOW + DAY, NOW + 2 * DAY, NOW + 3 * DAY)
READING = Draft(PlanType.READING, "Read about forces", "", {"page_ids": [str(PAGE)]}, (LATER,))
PUBLISHED = PlanFacts(
    PlanState.PUBLISHED,
    live_opens_at=NOW + DAY,
    first_published_at=NOW - DAY,
    publish_last_requested_at=NOW - DAY,
)
OPEN = replace(PUBLISHED, live_opens_at=NOW - timedelta(hours=1))


def save(draft: Draft, facts: PlanFacts = NEW_PLAN, before: Draft | None = None, **wanted: Any) -> SaveDecision:
    wanted = {"publish": False, "window": CourseWindow(), **wanted}
    return decide_save(facts, draft, before=before, items=ITEMS, now=NOW, **wanted)


def problems(draft: Draft, facts: PlanFacts = NEW_PLAN, before: Draft | None = None, **wanted: Any) -> list[Any]:
    with pytest.raises(Refused) as refused:
        save(draft, facts, before, **wanted)
    return [(problem.code, ".".join(problem.path)) for problem in refused.value.problems]


def test_a_sound_draft_is_saved_without_being_published() -> None:
    assert save(READING) == SaveDecision(READING, publishes=False, keeps_tasks=False)


def test_a_title_is_trimmed() -> None:
    assert save(replace(READING, title="  Forces ")).draft.title == "Forces"


@pytest.mark.parametrize("title", ["", "   ", "x" * 256])
def test_a_title_has_1_to_255_characters(title: str) -> None:
    assert problems(replace(READING, title=title)) == [(Code.BAD_USER_INPUT, "title")]


def test_a_plan_needs_a_tasking_plan() -> None:
    assert problems(replace(READING, taskings=())) == [(Code.NO_TASKING_PLANS, "taskingPlans")]


def test_dates_may_be_equal() -> None:
    same = Tasking(CLASS, NOW + DAY, NOW + DAY, NOW + DAY)
    assert save(replace(READING, taskings=(same,))).draft.taskings == (same,)


def test_dates_out_of_order_are_told_for_each_pair() -> None:
    turned = Tasking(CLASS, NOW + 3 * DAY, NOW + 2 * DAY, NOW + DAY)
    assert problems(replace(READING, taskings=(LATER, replace(turned, target=Target(user_id=UUID(int=5)))))) == [
        (Code.DATES_OUT_OF_ORDER, "taskingPlans.1.dueAt"),
        (Code.DATES_OUT_OF_ORDER, "taskingPlans.1.closesAt"),
    ]


def test_dates_stay_inside_the_course() -> None:
    window = CourseWindow(NOW + 2 * DAY, NOW + 2 * DAY)
    assert problems(READING, window=window) == [
        (Code.OUTSIDE_COURSE_DATES, "taskingPlans.0.opensAt"),
        (Code.OUTSIDE_COURSE_DATES, "taskingPlans.0.closesAt"),
    ]


def test_a_target_stands_once() -> None:
    assert problems(replace(READING, taskings=(LATER, LATER))) == [(Code.DUPLICATE_TARGET, "taskingPlans.1.targetId")]


def test_an_unknown_target_is_not_found() -> None:
    nobody = replace(LATER, target=None)
    assert problems(replace(READING, taskings=(nobody,))) == [(Code.NOT_FOUND, "taskingPlans.0.targetId")]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = Draft(PlanType.READING, " ", "", {"page_ids": ["nothing"], "speed": 1}, (LATER, LATER))
    assert sorted(problems(wrong)) == [
        (Code.BAD_USER_INPUT, "title"),
        (Code.DUPLICATE_TARGET, "taskingPlans.1.targetId"),
        (Code.INVALID_SETTINGS, "settings.page_ids.0"),
        (Code.INVALID_SETTINGS, "settings.speed"),
    ]


SETTINGS: list[tuple[PlanType, Any, list[str]]] = [
    (PlanType.READING, {"page_ids": [str(PAGE), str(OTHER_PAGE)]}, []),
    (PlanType.READING, {}, ["settings.page_ids"]),
    (PlanType.READING, None, ["settings"]),
    (PlanType.READING, {"page_ids": [str(PAGE), str(PAGE)]}, ["settings.page_ids.1"]),
    (PlanType.READING, {"page_ids": [str(PAGE), str(PAGE).upper()]}, ["settings.page_ids.1"]),
    (PlanType.READING, {"page_ids": [{"a": n} for n in range(5_000)]}, ["settings.page_ids"]),
    (PlanType.READING, {"page_ids": [7]}, ["settings.page_ids.0"]),
    (PlanType.READING, {"page_ids": [str(UUID(int=99))]}, ["settings.page_ids.0"]),
    (PlanType.HOMEWORK, {"exercises": [{"id": "e1", "points": [1, 0.3, 0]}], "exercises_count_dynamic": 4}, []),
    (
        PlanType.HOMEWORK,
        {"exercises": [{"id": "e1", "points": [0.25]}], "exercises_count_dynamic": 5},
        ["settings.exercises.0.points.0", "settings.exercises_count_dynamic"],
    ),
    (
        PlanType.HOMEWORK,
        {"exercises": [{"id": "e1", "points": [-1]}, {"id": "e1", "points": [1]}], "exercises_count_dynamic": 0},
        ["settings.exercises.0.points.0", "settings.exercises.1.id"],
    ),
    (
        PlanType.HOMEWORK,
        {"exercises": [{"id": "e1", "points": [1e30, float("inf")]}], "exercises_count_dynamic": 0},
        ["settings.exercises.0.points.0", "settings.exercises.0.points.1"],
    ),
    (PlanType.EXTERNAL, {"external_url": "https://example.org/{{learner_id}}?a=b"}, []),
    (PlanType.EXTERNAL, {"external_url": "http://localhost:8000"}, []),
    (PlanType.EXTERNAL, {"external_url": "javascript:alert(1)"}, ["settings.external_url"]),
    (PlanType.EXTERNAL, {"external_url": "ftp://example.org"}, ["settings.external_url"]),
    (PlanType.EVENT, {}, []),
    (PlanType.EVENT, {"room": 7, "row": 1}, ["settings.room", "settings.row"]),
    (
        PlanType.HOMEWORK,
        {"exercises": [{"id": "e1", "weight": 1}]},
        ["settings.exercises.0.points", "settings.exercises.0.weight", "settings.exercises_count_dynamic"],
    ),
]


@pytest.mark.parametrize(("type_", "settings", "paths"), SETTINGS)
def test_settings_fit_the_schema_of_their_type(type_: PlanType, settings: Any, paths: list[str]) -> None:
    draft = replace(READING, type=type_, settings=settings)
    if paths:
        assert problems(draft) == [(Code.INVALID_SETTINGS, path) for path in paths]
    else:
        assert save(draft).draft.settings == settings


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(type_=st.sampled_from(PlanType), settings=JSON)
def test_settings_of_any_shape_are_taken_or_refused_and_nothing_else(type_: PlanType, settings: Any) -> None:
    draft = replace(READING, type=type_, settings=settings)
    try:
        decided = save(draft, publish=True)
    except Refused:
        assert {code for code, _ in problems(draft, publish=True)} <= {Code.INVALID_SETTINGS, Code.EMPTY_PLAN}
    else:
        make_steps(type_, decided.draft.settings, Content(ITEMS))


def test_nothing_is_told_twice_where_saving_publishes() -> None:
    wrong = replace(READING, title=" ", settings={"page_ids": []}, taskings=())
    assert sorted(problems(wrong, publish=True)) == [
        (Code.BAD_USER_INPUT, "title"),
        (Code.EMPTY_PLAN, "settings"),
        (Code.NO_TASKING_PLANS, "taskingPlans"),
    ]


# --- publishing -------------------------------------------------------------------------------------------------------


def test_nothing_to_do_is_not_published() -> None:
    assert problems(replace(READING, settings={"page_ids": []}), publish=True) == [(Code.EMPTY_PLAN, "settings")]


def test_nothing_to_do_may_be_saved_as_a_draft() -> None:
    assert not save(replace(READING, settings={"page_ids": []})).publishes


@pytest.mark.parametrize("type_", [PlanType.EXTERNAL, PlanType.EVENT])
def test_plans_without_pages_or_exercises_by_nature_are_published(type_: PlanType) -> None:
    settings = {"external_url": "https://example.org"} if type_ is PlanType.EXTERNAL else {}
    assert save(replace(READING, type=type_, settings=settings), publish=True).publishes


def test_a_first_publication_is_due_in_the_future() -> None:
    late = Tasking(CLASS, NOW, NOW, NOW + DAY)
    assert save(replace(READING, taskings=(late,)), publish=True).publishes
    past = Tasking(CLASS, NOW - 2 * DAY, NOW - timedelta(microseconds=1), NOW + DAY)
    assert problems(replace(READING, taskings=(past,)), publish=True) == [
        (Code.DUE_DATE_PASSED, "taskingPlans.0.dueAt"),
        (Code.OPEN_DATE_PASSED, "taskingPlans.0.opensAt"),
    ]


def test_a_plan_whose_opening_has_passed_is_published_with_open_now() -> None:
    passed = replace(LATER, opens_at=NOW - DAY)
    draft = replace(READING, taskings=(passed,))
    assert problems(draft, publish=True) == [(Code.OPEN_DATE_PASSED, "taskingPlans.0.opensAt")]
    decided = save(draft, publish=True, open_now=True)
    assert decided.opened_now == (0,)
    assert decided.draft.taskings == (replace(passed, opens_at=NOW),)


def test_once_publication_was_asked_for_every_save_publishes() -> None:
    decided = save(replace(READING, title="Anew"), PUBLISHED, READING)
    assert decided.publishes
    assert not decided.keeps_tasks


# --- after opening ----------------------------------------------------------------------------------------------------


def test_after_opening_title_and_description_change_and_tasks_are_kept() -> None:
    decided = save(replace(READING, title="Anew", description="More"), OPEN, READING)
    assert (decided.draft.title, decided.draft.description) == ("Anew", "More")
    assert decided.publishes
    assert decided.keeps_tasks


def test_after_opening_anything_else_refuses_the_whole_request() -> None:
    changed = replace(READING, title="Anew", settings={"page_ids": [str(OTHER_PAGE)]}, taskings=())
    assert problems(changed, OPEN, READING) == [
        (Code.NOT_UPDATABLE_AFTER_OPEN, "settings"),
        (Code.NOT_UPDATABLE_AFTER_OPEN, "taskingPlans"),
    ]


def test_after_opening_what_is_equal_is_no_change() -> None:
    other = Tasking(Target(user_id=UUID(int=5)), NOW, NOW + DAY, NOW + DAY)
    before = replace(READING, taskings=(LATER, other))
    assert save(replace(before, taskings=(other, LATER)), OPEN, before).keeps_tasks


def test_locked_fields_say_what_a_save_would_refuse() -> None:
    assert locked_fields(PUBLISHED, now=NOW) == ()
    assert locked_fields(OPEN, now=NOW) == ("settings", "taskingPlans")


@pytest.mark.parametrize(
    ("facts", "code", "offered"),
    [
        (replace(PUBLISHED, has_course_ended=True), Code.COURSE_ENDED, ()),
        (replace(PUBLISHED, state=PlanState.WITHDRAWN), Code.PLAN_WITHDRAWN, (PlanAction.RESTORE,)),
    ],
)
def test_a_plan_that_is_over_is_not_written(facts: PlanFacts, code: Code, offered: tuple[PlanAction, ...]) -> None:
    assert problems(READING, facts, READING) == [(code, "")]
    assert available_actions(facts, may_write=True) == offered
    assert available_actions(facts, may_write=False) == ()


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "was_published", "was_cancelled", "after"),
    [
        (PlanState.DRAFT, False, False, PlanState.PUBLISH_FAILED),
        (PlanState.DRAFT, False, True, PlanState.DRAFT),
        (PlanState.PUBLISH_FAILED, False, True, PlanState.PUBLISH_FAILED),
        (PlanState.PUBLISHED, True, False, PlanState.PUBLISHED),
        (PlanState.PUBLISHED, True, True, PlanState.PUBLISHED),
        (PlanState.WITHDRAWN, True, True, PlanState.WITHDRAWN),
        (PlanState.WITHDRAWN, False, True, PlanState.WITHDRAWN),
        (PlanState.WITHDRAWN, True, False, PlanState.PUBLISHED),
        (PlanState.WITHDRAWN, False, False, PlanState.PUBLISH_FAILED),
    ],
)
def test_a_publication_that_did_not_go_live_leaves_what_stood(
    before: PlanState, was_published: bool, was_cancelled: bool, after: PlanState
) -> None:
    assert settled_state(before=before, was_published=was_published, was_cancelled=was_cancelled) is after
    assert PLAN.allows(PlanState.PUBLISHING, after)


def test_no_state_follows_another_but_along_the_table() -> None:
    assert sorted(f"{before}>{after}" for before, after in PLAN.illegal) == [
        "DRAFT>PUBLISHED",
        "DRAFT>PUBLISH_FAILED",
        "DRAFT>WITHDRAWN",
        "PUBLISHED>DRAFT",
        "PUBLISHED>PUBLISH_FAILED",
        "PUBLISH_FAILED>DRAFT",
        "PUBLISH_FAILED>PUBLISHED",
        "WITHDRAWN>DRAFT",
        "WITHDRAWN>PUBLISHED",
        "WITHDRAWN>PUBLISH_FAILED",
    ]


# --- steps ------------------------------------------------------------------------------------------------------------


def test_homework_has_its_pages_then_its_exercises_then_what_is_picked() -> None:
    settings = {
        "page_ids": [str(OTHER_PAGE)],
        "exercises": [{"id": "e1", "points": [2]}],
        "exercises_count_dynamic": 1,
    }
    pool = (Item(PAGE, "Quiz", is_assessment=True), Item(OTHER_PAGE, "Motion", is_assessment=True))
    steps = make_steps(PlanType.HOMEWORK, settings, Content(ITEMS, pool))
    assert [(step.key, step.is_dynamic) for step in steps] == [
        (f"page:{OTHER_PAGE}", False),
        ("exercise:e1", False),
        (f"dynamic:{PAGE}", True),
    ]


def test_pages_that_the_course_has_lost_make_no_step() -> None:
    settings = {"page_ids": [str(PAGE), str(OTHER_PAGE)]}
    steps = make_steps(PlanType.READING, settings, Content({PAGE: ITEMS[PAGE]}))
    assert [step.title for step in steps] == ["Forces"]
