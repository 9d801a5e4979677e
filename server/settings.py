"""Where the server listens and where `up` keeps its data; and how a wrong setting is told."""

import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.problems import SetupError

CHECKOUT = Path(__file__).resolve().parent.parent
# A value of a setting so named is never shown, not even where it is wrong; of a URL, all but its password.
SECRET_WORDS = ("key", "secret", "password", "token")
PASSWORD_IN_URL = re.compile(r"(?<=://)([^:@/]*):[^@]*@")

S = TypeVar("S", bound=BaseSettings)


class ServerSettings(BaseSettings):
    """The address that is listened on. Port 0 means any free one."""

    model_config = SettingsConfigDict(env_prefix="SERVER_", extra="ignore")

    host: str = Field(default="127.0.0.1", min_length=1, description="a name or address of this machine")
    port: int = Field(default=8000, ge=0, le=65535, description="a number from 0 (any free port) to 65535")
    drain_seconds: float = Field(
        default=10.0, ge=0, le=600, description="seconds that requests get to finish when the server stops"
    )


class HomeSettings(BaseSettings):
    """Where `up` keeps the data of the servers it starts, their sockets and their logs."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", extra="ignore")

    data: Path = Field(default=CHECKOUT / ".holdfast", description="a directory, made where it does not exist")


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
    field = str(problem["loc"][0]) if problem["loc"] else ""
    name = f"{prefix}{field}".upper()
    known = settings.model_fields.get(field)
    right = f" Right would be: {known.description}." if known is not None and known.description else ""
    if problem["type"] == "missing":
        return f"{name} is not set.{right}"
    hidden = any(word in field for word in SECRET_WORDS)
    shown = "(not shown)" if hidden else PASSWORD_IN_URL.sub(r"\1:***@", repr(problem["input"]))
    said = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}={shown}: {said}.{right}"
