"""How every room reads its settings from the environment, and how a person is told of one that does not fit.

Light on purpose: commands that only supervise others load it, and nothing of the database with it.
"""

import re
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from db.errors import SetupError

__all__ = ["WRONG_SETUP", "SetupError", "WrongSettingError", "load"]

# A value of a setting so named is never shown, not even where it is wrong; of a URL, all but its password.
SECRET_WORDS = ("key", "secret", "password", "token")
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:@/]*):[^@]*@")
# The exit code of a command whose setup is wrong: starting it again changes nothing.
WRONG_SETUP = 2

S = TypeVar("S", bound=BaseSettings)


class WrongSettingError(SetupError):
    """A setting does not fit. The message names it, says its value and what would be right."""


def load(settings: type[S], **given: Any) -> S:
    """Read the settings from the environment (`given` goes before it). Raises WrongSettingError."""
    try:
        return settings(**given)
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        lines = [_explain(settings, prefix, problem) for problem in error.errors()]
        raise WrongSettingError("\n".join(lines)) from None


def _explain(settings: type[BaseSettings], prefix: str, problem: Any) -> str:
    """One line: SERVER_PORT=99999: should be less than or equal to 65535. Right would be: a number from 0 …."""
    said = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if not problem["loc"]:
        return f"{_together(settings, prefix, problem['input'], said)}: {said}."
    field = str(problem["loc"][0])
    known = settings.model_fields.get(field)
    right = f" Right would be: {known.description}." if known is not None and known.description else ""
    if problem["type"] == "missing":
        return f"{prefix}{field}".upper() + f" is not set.{right}"
    return f"{_shown(prefix, field, problem['input'])}: {said}.{right}"


def _together(settings: type[BaseSettings], prefix: str, given: Any, said: str) -> str:
    """Settings that do not fit each other: those that the message names, each with its value."""
    fields = {name: given.get(name, field.default) for name, field in settings.model_fields.items() if name in said}
    return ", ".join(_shown(prefix, name, value) for name, value in fields.items())


def _shown(prefix: str, field: str, value: Any) -> str:
    hidden = any(word in field for word in SECRET_WORDS)
    shown = "(not shown)" if hidden else PASSWORD_IN_URL.sub(r"\1:***@", repr(value))
    return f"{prefix}{field}".upper() + f"={shown}"
