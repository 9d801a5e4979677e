"""`queue list | pause | resume | limit`: what runs, what waits, and how much of it at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table

from db.environment import SetupError, load
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.queries import QueueRow, read_queues
from db.session import Database, Tx
from db.settings import DatabaseSettings, RedisSettings
from db.telemetry import configure_logging
from server.attached import attach
from server.doctor import refuse_unready_database

queue = typer.Typer(
    name="queue", no_args_is_help=True, add_completion=False, help="Look at, pause, resume, limit queues."
)

Name = Annotated[str, typer.Argument(help="The queue's name, as `queue list` shows it.")]
MOST = 2**31 - 1
WIDEST = 200
HEADINGS = ["queue", "state", "queued", "oldest", "later", "running", "workers", "limit", "key", "done", "failed"]
T = TypeVar("T")


@queue.command("list")
def list_() -> None:
    """Show every queue: what waits and runs in it, who serves it, what is set for it.

    later: jobs that wait for their time; limit, key: how many run at once, in all and of one concurrency key; done,
    failed: within the last hour.
    """
    rows = asyncio.run(_read())
    table = Table(*(Column(name, justify="right", no_wrap=True) for name in HEADINGS), box=None, pad_edge=False)
    table.columns[0].justify = "left"
    for row in rows:
        table.add_row(*_cells(row), style="yellow" if row.is_paused else None)
    # Lines are as long as they have to be: a cut number is no number.
    console = Console(soft_wrap=True, highlight=False, markup=False, width=WIDEST)
    console.print(table)
    for row in rows:
        if row.paused_at is not None:
            by = f" by {row.paused_by_name}" if row.paused_by_name else ""
            why = f": {row.pause_reason}" if row.pause_reason else "."
            console.print(f"{row.queue} is paused since {row.paused_at:%Y-%m-%d %H:%M} UTC{by}{why}")


@queue.command()
def pause(
    name: Name, reason: Annotated[str, typer.Option(help="Why, for other operators; at most 500 characters.")] = ""
) -> None:
    """Begin nothing new in a queue; what runs goes on. Where it is paused already, the first reason stays."""

    async def work(tx: Tx) -> bool:
        return await ledger.pause_queue(tx, name=name, actor_id=None, reason=reason, now=tx.now)

    if asyncio.run(_write(work)):
        typer.echo(f"{name} is paused.")
    else:
        kept = ", and its first reason stays: resume it and pause it again to give another" if reason.strip() else ""
        typer.echo(f"{name} was paused already{kept}.")


@queue.command()
def resume(name: Name) -> None:
    """Go on with a paused queue, at once."""

    async def work(tx: Tx) -> bool:
        return await ledger.resume_queue(tx, name=name)

    typer.echo(f"{name} goes on." if asyncio.run(_write(work)) else f"{name} was not paused.")


@queue.command()
def limit(
    name: Name,
    running: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="How many of its jobs run at once, over all workers.")
    ] = None,
    per_key: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="How many of those of one concurrency key run at once.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Take both limits away; alone, or before setting one.")] = False,
) -> None:
    """Set how many jobs of a queue run at once. A limit that is not named stays as it is."""
    if running is None and per_key is None and not none:
        raise SetupError("Nothing to set: give --running N, --per-key N, or --none to take the limits away.")

    async def work(tx: Tx) -> tuple[int | None, int | None]:
        before = (None, None) if none else await ledger.limits_of(tx, name=name)
        limits = (running or before[0], per_key or before[1])
        await ledger.limit_queue(tx, name=name, max_running=limits[0], max_running_per_key=limits[1])
        return limits

    in_all, of_one_key = asyncio.run(_write(work))
    typer.echo(f"{name}: {_most(in_all)} at once, {_most(of_one_key)} of one concurrency key.")


async def _read() -> list[QueueRow]:
    async with _database() as database:
        return await read_queues(database.reader)


async def _write(work: Callable[[Tx], Awaitable[T]]) -> T:
    """In one transaction. Raises Refused."""
    async with _database() as database, database.transaction() as tx:
        return await work(tx)


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    # Whoever resumes a queue wants its jobs to flow now: the hint goes out when the feed is closed.
    configure_logging(level="ERROR")
    attach()
    settings, carrier = load(DatabaseSettings), load(RedisSettings)
    await refuse_unready_database(settings)
    feed = Feed.open(carrier)
    database = await Database.open(settings, feed=feed)
    try:
        yield database
    finally:
        await feed.close()
        await database.close()


def _cells(row: QueueRow) -> list[str]:
    oldest = None if row.oldest_queued_seconds is None else _duration(row.oldest_queued_seconds)
    return [
        row.queue,
        "paused" if row.is_paused else "open",
        *map(_plain, (row.queued, oldest, row.scheduled, row.running, row.workers, row.limit, row.limit_per_key)),
        *map(_plain, (row.completed_last_hour, row.failed_last_hour)),
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _plain(value: object) -> str:
    return "-" if value is None else str(value)


def _most(limit: int | None) -> str:
    return "any number" if limit is None else f"at most {limit}"
