"""How every room reads its settings from the environment, and how a person is told of one that does not fit.

Light on purpose: commands that only supervise others load it, and nothing of the database with it.
"""

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BeforeValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode

from db.errors import SetupError

__all__ = ["WRONG_SETUP", "SetupError", "Words", "WrongSettingError", "load", "takes"]

# A value of a setting so named is never shown, not even where it is wrong; of a URL, all but its password.
SECRET_WORDS = frozenset({"key", "secret", "password", "token"})
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:@/]*):[^@]*@")
# The exit code of a command whose setup is wrong: starting it again changes nothing.
WRONG_SETUP = 2
# How the name of a setting says its unit.
UNITS = {"ms": "milliseconds", "seconds": "seconds", "hours": "hours", "days": "days", "bytes": "bytes"}

S = TypeVar("S", bound=BaseSettings)


class WrongSettingError(SetupError):
    """A setting does not fit. The message names it, says its value and what would be right."""


def _words(value: Any) -> Any:
    """The items of a list as people write them into an environment: `a,b` as well as `["a", "b"]`."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [word for word in (each.strip() for each in value.split(",")) if word]
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("begins like a list in JSON and is none") from None


# A setting of several words. By itself pydantic-settings takes them as JSON only.
Words: TypeAlias = Annotated[list[str], NoDecode, BeforeValidator(_words)]


def load(settings: type[S], **given: Any) -> S:
    """Read the settings from the environment (`given` goes before it). Raises WrongSettingError."""
    try:
        return settings(**given)
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        lines = [_explain(settings, prefix, problem) for problem in error.errors()]
        raise WrongSettingError("\n".join(lines)) from None


def takes(name: str, field: FieldInfo) -> str:
    """What a setting may be, in words: from its examples where it has any, else from its type and bounds."""
    if field.examples:
        return str(field.examples[0])
    # What may be left out is as right as what it may be.
    kinds = [kind for kind in _kinds(field.annotation) if kind is not type(None)]
    kind = kinds[0] if len(kinds) == 1 else str
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}"
    if kind is bool:
        return "true or false"
    if kind not in {int, float}:
        return "text"
    unit = UNITS.get(name.rpartition("_")[2])
    return ("a whole number" if kind is int else "a number") + (f" of {unit}" if unit else "") + _bounds(field)


def _kinds(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in {Union, UnionType}:
        yield from get_args(annotation)
    else:
        yield annotation


def _bounds(field: FieldInfo) -> str:
    found = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)}
    least, above, most = (found.get(name) for name in ("ge", "gt", "le"))
    if least is not None:
        return f", {least} or more" if most is None else f", {least} to {most}"
    return "" if above is None else f" above {above}" + ("" if most is None else f", {most} at most")


def _explain(settings: type[BaseSettings], prefix: str, problem: Any) -> str:
    """One line: SERVER_PORT=99999: should be less than or equal to 65535. Right would be: a whole number, 0 to …."""
    said = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if not problem["loc"]:
        return f"{_together(settings, prefix, problem['input'], said)}{said}."
    name = str(problem["loc"][0])
    field = settings.model_fields.get(name)
    right = "" if field is None else f" Right would be: {takes(name, field)}"
    if field is not None and field.description:
        right += f" ({field.description})"
    if problem["type"] == "missing":
        return f"{prefix}{name}".upper() + f" is not set.{right}."
    return f"{_shown(prefix, name, problem['input'])}: {said}.{right}."


def _together(settings: type[BaseSettings], prefix: str, given: Any, said: str) -> str:
    """Settings that do not fit each other: those that the message names, each with its value."""
    named = {name: field for name, field in settings.model_fields.items() if re.search(rf"\b{name}\b", said)}
    shown = [_shown(prefix, name, given.get(name, field.default)) for name, field in named.items()]
    return f"{', '.join(shown)}: " if shown else ""


def _shown(prefix: str, field: str, value: Any) -> str:
    hidden = not SECRET_WORDS.isdisjoint(field.split("_"))
    shown = "(not shown)" if hidden else PASSWORD_IN_URL.sub(r"\1:***@", repr(value))
    return f"{prefix}{field}".upper() + f"={shown}"
