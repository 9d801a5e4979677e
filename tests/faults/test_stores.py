"""Valkey is flushed, killed and frozen, Postgres breaks its connections: nothing is lost, and nothing happens twice."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import redis

from db.ledger import commands as ledger
from db.session import Database
from server.embedded.valkey import Valkey
from tests.support.kinds import Steps, Waits, effects_of, make_effects
from tests.support.ledger import ask, attempts_of, row_of, story_of
from tests.support.workers import Fleet, fleet, until, until_state, until_workers

pytestmark = pytest.mark.faults


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be killed."""
    directory = tmp_path_factory.mktemp("v")
    valkey = Valkey(directory / "data", directory, directory / "valkey.log", durable=False)
    child = valkey.start()
    yield valkey
    child.stop(patience_seconds=5)


@pytest.fixture
def bereft(database_url: str, valkey: Valkey, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Workers whose Valkey may die."""
    with fleet(database_url=database_url, redis_url=valkey.url(), directory=tmp_path) as started:
        yield started
    if started.log.exists():
        request.node.add_report_section("teardown", "workers", started.log.read_text()[-8_000:])


def pid_of(valkey: Valkey) -> int:
    return int((valkey.data / "valkey.pid").read_text())


async def all_done(database: Database) -> bool:
    return not await database.reader.fetch("SELECT 1 FROM jobs WHERE state <> 'completed' LIMIT 1")


async def test_flushing_redis_at_any_moment_changes_no_final_state(
    database: Database, workers: Fleet, redis_url: str
) -> None:
    await make_effects(database)
    ids = [await ask(database, Steps(3, 0.01)) for _ in range(60)]
    workers.start(slots="4")
    with redis.Redis.from_url(redis_url) as client:
        while not await all_done(database):
            client.flushall()
            await until_some_more(database)
    for job_id in ids:
        assert await effects_of(database, job_id) == [0, 1, 2]
        assert (await story_of(database, job_id))[-1] == ("STATUS", "completed", 100)


async def until_some_more(database: Database) -> None:
    """Until another few jobs are done, or nothing happens for a second."""
    before = await database.reader.fetch("SELECT count(*) AS n FROM jobs WHERE state = 'completed'")
    end = time.monotonic() + 1.0

    async def more() -> bool:
        now = await database.reader.fetch("SELECT count(*) AS n FROM jobs WHERE state = 'completed'")
        return bool(now[0]["n"] >= before[0]["n"] + 5) or time.monotonic() > end

    await until(more)


async def test_a_job_goes_on_when_valkey_is_killed_under_it(database: Database, bereft: Fleet, valkey: Valkey) -> None:
    await make_effects(database)
    bereft.start()
    await until_workers(database, 1)
    job_id = await ask(database, Steps(40, 0.03))
    await until_state(database, job_id, "running")
    os.kill(pid_of(valkey), signal.SIGKILL)
    await until_state(database, job_id, "completed")
    assert await effects_of(database, job_id) == list(range(40))
    assert await attempts_of(database, job_id) == [(1, "COMPLETED")]


async def test_without_valkey_jobs_run_all_the_same_and_with_it_again_they_still_do(
    database: Database, bereft: Fleet, valkey: Valkey
) -> None:
    await make_effects(database)
    bereft.start(slots="4")
    await until_workers(database, 1)
    os.kill(pid_of(valkey), signal.SIGKILL)
    ids = [await ask(database, Steps(2)) for _ in range(30)]
    for job_id in ids:
        await until_state(database, job_id, "completed")
    assert all([await effects_of(database, job_id) == [0, 1] for job_id in ids])
    again = valkey.start()
    try:
        later = await ask(database, Steps(2))
        await until_state(database, later, "completed")
    finally:
        again.stop(patience_seconds=5)
    assert {(await row_of(database, job_id))["failures"] for job_id in [*ids, later]} == {0}
    assert bereft.started[0].poll() is None


async def test_a_worker_starts_without_valkey(database: Database, bereft: Fleet, valkey: Valkey) -> None:
    os.kill(pid_of(valkey), signal.SIGKILL)
    job_id = await ask(database)
    process = bereft.start()
    await until_state(database, job_id, "completed")
    process.terminate()
    assert process.wait(15) == 0


async def test_a_frozen_valkey_delays_jobs_and_loses_none(database: Database, bereft: Fleet, valkey: Valkey) -> None:
    bereft.start()
    await until_workers(database, 1)
    await until_state(database, await ask(database), "completed")
    os.kill(pid_of(valkey), signal.SIGSTOP)
    try:
        ids = [await ask(database) for _ in range(10)]
        for job_id in ids:
            await until_state(database, job_id, "completed")
    finally:
        os.kill(pid_of(valkey), signal.SIGCONT)


async def test_a_running_job_hears_that_it_is_to_stop_without_valkey(
    database: Database, bereft: Fleet, valkey: Valkey
) -> None:
    bereft.start()
    await until_workers(database, 1)
    job_id = await ask(database, Waits())
    await until_state(database, job_id, "running")
    os.kill(pid_of(valkey), signal.SIGKILL)
    await cancel(database, job_id)
    await until_state(database, job_id, "cancelled")


async def test_broken_connections_to_postgres_are_survived(database: Database, workers: Fleet) -> None:
    """Every connection of the worker is cut, several times; its jobs are done, each effect once."""
    await make_effects(database)
    ids = [await ask(database, Steps(10, 0.05)) for _ in range(10)]
    workers.start(slots="3")
    await until_state(database, ids[0], "running")
    for _ in range(3):
        await database.reader.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        done = await database.reader.fetch("SELECT count(*) AS n FROM effects")

        async def more(before: int = done[0]["n"]) -> bool:
            now = await database.reader.fetch("SELECT count(*) AS n FROM effects")
            return bool(now[0]["n"] > before)

        await until(more)

    async def finished() -> bool:
        return await all_done(database)

    await until(finished, seconds=40)
    for job_id in ids:
        assert await effects_of(database, job_id) == list(range(10))
        await story_of(database, job_id)
    assert workers.started[0].poll() is None


async def cancel(database: Database, job_id: UUID) -> None:
    async with database.transaction() as tx:
        await ledger.request_cancel(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
