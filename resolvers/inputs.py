"""What no input may hold, whatever its field: found before anything is opened or locked for it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from db.errors import Code, Problem, Refused

# What is said of `idempotencyKey` by every input that has it.
IDEMPOTENCY_KEY = (
    "The same key by the same caller with the same input within 24 hours gives the first outcome again: "
    "send one with every request that you may have to repeat."
)
DEEPEST = 32
MOST_PROBLEMS = 20
LARGEST = 2**63


def check_input(input: Any) -> None:
    """Refuse text that Postgres cannot store, numbers beyond 64 bits and JSON that is nested without end.

    Raises Refused (BAD_USER_INPUT) with the path of each, up to 20.
    """
    problems = []
    for problem in _problems(input, ()):
        problems.append(problem)
        if len(problems) == MOST_PROBLEMS:
            break
    if problems:
        raise Refused(*problems)


def check_arguments(given: Mapping[str, Any]) -> None:
    """The same of a field's arguments, by their names in the API or as attributes."""
    check_input({_api_name(name): value for name, value in given.items()})


def _problems(value: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    wrong = _wrong(value, path)
    if wrong is not None:
        yield Problem(Code.BAD_USER_INPUT, wrong, path[:DEEPEST])
        return
    for name, each in _parts(value):
        yield from _problems(each, (*path, name))


def _wrong(value: Any, path: tuple[str, ...]) -> str | None:
    if len(path) > DEEPEST:
        return f"This is nested more than {DEEPEST} deep."
    texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
    if not all(_is_storable(text) for text in texts):
        return "Text must not contain U+0000 or half of a surrogate pair."
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return "Whole numbers must fit into 64 bits."
    return None


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list):
        return ((str(position), each) for position, each in enumerate(value))
    if is_dataclass(value):
        return ((_api_name(field.name), getattr(value, field.name)) for field in fields(value))
    return ()


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _api_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
