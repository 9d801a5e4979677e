"""The import document of a course: its JSON Schema, everything wrong with a document, and its flat form.

A document is a tree; tables are flat. `read_document` turns one into the other: each unit, lesson and item with its
parent's key and its position, ready to be written in one statement for each level.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from db.accounts.rules import email_problem, normalise_email
from db.courses.rules.values import dates_problem, time_zone_problem
from db.errors import MOST_PROBLEMS, Code, Problem, Refused, written
from db.instants import EARLIEST_INSTANT, LATEST_INSTANT

_SCHEMA_TEXT = (Path(__file__).parent / "course_document.json").read_text(encoding="utf-8")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FORMATS = FormatChecker(formats=())


class ItemFormat(StrEnum):
    """What kind of thing an item is, and whether it lives in another system."""

    COLLECTION = "COLLECTION"
    ASSESSMENT = "ASSESSMENT"
    COLLECTION_EXTERNAL = "COLLECTION_EXTERNAL"
    ASSESSMENT_EXTERNAL = "ASSESSMENT_EXTERNAL"


@dataclass(frozen=True, slots=True)
class UnitEntry:
    """A unit of a document. Positions count from 0 within the parent, on every level."""

    key: str
    title: str
    position: int


@dataclass(frozen=True, slots=True)
class LessonEntry:
    """A lesson of a document, with the key of its unit."""

    key: str
    title: str
    position: int
    unit_key: str


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """An item of a document, with the key of its lesson."""

    key: str
    title: str
    position: int
    lesson_key: str
    format: ItemFormat
    competencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CourseDocument:
    """A whole document, checked. `teacher_emails` is None where it says nothing about teachers."""

    key: str
    title: str
    version: str | None
    time_zone: str
    starts_at: datetime | None
    ends_at: datetime | None
    teacher_emails: tuple[str, ...] | None
    units: tuple[UnitEntry, ...]
    lessons: tuple[LessonEntry, ...]
    items: tuple[ItemEntry, ...]


def document_schema() -> str:
    """The JSON Schema of an import document, as text."""
    return _SCHEMA_TEXT


def read_document(document: Any) -> CourseDocument:
    """A document in its flat form, texts trimmed and codes without repetitions.

    Raises Refused with every violation of the schema, each at its path into the document; where there is none, with
    everything else that is wrong: keys used twice, dates out of order, unknown time zones, texts with control
    characters. Stops looking where there is more than a refusal tells: a short document may be wrong in a hundred
    thousand places.
    """
    violations = (problem for error in _VALIDATOR.iter_errors(document) for problem in _explained(error))
    problems = list(islice(violations, MOST_PROBLEMS + 1))
    if problems:
        raise Refused(*problems)
    units, lessons, items = _flat(document)
    starts_at, ends_at = _instant(document.get("startsAt")), _instant(document.get("endsAt"))
    single = (
        time_zone_problem(document["timeZone"], "document", "timeZone"),
        dates_problem(starts_at, ends_at, "document", "endsAt"),
    )
    many = chain(
        _control_problems(document, ("document",)),
        _repeated_keys(document),
        _address_problems(document.get("teacherEmails") or ()),
    )
    problems = [problem for problem in single if problem is not None]
    problems += islice(many, MOST_PROBLEMS + 1)
    if problems:
        raise Refused(*problems)
    version, emails = document.get("version"), document.get("teacherEmails")
    return CourseDocument(
        key=document["key"].strip(),
        title=document["title"].strip(),
        version=version and version.strip(),
        time_zone=document["timeZone"],
        starts_at=starts_at,
        ends_at=ends_at,
        teacher_emails=None if emails is None else tuple(normalise_email(each) for each in emails),
        units=units,
        lessons=lessons,
        items=items,
    )


# --- the schema's violations, in words --------------------------------------------------------------------------------


@_FORMATS.checks("date-time")
def _is_instant(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if not _INSTANT.fullmatch(value):
        return False
    try:
        instant = _instant(value)
    except (ValueError, OverflowError):
        return False
    return instant is not None and EARLIEST_INSTANT <= instant <= LATEST_INSTANT


_VALIDATOR = Draft202012Validator(json.loads(_SCHEMA_TEXT), format_checker=_FORMATS)
_TYPES = {"object": "an object", "array": "a list", "string": "a text", "null": "null"}


def _explained(error: ValidationError) -> Iterator[Problem]:
    # jsonschema's own messages quote the whole value, which may be the whole document.
    path = ("document", *(str(part) for part in error.absolute_path))
    rule, instance = cast("Any", error.validator_value), cast("Any", error.instance)
    match error.validator:
        case "required":
            missing = [name for name in rule if name not in instance]
            # One error comes for each missing name; its message is the only thing that tells them apart.
            name = next((name for name in missing if error.message.startswith(repr(name))), missing[0])
            yield _wrong(f"`{name}` is required.", *path, name)
        case "additionalProperties":
            schema: Any = error.schema
            known = list(schema["properties"])
            for name in sorted(set(instance) - set(known)):
                yield _wrong(f"There is no such property here; there are {', '.join(known)}.", *path, str(name))
        case "type":
            kinds = [rule] if isinstance(rule, str) else rule
            yield _wrong(f"This must be {' or '.join(_TYPES[kind] for kind in kinds)}.", *path)
        case "enum":
            yield _wrong(f"This must be one of {', '.join(rule)}.", *path)
        case "maxLength":
            yield _wrong(f"This must have at most {rule} characters.", *path)
        case "pattern":
            yield _wrong("This must not be blank.", *path)
        case "format":
            bounds = {"min": written(EARLIEST_INSTANT), "max": written(LATEST_INSTANT)}
            message = "This must be RFC 3339 with an offset, such as 2026-03-01T09:00:00Z, from {min} to {max}."
            yield Problem(Code.BAD_USER_INPUT, message.format_map(bounds), path, bounds)
        case _:
            raise AssertionError(f"the schema uses {error.validator}, which has no words yet")


def _wrong(message: str, *path: str) -> Problem:
    return Problem(Code.BAD_USER_INPUT, message, path)


# --- what a schema cannot say -----------------------------------------------------------------------------------------


def _control_problems(value: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    match value:
        case str() if not value.strip().isprintable():
            yield _wrong("This must be one line of text without control characters.", *path)
        case list():
            for position, each in enumerate(value):
                yield from _control_problems(each, (*path, str(position)))
        case dict():
            for name, each in value.items():
                yield from _control_problems(each, (*path, name))


def _repeated_keys(document: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _repeated("unit", (("document", *path) for path in _paths(document, 1)), document)
    yield from _repeated("lesson", (("document", *path) for path in _paths(document, 2)), document)
    yield from _repeated("item", (("document", *path) for path in _paths(document, 3)), document)


_LEVELS = ("units", "lessons", "items")


def _paths(parent: Mapping[str, Any], depth: int, level: int = 0) -> Iterator[tuple[str, ...]]:
    if depth == 0:
        yield ()
        return
    for position, child in enumerate(parent[_LEVELS[level]]):
        for rest in _paths(child, depth - 1, level + 1):
            yield (_LEVELS[level], str(position), *rest)


def _repeated(thing: str, paths: Iterable[tuple[str, ...]], document: Mapping[str, Any]) -> Iterator[Problem]:
    first: dict[str, tuple[str, ...]] = {}
    for path in paths:
        key = _at(document, path[1:])["key"].strip()
        earlier = first.setdefault(key, path)
        if earlier is not path:
            message = f"Another {thing} of this course has the same key (at {'.'.join(earlier)})."
            yield _wrong(message, *path, "key")


def _at(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _address_problems(emails: Iterable[str]) -> Iterator[Problem]:
    for position, email in enumerate(emails):
        problem = email_problem(email, "document", "teacherEmails", str(position))
        if problem is not None:
            yield problem


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.upper()).astimezone(UTC)


def _flat(
    document: Mapping[str, Any],
) -> tuple[tuple[UnitEntry, ...], tuple[LessonEntry, ...], tuple[ItemEntry, ...]]:
    units, lessons, items = [], [], []
    for at_unit, unit in enumerate(document["units"]):
        units.append(UnitEntry(unit["key"].strip(), unit["title"].strip(), at_unit))
        for at_lesson, lesson in enumerate(unit["lessons"]):
            lessons.append(LessonEntry(lesson["key"].strip(), lesson["title"].strip(), at_lesson, units[-1].key))
            for at_item, item in enumerate(lesson["items"]):
                codes = tuple(dict.fromkeys(code.strip() for code in item["competencies"]))
                format_ = ItemFormat(item["format"])
                key, title = item["key"].strip(), item["title"].strip()
                items.append(ItemEntry(key, title, at_item, lessons[-1].key, format_, codes))
    return tuple(units), tuple(lessons), tuple(items)
