"""Timers: what a sweep costs beside 1,000 and beside 1,000,000 pending holds, and how many due holds a worker ends.

`python -m bench timers [due] [pending] [rounds]`. The same number of holds is due each time, so the ratio says whether
a sweep costs what is due or what exists. The throughput is that of one worker's sweeps, alone in its process.
"""

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median

import asyncpg
from rich.console import Console
from rich.table import Table

from bench.stores import stores
from db.clock import SHIFT
from db.compiled import compile_statement
from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from db.tasks.queries import due_timers, timer_source
from jobs.settings import WorkerSettings
from jobs.timers import MOST_AT_A_TIME, Timers
from server.migrations import upgrade

FEW = 1_000
# Each task on hold as the commands leave it: the task, its hold, the hold's facts, its timer.
HOLDS = """
    WITH held AS (
        INSERT INTO tasks (type_name, title, status, assignee_user_id, placed_on_hold_at, is_touched)
        SELECT 'general', 'Task', 'ON_HOLD', $1, now(), true FROM generate_series(1, $2) RETURNING id
    ), hold AS (
        INSERT INTO tasks (type_name, title, parent_id, root_id, assignee_user_id, is_touched)
        SELECT 'timed_hold', 'Timed hold', id, id, $1, true FROM held RETURNING id
    ), facts AS (
        INSERT INTO task_holds (task_id, duration_days, starts_at, ends_at)
        SELECT id, 30, at - interval '720 hours', at FROM (
            SELECT id, now() + $3::interval + random() * $4::interval AS at FROM hold
        ) spread
        RETURNING task_id, ends_at
    )
    INSERT INTO task_timers (task_id, due_at) SELECT task_id, ends_at FROM facts
"""
A_DAY, A_YEAR = "1 day", "365 days"


@dataclass
class Beside:
    """Sweeps beside so many pending holds, in milliseconds; each round ends the same number of due ones."""

    pending: int
    ask_ms: list[float] = field(default_factory=list)
    find_ms: list[float] = field(default_factory=list)
    sweep_ms: list[float] = field(default_factory=list)
    ended_per_second: list[float] = field(default_factory=list)


async def make(connection: "asyncpg.Connection[asyncpg.Record]", user_id: object, count: int, *, is_due: bool) -> None:
    """So many holds: due since yesterday, or pending for a year to come."""
    offset = "-1 days" if is_due else A_DAY
    spread = "1 hour" if is_due else A_YEAR
    made = 0
    while made < count:
        size = min(50_000, count - made)
        await connection.execute(HOLDS.replace("$3", f"'{offset}'").replace("$4", f"'{spread}'"), user_id, size)
        made += size


async def measure_once(database: Database, connection: "asyncpg.Connection[asyncpg.Record]", one: Beside) -> None:
    """Ask, find, and end what is due; the commands are the worker's own."""
    timers = Timers(database=database, settings=WorkerSettings())
    question = compile_statement(timer_source().question.limit(1))
    asked = []
    for _ in range(50):
        began = time.perf_counter()
        await database.reader.fetch(question.sql, question.arguments({SHIFT: database.clock.shift}))
        asked.append((time.perf_counter() - began) * 1000)
    one.ask_ms.append(median(asked))
    found = []
    for _ in range(20):
        began = time.perf_counter()
        await due_timers(database.reader, limit=MOST_AT_A_TIME)
        found.append((time.perf_counter() - began) * 1000)
    one.find_ms.append(median(found))
    (due,) = await connection.fetchrow(  # type: ignore[misc]  # a count always has a row
        "SELECT count(*) FROM task_timers WHERE processed_at IS NULL AND due_at <= now()"
    )
    sweeps = []
    began = time.perf_counter()
    while True:
        at = time.perf_counter()
        if not await timers():
            break
        sweeps.append((time.perf_counter() - at) * 1000)
    one.ended_per_second.append(due / (time.perf_counter() - began))
    one.sweep_ms.append(median(sweeps))


async def measure(database_url: str, redis_url: str, *, due: int, pending: int, rounds: int) -> list[Beside]:
    """Few holds first, then many; the same number is due in each round."""
    await upgrade(database_url)
    feed = Feed.open(RedisSettings(url=redis_url))
    database = await Database.open(DatabaseSettings(url=database_url, statement_timeout_ms=120_000), feed=feed)
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    user_id = await connection.fetchval("INSERT INTO users (name, roles) VALUES ('Ann', '{MEMBER}') RETURNING id")
    done = []
    there = 0
    for wanted in (FEW, pending):
        await make(connection, user_id, wanted - there, is_due=False)
        there = wanted
        one = Beside(wanted)
        for number in range(rounds + 1):
            await make(connection, user_id, due, is_due=True)
            for table in ("tasks", "task_timers", "task_holds"):
                await connection.execute(f"VACUUM (ANALYZE) {table}")
            warming = Beside(wanted)
            # The first round prepares statements and fills caches.
            await measure_once(database, connection, one if number else warming)
        done.append(one)
    await connection.close()
    await database.close()
    await feed.close()
    return done


def show(done: list[Beside], due: int) -> None:
    """A table for people, with the ratio last."""
    table = Table(title=f"{due:,} due holds, {MOST_AT_A_TIME} a sweep")
    for name in ("pending", "ask ms", "find ms", "sweep ms", "holds ended a second"):
        table.add_column(name, justify="right")
    columns = [
        [median(values) for values in (one.ask_ms, one.find_ms, one.sweep_ms, one.ended_per_second)] for one in done
    ]
    for one, (ask, find, sweep, ended) in zip(done, columns, strict=True):
        table.add_row(f"{one.pending:,}", f"{ask:.2f}", f"{find:.2f}", f"{sweep:.0f}", f"{ended:.0f}")
    few, many = columns
    ratios = [after / before for before, after in zip(few, many, strict=True)]
    table.add_row("ratio", *(f"{ratio:.2f}" for ratio in ratios))
    Console().print(table)


def main(due: int = 1_000, pending: int = 1_000_000, rounds: int = 5) -> None:
    """Measure and show."""
    with stores() as (postgres, valkey):
        done = asyncio.run(measure(postgres.url(), valkey.url(), due=due, pending=pending, rounds=rounds))
    show(done, due)
