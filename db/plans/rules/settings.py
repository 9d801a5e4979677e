"""A plan's settings by its type: what they must look like, and the steps that they make."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from db.errors import Code, Problem
from db.plans.rules.states import PlanType

MOST_POINTS = 10_000
MOST_ITEMS = 200
MOST_PROBLEMS = 100
LONGEST_MESSAGE = 200
LONGEST_VALUE = 60

SCHEMAS: Mapping[PlanType, Mapping[str, Any]] = {
    type_: json.loads((Path(__file__).parent / "schemas" / f"{type_.value}.json").read_text()) for type_ in PlanType
}


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the course as the settings name it."""

    id: UUID
    title: str
    is_assessment: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What of the course a plan's steps may be made from: the items that its pages name, and the assessments."""

    items: Mapping[UUID, Item] = field(default_factory=dict)
    assessments: Sequence[Item] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step that learners get. `key` names what it is about, the same over generations."""

    key: str
    kind: str
    title: str
    content: Mapping[str, Any]
    is_dynamic: bool = False


def _exact_multiple(_: Any, factor: float, instance: Any, __: Any) -> Any:
    # 0.3 is a multiple of 0.1 for people, and not in binary fractions.
    is_number = isinstance(instance, int | float) and not isinstance(instance, bool)
    if is_number and abs(instance) <= MOST_POINTS and Decimal(str(instance)) % Decimal(str(factor)) != 0:
        yield ValidationError(f"{instance} is not a multiple of {factor}")


def _told_by_us(*_: Any) -> Any:
    # Comparing everything with everything takes minutes for a few thousand values; pages are compared by their keys.
    return ()


def _each_missing(_: Any, names: Sequence[str], instance: Any, __: Any) -> Any:
    # At the property and not at the object, so that a form knows which of its fields it is.
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield ValidationError("this is required", path=(name,))


def _each_unknown(_: Any, __: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(instance, dict):
        for name in instance:
            if name not in schema["properties"]:
                yield ValidationError("there is no such setting here", path=(name,))


def _as_described(_: Any, pattern: str, instance: Any, schema: Mapping[str, Any]) -> Any:
    # An expression tells people nothing; the description says what would be right.
    if isinstance(instance, str) and re.search(pattern, instance) is None:
        yield ValidationError(f"{instance[:LONGEST_VALUE]!r} does not fit. {schema['description'].rstrip('.')}")


_VALIDATOR = extend(  # type: ignore[no-untyped-call]  # its stubs
    Draft202012Validator,
    {
        "multipleOf": _exact_multiple,
        "uniqueItems": _told_by_us,
        "required": _each_missing,
        "additionalProperties": _each_unknown,
        "pattern": _as_described,
    },
)
_VALIDATORS = {type_: _VALIDATOR(schema) for type_, schema in SCHEMAS.items()}


def settings_problems(type_: PlanType, settings: Any, items: Mapping[UUID, Item]) -> list[Problem]:
    """Everything that is wrong with settings, each with its path. `items`: the course's, of those that are named."""
    too_long = _too_long(settings)
    if too_long:
        return too_long
    found = islice(_VALIDATORS[type_].iter_errors(settings), MOST_PROBLEMS)
    problems = sorted((_violation(error) for error in found), key=lambda problem: problem.path)
    if not isinstance(settings, dict):
        return problems
    problems += _unknown_pages(settings.get("page_ids"), items)
    problems += _repeated_exercises(settings.get("exercises"))
    return problems


def page_keys(settings: Any) -> list[UUID]:
    """The items that settings name as pages; what is no id is left out."""
    pages = settings.get("page_ids") if isinstance(settings, dict) else None
    keys = [_as_key(page) for page in pages] if isinstance(pages, list) else []
    return [key for key in keys if key is not None]


def normal(settings: Any) -> Any:
    """Settings as they are stored: whole numbers as such, which JSON also writes as 2.0."""
    count = settings.get("exercises_count_dynamic") if isinstance(settings, dict) else None
    if isinstance(count, float) and count.is_integer():
        return {**settings, "exercises_count_dynamic": int(count)}
    return settings


def is_empty(type_: PlanType, settings: Any) -> bool:
    """Whether such a plan has nothing to do in it: no page and no exercise."""
    if type_ not in {PlanType.READING, PlanType.HOMEWORK} or not isinstance(settings, dict):
        return False
    parts = (settings.get("page_ids"), settings.get("exercises"), settings.get("exercises_count_dynamic"))
    return not any(parts)


def make_steps(type_: PlanType, settings: Mapping[str, Any], content: Content) -> list[Step]:
    """The steps of a generation, in order; pages that the course no longer has are left out."""
    if type_ is PlanType.EXTERNAL:
        url = settings["external_url"]
        return [Step("external", "external", "Open the assignment", {"url": url})]
    steps = [
        Step(f"page:{key}", "page", content.items[key].title, {"itemId": str(key)})
        for key in page_keys(settings)
        if key in content.items
    ]
    given = settings.get("exercises", [])
    steps += [
        Step(
            f"exercise:{exercise['id']}",
            "exercise",
            f"Exercise {number}",
            {"exerciseId": exercise["id"], "points": exercise["points"]},
        )
        for number, exercise in enumerate(given, start=1)
    ]
    if settings.get("exercises_count_dynamic"):
        taken = {step.key for step in steps}
        steps += [
            Step(f"dynamic:{item.id}", "exercise", item.title, {"itemId": str(item.id)}, is_dynamic=True)
            for item in content.assessments
            if f"page:{item.id}" not in taken
        ]
    return steps


def dynamic_count(settings: Mapping[str, Any]) -> int:
    """How many of the dynamic steps each learner gets."""
    return int(settings.get("exercises_count_dynamic") or 0)


def needs_steps(type_: PlanType) -> bool:
    """Whether a learner's task must have a step."""
    return type_ in {PlanType.READING, PlanType.HOMEWORK}


def _too_long(settings: Any) -> list[Problem]:
    """Lists that are far too long are refused before anything in them is looked at."""
    if not isinstance(settings, dict):
        return []
    return [
        Problem(
            Code.INVALID_SETTINGS,
            f"`{name}` has at most {MOST_ITEMS} entries; these are {len(settings[name])}.",
            ("settings", name),
            {"max": MOST_ITEMS},
        )
        for name in ("page_ids", "exercises")
        if isinstance(settings.get(name), list) and len(settings[name]) > MOST_ITEMS
    ]


def _violation(error: ValidationError) -> Problem:
    path = ("settings", *(str(part)[:LONGEST_MESSAGE] for part in error.absolute_path))
    words = error.message if len(error.message) <= LONGEST_MESSAGE else f"{error.message[:LONGEST_MESSAGE]}…"
    return Problem(Code.INVALID_SETTINGS, f"`{'.'.join(path)}`: {words}.", path, {"rule": error.validator})


def _unknown_pages(pages: Any, items: Mapping[UUID, Item]) -> list[Problem]:
    if not isinstance(pages, list):
        return []
    problems = []
    seen: set[UUID] = set()
    for position, page in enumerate(pages):
        key = _as_key(page)
        if key in seen:
            message = "This page is in the plan already."
        elif isinstance(page, str) and key not in items:
            message = "This is no item of the plan's course."
        else:
            message = ""
        if key is not None:
            seen.add(key)
        if message:
            problems.append(Problem(Code.INVALID_SETTINGS, message, ("settings", "page_ids", str(position))))
    return problems


def _repeated_exercises(exercises: Any) -> list[Problem]:
    if not isinstance(exercises, list):
        return []
    seen: set[str] = set()
    problems = []
    for position, exercise in enumerate(exercises):
        name = exercise.get("id") if isinstance(exercise, dict) else None
        if isinstance(name, str) and name in seen:
            path = ("settings", "exercises", str(position), "id")
            problems.append(Problem(Code.INVALID_SETTINGS, f"Exercise {name!r} is in the plan already.", path))
        elif isinstance(name, str):
            seen.add(name)
    return problems


def _as_key(page: Any) -> UUID | None:
    try:
        return UUID(page)
    except (ValueError, TypeError, AttributeError):
        return None
