"""`settings`: the tables of docs/settings.md, from the settings as they are declared."""

import re
from pathlib import Path
from typing import Annotated

import typer
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from db.environment import SetupError, takes
from db.settings import DatabaseSettings, RedisSettings
from db.tracing.configuration import TracingSettings
from jobs.settings import RetentionSettings, WorkerSettings
from server.edge import EdgeSettings
from server.jwt import JwtSettings
from server.limits import LimitSettings
from server.settings import CHECKOUT, HomeSettings, ServerSettings

PAGE = CHECKOUT / "docs" / "settings.md"
DECLARED: tuple[type[BaseSettings], ...] = (
    EdgeSettings,
    LimitSettings,
    ServerSettings,
    JwtSettings,
    DatabaseSettings,
    RedisSettings,
    WorkerSettings,
    RetentionSettings,
    HomeSettings,
    TracingSettings,
)
# Each table stands between two such marks, which a reader does not see.
TABLE = re.compile(r"(?<=<!-- settings: )(\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)


def settings(
    check: Annotated[bool, typer.Option("--check", help="Only say whether the page is up to date.")] = False,
) -> None:
    """Write the tables of docs/settings.md anew."""
    before = PAGE.read_text()
    after = tables_renewed(before)
    if check and before != after:
        raise SetupError("docs/settings.md is not what the code says. Run `python -m server settings`, and commit it.")
    if not check:
        PAGE.write_text(after)
    typer.echo("docs/settings.md is up to date." if check else f"Wrote {PAGE}.")


def tables_renewed(page: str) -> str:
    """The page with its tables as the code says. Raises SetupError where one is missing, or is of nothing."""
    known = {prefix_of(each): each for each in DECLARED}
    if sorted(TABLE.findall(page)) != sorted(known):
        raise SetupError(f"docs/settings.md must have one table for each of {', '.join(known)}.")
    return TABLE.sub(lambda found: f"{found[1]} -->\n{table(known[found[1]])}", page)


def prefix_of(declared: type[BaseSettings]) -> str:
    """What the names of these settings begin with, as the marks in the page have it."""
    return str(declared.model_config["env_prefix"]).rstrip("_")


def table(declared: type[BaseSettings]) -> str:
    """One row for each setting."""
    rows = [
        f"| `{prefix_of(declared)}_{name.upper()}` | {_unset(field)} | {takes(name, field)} | {field.description} |"
        for name, field in declared.model_fields.items()
    ]
    return "\n".join(["| setting | default | may be | what it is |", "| --- | --- | --- | --- |", *rows, ""])


def _unset(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "must be set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, Path):
        return f"`{value.relative_to(CHECKOUT)}` in the checkout"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
