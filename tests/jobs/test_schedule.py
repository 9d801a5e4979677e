"""One worker of many makes the ticks, and another one follows when it goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import uuid4

import asyncpg
import pytest

from db.cancelling import end_tasks
from db.leases import Lead
from db.ledger import commands as ledger
from db.ledger.commands import WorkerCard
from db.ledger.jobs import Recurring, Timetable, Work
from db.session import Database
from db.settings import DatabaseSettings
from jobs.attempt import Attempt, Declared
from jobs.schedule import SCHEDULER_LOCK, Scheduler
from jobs.settings import WorkerSettings
from tests.support.ledger import execute
from tests.support.workers import until

SETTINGS = WorkerSettings(
    heartbeat_seconds=0.3, deadline_seconds=1.2, lease_seconds=2.0, schedule_poll_seconds=0.05, log_level="WARNING"
)


_DUE_NOW = "UPDATE schedules SET next_tick_at = now() - interval '1 second' WHERE next_tick_at IS NOT NULL"


@dataclass(frozen=True)
class First(Work):
    kind: ClassVar[str] = "test.first"

    @classmethod
    def recurring(cls) -> Sequence[Recurring]:
        return [Recurring(cls.kind, Timetable("@every 1d"), cls())]


@dataclass(frozen=True)
class Second(First):
    kind: ClassVar[str] = "test.second"


async def nothing(attempt: Attempt, work: Work) -> Mapping[str, Any] | None:
    return None


KINDS = {kind.kind: Declared(kind, nothing) for kind in (First, Second)}


@pytest.fixture
def scheduler(database: Database, database_url: str) -> Callable[..., Scheduler]:
    def make(name: str, kinds: Mapping[str, Declared] = KINDS, settings: WorkerSettings = SETTINGS) -> Scheduler:
        return Scheduler(
            database=database,
            database_settings=DatabaseSettings(url=database_url),
            card=WorkerCard(id=uuid4(), name=name, queues=("default",), kinds=tuple(kinds), slots=1),
            settings=settings,
            kinds=kinds,
        )

    return make


@asynccontextmanager
async def running(scheduler: Scheduler) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(scheduler.run())
    try:
        yield task
    finally:
        await end_tasks([task])


async def until_leads(database: Database, name: str) -> None:
    async def look() -> bool:
        rows = await database.reader.fetch("SELECT worker_name FROM leaders")
        return [row["worker_name"] for row in rows] == [name]

    await until(look, what=f"{name} leads")


async def jobs(database: Database) -> list[str]:
    return [row["kind"] for row in await database.reader.fetch("SELECT kind FROM jobs ORDER BY kind")]


async def test_what_is_due_is_ticked_by_the_one_that_leads(
    database: Database, scheduler: Callable[..., Scheduler]
) -> None:
    async with running(scheduler("a")):
        await until_leads(database, "a")
        assert await jobs(database) == []
        await execute(database, "UPDATE schedules SET next_tick_at = now() WHERE name = 'test.first'")

        async def ticked() -> bool:
            return await jobs(database) == ["test.first"]

        await until(ticked)
    rows = await database.reader.fetch("SELECT name, next_tick_at > now() AS is_ahead FROM schedules ORDER BY name")
    assert [tuple(row) for row in rows] == [("test.first", True), ("test.second", True)]


async def test_one_that_stops_in_good_order_is_followed_at_once(
    database: Database, scheduler: Callable[..., Scheduler]
) -> None:
    async with running(scheduler("b")) as first:
        await until_leads(database, "b")
        async with running(scheduler("c")):
            await end_tasks([first])
            await until_leads(database, "c")


async def test_a_tick_that_cannot_be_made_keeps_no_other_waiting(
    database: Database, scheduler: Callable[..., Scheduler]
) -> None:
    async with running(scheduler("a")):
        await until_leads(database, "a")
        await execute(database, "UPDATE schedules SET rule = '@sunrise' WHERE name = 'test.first'")
        await execute(database, "UPDATE schedules SET next_tick_at = now() - interval '1 second'")

        async def ticked() -> bool:
            return await jobs(database) == ["test.second"]

        await until(ticked)


async def test_an_older_worker_stops_what_it_does_not_know_when_it_leads_and_nobody_is_left_who_does(
    database: Database, scheduler: Callable[..., Scheduler]
) -> None:
    async def stopped() -> list[str]:
        rows = await database.reader.fetch("SELECT name FROM schedules WHERE next_tick_at IS NULL")
        return [row["name"] for row in rows]

    known = {First.kind: KINDS[First.kind]}
    patient = SETTINGS.model_copy(update={"lease_seconds": 0.5})
    newer = scheduler("newer")
    async with database.transaction() as tx:
        await ledger.beat(tx, card=newer._card, is_draining=False, now=tx.now)
    async with running(newer) as leading:
        await until_leads(database, "newer")
        # It starts, says what it knows, and leads when the other goes; somebody who knows more was seen just now.
        async with running(scheduler("older", known, patient)):
            await end_tasks([leading])
            await until_leads(database, "older")
            await execute(database, "UPDATE workers SET seen_at = now() + interval '1 minute'")
            await execute(database, _DUE_NOW)

            async def ticked() -> bool:
                return await jobs(database) == ["test.first"]

            await until(ticked)
            assert await stopped() == []
            await execute(database, "DELETE FROM workers")

            async def is_stopped() -> bool:
                return await stopped() == ["test.second"]

            await until(is_stopped)
        # Somebody who knows it again begins it again.
        async with running(scheduler("newest")):

            async def begun_again() -> bool:
                return await stopped() == []

            await until(begun_again)


async def test_a_lead_that_is_not_used_for_a_lease_is_lost(database: Database, database_url: str) -> None:
    settings = DatabaseSettings(url=database_url)
    frozen = await Lead.open(settings, number=SCHEDULER_LOCK, lease_seconds=0.5)
    waiting = await Lead.open(settings, number=SCHEDULER_LOCK, lease_seconds=5)
    assert await frozen.take()
    assert not await waiting.take()
    await until(waiting.take)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        await frozen.take()
    await frozen.close()
    await waiting.close()
