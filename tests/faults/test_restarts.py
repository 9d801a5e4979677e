"""Postgres is restarted and killed, both stores are away at once, no connection is left: a fleet comes through."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from tests.soak.stream import again
from tests.support.kinds import Steps, effects_of, make_effects
from tests.support.ledger import ask, execute, row_of, story_of
from tests.support.stores import Stores, own_stores
from tests.support.workers import Fleet, fleet, until_workers

pytestmark = pytest.mark.faults

JOBS = 10
STEPS = 12
# A lease of the tests is 1.6 s; what was interrupted as a fault comes back after 2 s, then 4.
DONE_SECONDS = 60.0


@pytest.fixture(scope="module")
def stores() -> Iterator[Stores]:
    """Both servers, for this module."""
    with own_stores() as running:
        yield running


@pytest.fixture
async def ours(stores: Stores) -> AsyncIterator[Database]:
    """The database of these servers, empty."""
    feed = Feed.open(RedisSettings(url=stores.redis_url))
    database = await Database.open(DatabaseSettings(url=stores.database_url), feed=feed)
    await execute(database, "DROP TABLE IF EXISTS effects")
    await execute(database, "TRUNCATE jobs, job_events, job_attempts, workers")
    await make_effects(database)
    yield database
    await feed.close()
    await database.close()


@pytest.fixture
def crew(stores: Stores, ours: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Two workers with three slots each."""
    with fleet(database_url=stores.database_url, redis_url=stores.redis_url, directory=tmp_path) as started:
        for _ in range(2):
            started.start(slots="3")
        yield started
    request.node.add_report_section("teardown", "workers", started.log.read_text()[-8_000:])


async def in_the_middle(database: Database) -> list[UUID]:
    """Jobs, some of which run, have done something, and are not done."""
    await until_workers(database, 2)
    ids = [await ask(database, Steps(STEPS, 0.05)) for _ in range(JOBS)]
    while len(await database.reader.fetch("SELECT 1 FROM effects LIMIT 6")) < 6:
        await asyncio.sleep(0.02)
    return ids


async def assert_all_done_once(database: Database, ids: list[UUID]) -> None:
    end = time.monotonic() + DONE_SECONDS

    async def left() -> int:
        return len(await database.reader.fetch("SELECT 1 FROM jobs WHERE finished_at IS NULL"))

    while await again(left):
        assert time.monotonic() < end, "not done in time"
        await asyncio.sleep(0.05)
    for job_id in ids:
        assert (await row_of(database, job_id))["state"] == "completed"
        assert await effects_of(database, job_id) == list(range(STEPS))
        assert (await story_of(database, job_id))[-1] == ("STATUS", "completed", 100)


async def test_postgres_is_restarted_under_running_jobs(stores: Stores, ours: Database, crew: Fleet) -> None:
    ids = await in_the_middle(ours)
    stores.stop_postgres()
    stores.start_postgres()
    await assert_all_done_once(ours, ids)
    assert [process.poll() for process in crew.started] == [None, None]


async def test_both_stores_die_at_once_and_come_back(stores: Stores, ours: Database, crew: Fleet) -> None:
    ids = await in_the_middle(ours)
    stores.kill_valkey()
    stores.stop_postgres(signal.SIGKILL)
    stores.start_postgres()
    stores.start_valkey()
    await assert_all_done_once(ours, ids)
    assert [process.poll() for process in crew.started] == [None, None]


async def test_no_connection_to_postgres_is_left_for_a_while(stores: Stores, ours: Database, crew: Fleet) -> None:
    """The workers lose theirs, and somebody else is quicker to take every one that there is."""
    ids = await in_the_middle(ours)
    dsn = DatabaseSettings(url=stores.database_url).driver_dsn
    held: list[asyncpg.Connection[asyncpg.Record]] = []
    try:
        first = await asyncpg.connect(dsn)
        held.append(first)
        await first.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                held.append(await asyncpg.connect(dsn))
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            with contextlib.suppress(asyncpg.TooManyConnectionsError):
                held.append(await asyncpg.connect(dsn))
    finally:
        for connection in held:
            connection.terminate()
    assert len(held) > 100
    await assert_all_done_once(ours, ids)
    assert [process.poll() for process in crew.started] == [None, None]
