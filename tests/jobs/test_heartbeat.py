"""The heartbeat: a thread that says we live, hears what became of our jobs, and stops them when it cannot."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from db import endings
from db.ledger import commands as ledger
from db.session import Database
from db.settings import DatabaseSettings
from jobs.settings import WorkerSettings
from jobs.worker.heartbeat import Heartbeat
from tests.support.ledger import WORKER, execute, running
from tests.support.servers import Servers
from tests.support.workers import until

STEADY = WorkerSettings(heartbeat_seconds=0.05, deadline_seconds=30, lease_seconds=40)
SHORT = WorkerSettings(heartbeat_seconds=0.05, deadline_seconds=2, lease_seconds=3)


class Wrist:
    """A heartbeat, and what it has told."""

    def __init__(
        self,
        database_url: str,
        database: Database,
        settings: WorkerSettings = STEADY,
        *,
        card: ledger.WorkerCard | None = None,
    ) -> None:
        self.card = card or replace(WORKER, id=uuid4())
        self.held: dict[UUID, int] = {}
        self.answers: list[ledger.Answer] = []
        self.deadlines = 0
        self.database = database
        self.heartbeat = Heartbeat(
            database=DatabaseSettings(url=database_url),
            clock=database.clock,
            card=self.card,
            settings=settings,
            held=lambda: dict(self.held),
            on_answer=self.answers.append,
            on_deadline=self.late,
        )

    def late(self) -> None:
        self.deadlines += 1

    async def seen_at(self) -> object:
        rows = await self.database.reader.fetch("SELECT seen_at FROM workers WHERE id = $1", [self.card.id])
        return rows[0]["seen_at"] if rows else None

    async def until_seen(self) -> None:
        async def seen() -> bool:
            return await self.seen_at() is not None

        await until(seen, what="a beat")

    async def until_seen_again(self, before: object = None) -> None:
        before = before or await self.seen_at()

        async def again() -> bool:
            return await self.seen_at() != before

        await until(again, what="another beat")


@pytest.fixture
async def wrist(request: pytest.FixtureRequest, database_url: str, database: Database) -> AsyncIterator[Wrist]:
    wrist = Wrist(database_url, database, getattr(request, "param", STEADY))
    wrist.heartbeat.start()
    yield wrist
    await wrist.heartbeat.stop()


async def test_it_beats_again_and_again(wrist: Wrist) -> None:
    for _ in range(3):
        await wrist.until_seen_again()
    assert wrist.answers == []
    assert wrist.deadlines == 0


async def test_it_beats_while_the_main_loop_is_busy(wrist: Wrist, database_url: str) -> None:
    await wrist.until_seen()
    seen = threading.Event()

    async def look() -> None:
        aside = await Database.open(DatabaseSettings(url=database_url))
        try:
            await Wrist(database_url, aside, card=wrist.card).until_seen_again()
        finally:
            await aside.close()
        seen.set()

    watching = threading.Thread(target=asyncio.run, args=(look(),))
    watching.start()
    while watching.is_alive():
        pass
    assert seen.is_set()
    assert wrist.deadlines == 0


async def test_it_tells_of_jobs_that_are_lost_and_of_requests_to_stop(wrist: Wrist, database: Database) -> None:
    lost, asked, kept = [await running(database) for _ in range(3)]
    wrist.held = {each.job_id: each.fence for each in (lost, asked, kept)}
    await execute(database, "UPDATE jobs SET fence = fence + 1 WHERE id = :id", id=lost.job_id)
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=asked.job_id, actor_id=None, reason="Enough.", now=tx.now)
    wrist.heartbeat.ask()

    async def told() -> bool:
        return bool(wrist.answers and wrist.answers[-1].cancelled)

    await until(told)
    assert wrist.answers[-1].lost == {(lost.job_id, lost.fence)}
    assert wrist.answers[-1].cancelled == {(asked.job_id, asked.fence): "Enough."}


async def test_it_tells_of_jobs_in_our_name_that_we_do_not_know(wrist: Wrist, database: Database) -> None:
    claim = await running(database)
    await wrist.until_seen_again()
    await execute(database, "UPDATE jobs SET worker_id = :id", id=wrist.card.id)

    async def told() -> bool:
        return bool(wrist.answers)

    await until(told)
    assert wrist.answers[-1].unknown == {(claim.job_id, claim.fence)}
    # That there is nothing any more is told too.
    wrist.held = {claim.job_id: claim.fence}

    async def settled() -> bool:
        return not wrist.answers[-1].unknown

    await until(settled)


async def test_asked_it_beats_at_once(database_url: str, database: Database) -> None:
    slow = WorkerSettings(heartbeat_seconds=30, deadline_seconds=40, lease_seconds=50)
    wrist = Wrist(database_url, database, slow)
    wrist.heartbeat.start()
    await wrist.until_seen()
    first = await wrist.seen_at()
    wrist.heartbeat.ask()
    await wrist.until_seen_again(first)
    await wrist.heartbeat.stop()


async def test_it_says_that_we_are_leaving(wrist: Wrist, database: Database) -> None:
    wrist.heartbeat.is_draining = True

    async def leaving() -> bool:
        rows = await database.reader.fetch("SELECT is_draining FROM workers")
        return bool(rows and rows[0]["is_draining"])

    await until(leaving)


@pytest.mark.parametrize("wrist", [SHORT], indirect=True, ids=["short"])
async def test_without_a_beat_until_the_deadline_our_jobs_stop_and_with_one_again_we_go_on(
    wrist: Wrist, database: Database, servers: Servers
) -> None:
    await wrist.until_seen_again()
    (row,) = await database.reader.fetch("SELECT current_database() AS name")
    await asyncio.to_thread(servers.execute, f"ALTER DATABASE {row['name']} ALLOW_CONNECTIONS false")
    await asyncio.to_thread(
        servers.execute,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{row['name']}'",
    )

    async def late() -> bool:
        return wrist.deadlines == 1

    await until(late)
    assert wrist.heartbeat.is_late
    await asyncio.to_thread(servers.execute, f"ALTER DATABASE {row['name']} ALLOW_CONNECTIONS true")
    await wrist.until_seen_again()
    assert wrist.deadlines == 1

    async def in_time() -> bool:
        return not wrist.heartbeat.is_late

    await until(in_time)
