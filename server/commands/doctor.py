"""`doctor`: what is wrong with a deployment, and what to do."""

import asyncio

import typer
from rich.console import Console
from rich.table import Table

from db.environment import load
from db.settings import DatabaseSettings, RedisSettings
from server.attached import attach
from server.doctor import State, examine
from server.settings import ServerSettings

COLOURS = {State.WELL: "green", State.DOUBTFUL: "yellow", State.WRONG: "red"}


def doctor() -> None:
    """Examine the deployment that the settings describe, or the running `up`. Ends with 1 where something is wrong."""
    load(ServerSettings)
    attach()
    findings = asyncio.run(examine(load(DatabaseSettings), load(RedisSettings)))
    table = Table("", "what", "found", "what to do", box=None, header_style="dim")
    for one in findings:
        table.add_row(f"[{COLOURS[one.state]}]{one.state}[/]", one.subject, one.found, one.advice)
    Console(soft_wrap=True, highlight=False).print(table)
    raise typer.Exit(1 if any(one.state is State.WRONG for one in findings) else 0)
