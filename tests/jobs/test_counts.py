"""What a job costs the two stores, in counts that do not depend on the machine."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from db.ledger import commands as ledger
from db.ledger.jobs import Work
from db.ledger.rules import WORK_IS_DUE
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from jobs.attempt import Attempt, Declared
from jobs.settings import WorkerSettings
from jobs.worker import run_worker
from tests.support.counting import Counting
from tests.support.kinds import KINDS, Empty
from tests.support.workers import until

JOBS = 300
WARM_UP = 20
LINES = 50
# About four seconds: long enough for two heartbeats.
POLLS = 5


@dataclass(frozen=True)
class Tells(Work):
    """Writes so many lines to its log."""

    kind: ClassVar[str] = "test.tells"
    lines: int


async def tells(attempt: Attempt, work: Tells) -> Mapping[str, Any] | None:
    for line in range(work.lines):
        await attempt.log(f"Line {line}.")
    return None


@pytest.fixture
async def counting(database_url: str, redis_url: str) -> AsyncIterator[Counting]:
    """Counts what happens in this test."""
    counting = await Counting.open(database_url=database_url, redis_url=redis_url)
    yield counting
    await counting.close()


@asynccontextmanager
async def worker(database_url: str, redis_url: str) -> AsyncIterator[None]:
    """A worker as it is in production, but for its kinds."""
    stop = asyncio.Event()
    running = asyncio.create_task(
        run_worker(
            database_settings=DatabaseSettings(url=database_url),
            redis_settings=RedisSettings(url=redis_url),
            settings=WorkerSettings(slots=50, log_level="WARNING"),
            kinds={**KINDS, Tells.kind: Declared(Tells, tells)},
            stop=stop,
        )
    )
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


async def ask_for(database: Database, work: Work, count: int) -> None:
    """Ask for many jobs at once."""
    async with database.transaction() as tx:
        for _ in range(count):
            await ledger.enqueue(tx, work=work, actor_id=None)
        tx.hint(WORK_IS_DUE)


async def until_done(counting: Counting) -> None:
    """Wait until every job has ended well."""

    async def done() -> bool:
        left = "SELECT /* looking */ count(*) FROM jobs WHERE state <> 'completed'"
        return not await counting.connection.fetchval(left)

    await until(done, what="all jobs")


def after_enqueue(statements: Counter[str]) -> int:
    """How many of them were for running jobs."""
    return sum(calls for query, calls in statements.items() if "INSERT INTO jobs (" not in query)


async def test_a_busy_worker_asks_each_store_less_than_its_jobs_are_many(
    counting: Counting, database: Database, database_url: str, redis_url: str
) -> None:
    async with worker(database_url, redis_url):
        await ask_for(database, Empty(), WARM_UP)
        await until_done(counting)
        await counting.begin()
        await ask_for(database, Empty(), JOBS)
        await until_done(counting)
        commands, statements = await counting.commands(), await counting.statements()
    assert sum(calls for query, calls in statements.items() if "INSERT INTO jobs (" in query) == JOBS
    assert commands.total() / JOBS <= 10, commands
    assert after_enqueue(statements) / JOBS <= 0.5, statements


async def test_lines_of_many_jobs_are_written_together_and_hinted_at_once(
    counting: Counting, database: Database, database_url: str, redis_url: str
) -> None:
    async with worker(database_url, redis_url):
        await ask_for(database, Empty(), WARM_UP)
        await until_done(counting)
        await counting.begin()
        await ask_for(database, Tells(LINES), JOBS // 10)
        await until_done(counting)
        commands, statements = await counting.commands(), await counting.statements()
    told = await database.reader.fetch("SELECT count(*) AS n FROM job_events WHERE type = 'LOG'")
    assert told[0]["n"] == LINES * JOBS // 10
    # The one statement that names the lines' places.
    flushes = sum(calls for query, calls in statements.items() if "line.place" in query)
    assert 0 < flushes / told[0]["n"] <= 0.1, statements
    assert commands["publish"] / told[0]["n"] <= 0.1, commands


async def test_an_idle_worker_asks_less_than_five_statements_and_twenty_commands_a_second(
    counting: Counting, database: Database, database_url: str, redis_url: str
) -> None:
    async def polls() -> int:
        found = await counting.statements()
        # The dispatcher's one question to all sources at once.
        return sum(calls for query, calls in found.items() if "UNION ALL" in query)

    async with worker(database_url, redis_url):
        await ask_for(database, Empty(), WARM_UP)
        await until_done(counting)
        before = await polls()
        # Whatever the end of the last jobs brought about has been done by the next poll.
        await until(lambda: _more_than(polls, before))
        await counting.begin()
        began = time.monotonic()
        await until(lambda: _more_than(polls, POLLS - 1))
        commands, statements = await counting.commands(), await counting.statements()
        seconds = time.monotonic() - began
    assert statements.total() / seconds < 5, statements
    assert commands.total() / seconds < 20, commands


async def _more_than(count: Any, number: int) -> bool:
    return bool(await count() > number)
