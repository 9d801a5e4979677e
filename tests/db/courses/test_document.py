"""The import document: what is right, and every way in which it is wrong, at its path."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.courses.rules import ItemFormat, document_schema, read_document
from db.courses.rules.document import ItemEntry, LessonEntry, UnitEntry
from db.errors import Code, Refused
from db.instants import EARLIEST_INSTANT, LATEST_INSTANT
from tests.support.courses import document


def wrong(content: Any) -> list[tuple[Code, str]]:
    with pytest.raises(Refused) as refused:
        read_document(content)
    return [(problem.code, ".".join(problem.path)) for problem in refused.value.problems]


def bad(*paths: str) -> list[tuple[Code, str]]:
    return [(Code.BAD_USER_INPUT, path) for path in paths]


def test_a_document_becomes_flat_with_positions_and_the_keys_of_parents() -> None:
    content = document(units=1, lessons=2, items=1, startsAt="2026-03-01T10:00:00+01:00", teacherEmails=["T@b.de"])
    content["units"][0]["lessons"][1]["items"][0]["competencies"] = [" A ", "B", "A"]
    read = read_document(content)
    assert (read.key, read.title, read.version, read.time_zone) == ("algebra", "Algebra", None, "Europe/Berlin")
    assert (read.starts_at, read.ends_at) == (datetime(2026, 3, 1, 9, tzinfo=UTC), None)
    assert read.teacher_emails == ("t@b.de",)
    assert read.units == (UnitEntry("u0", "Unit 0", 0),)
    assert read.lessons == (LessonEntry("l0.0", "Lesson 0.0", 0, "u0"), LessonEntry("l0.1", "Lesson 0.1", 1, "u0"))
    assert read.items[1] == ItemEntry("i0.1.0", "Item 0.1.0", 0, "l0.1", ItemFormat.COLLECTION, ("A", "B"))


def test_a_document_without_teachers_says_nothing_about_them() -> None:
    assert read_document(document()).teacher_emails is None
    assert read_document(document(teacherEmails=[])).teacher_emails == ()


@pytest.mark.parametrize("content", [None, "x", 7, [], True])
def test_a_document_is_an_object(content: Any) -> None:
    assert wrong(content) == bad("document")


def test_every_violation_is_told_with_its_path_at_once() -> None:
    content = document(units=1, lessons=1, items=2)
    del content["title"]
    content["colour"] = "red"
    content["version"] = 7
    content["endsAt"] = "2026-03-01T10:00:00"
    lesson = content["units"][0]["lessons"][0]
    lesson["title"] = "x" * 256
    lesson["items"][0] = {"key": " ", "format": "VIDEO", "competencies": ["A", None]}
    lesson["items"][1] = "item"
    path = "document.units.0.lessons.0"
    assert sorted(wrong(content)) == sorted(
        bad(
            "document.title",
            "document.colour",
            "document.version",
            "document.endsAt",
            f"{path}.title",
            f"{path}.items.0.title",
            f"{path}.items.0.key",
            f"{path}.items.0.format",
            f"{path}.items.0.competencies.1",
            f"{path}.items.1",
        )
    )


def test_two_missing_names_are_told_apart() -> None:
    content = document(units=1)
    content["units"][0] = {"lessons": []}
    assert sorted(wrong(content)) == bad("document.units.0.key", "document.units.0.title")


@pytest.mark.parametrize(
    "instant",
    [
        "2026-03-01",
        "2026-03-01T10:00:00",
        "2026-02-30T10:00:00Z",
        "yesterday",
        "",
        "0001-01-01T00:00:00+01:00",
        "0001-01-01T00:00:00Z",
        "1900-01-01T00:59:59+01:00",
        "8999-12-31T23:00:00-01:00",
        "9999-12-31T23:59:59Z",
    ],
)
def test_an_instant_has_an_offset_and_exists(instant: str) -> None:
    assert wrong(document(startsAt=instant)) == bad("document.startsAt")


def test_the_first_and_the_last_instant_that_a_document_may_name() -> None:
    read = read_document(document(startsAt="1900-01-01T01:00:00+01:00", endsAt="8999-12-31T23:59:59.999999Z"))
    assert (read.starts_at, read.ends_at) == (EARLIEST_INSTANT, LATEST_INSTANT)


def test_a_short_document_that_is_wrong_in_many_places_is_told_the_first_hundred() -> None:
    content = document(units=1)
    content["units"][0]["lessons"] = [{}] * 10_000
    told = wrong(content)
    assert told == [*bad(*(path for _, path in told[:100])), (Code.BAD_USER_INPUT, "")]
    assert {path.rpartition(".")[2] for _, path in told} == {"key", "title", "items", ""}


def test_of_what_the_schema_cannot_say_the_first_hundred_is_told_too() -> None:
    content = document(units=1, timeZone="Mars/Olympus")
    content["units"][0]["lessons"] = [{"key": "same", "title": "a\tb", "items": []}] * 10_000
    told = wrong(content)
    assert (len(told), told[0], told[-1]) == (101, *bad("document.timeZone"), (Code.BAD_USER_INPUT, ""))


def test_a_course_does_not_end_before_it_starts_whatever_the_offsets() -> None:
    content = document(startsAt="2026-03-01T10:00:00Z", endsAt="2026-03-01T10:30:00+01:00")
    assert wrong(content) == [(Code.DATES_OUT_OF_ORDER, "document.endsAt")]


def test_a_key_is_used_once_in_the_course_on_each_level() -> None:
    content = document(units=2, lessons=1, items=2)
    content["units"][1]["key"] = " u0"
    content["units"][1]["lessons"][0]["items"][1]["key"] = "i0.0.0"
    content["units"][0]["lessons"][0]["key"] = "u0"  # another level: no clash
    assert wrong(content) == bad("document.units.1.key", "document.units.1.lessons.0.items.1.key")


def test_what_the_schema_cannot_say_is_told_at_once_too() -> None:
    content = document(timeZone="Mars/Olympus", teacherEmails=["t@b.de", "nobody"], title="a\x00b")
    assert sorted(wrong(content)) == bad("document.teacherEmails.1", "document.timeZone", "document.title")


def test_messages_never_quote_the_document() -> None:
    content = document()
    content["units"] = {"secret": "x" * 10_000}
    with pytest.raises(Refused) as refused:
        read_document(content)
    assert refused.value.problems[0].message == "This must be a list."


def test_the_schema_is_served_as_it_is_used() -> None:
    assert '"https://json-schema.org/draft/2020-12/schema"' in document_schema()


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(list("ab")), children, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(_json, st.data())
def test_whatever_stands_anywhere_in_a_document_it_is_read_or_refused(value: Any, data: st.DataObject) -> None:
    content: Any = document(units=2, lessons=1, items=1, version="1", teacherEmails=["a@b.de"])
    place: Any = content
    while True:
        part = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[part], dict | list) or not place[part] or data.draw(st.booleans()):
            place[part] = value
            break
        place = place[part]
    paths = {"document"}
    try:
        read_document(content)
    except Refused as refusal:
        paths = {problem.path[0] for problem in refusal.problems}
    assert paths == {"document"}
