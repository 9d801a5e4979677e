"""A worker in this process: settings, registry, and the life of everything put together."""

import asyncio
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from db.ledger import commands as ledger
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from jobs import registry
from jobs.attempt import DECLARED, Attempt, handles
from jobs.settings import WorkerSettings
from jobs.worker import run_worker
from jobs.worker.bus import QUEUE
from tests.support.kinds import KINDS, Empty, Waits
from tests.support.ledger import ask, attempts_of, execute, row_of
from tests.support.workers import until, until_state


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKER_SLOTS", "WORKER_LEASE_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    settings = WorkerSettings()
    assert (settings.heartbeat_seconds, settings.deadline_seconds, settings.lease_seconds) == (2, 8, 10)
    assert (settings.unclaimed_seconds, settings.cancel_grace_seconds, settings.abandon_seconds) == (5, 5, 30)
    assert 0.5 <= settings.poll_seconds <= 1
    assert 2 <= settings.tickets_per_slot <= 4


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_SLOTS", "3")
    assert WorkerSettings().slots == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"lease_seconds": 8},
        {"deadline_seconds": 12},
        {"heartbeat_seconds": 9},
        {"poll_seconds": 0},
        {"tickets_per_slot": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WorkerSettings(**wrong)


def test_a_kind_has_one_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(DECLARED, Empty.kind, raising=False)

    async def one(attempt: Attempt, work: Empty) -> None: ...

    async def two(attempt: Attempt, work: Empty) -> None: ...

    handles(Empty)(one)
    with pytest.raises(ValueError, match=r"test\.empty is handled by"):
        handles(Empty)(two)
    monkeypatch.delitem(DECLARED, Empty.kind)


def test_every_module_of_handlers_is_found() -> None:
    kinds = registry.load()
    assert "plan.publish" in kinds
    assert all(kind == declared.work.kind for kind, declared in kinds.items())


class Running:
    """A worker as it runs in a process of its own, but in this one."""

    def __init__(self, database_url: str, redis_url: str, **settings: Any) -> None:
        self.stop = asyncio.Event()
        fast = {
            "heartbeat_seconds": 0.1,
            "deadline_seconds": 1.0,
            "lease_seconds": 1.5,
            "poll_seconds": 0.1,
            "drain_seconds": 0.2,
            "cancel_grace_seconds": 0.1,
        }
        self.task = asyncio.create_task(
            run_worker(
                database_settings=DatabaseSettings(url=database_url),
                redis_settings=RedisSettings(url=redis_url),
                settings=WorkerSettings.model_validate({**fast, **settings}),
                kinds=KINDS,
                stop=self.stop,
            )
        )

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 20)


async def test_it_runs_what_is_asked_and_goes_when_told(database: Database, database_url: str, redis_url: str) -> None:
    worker = Running(database_url, redis_url)
    for job_id in [await ask(database) for _ in range(10)]:
        await until_state(database, job_id, "completed")
    await worker.end()
    assert await database.reader.fetch("SELECT 1 FROM workers") == []


async def test_a_job_in_its_name_that_it_does_not_know_is_given_back_and_run(
    database: Database, database_url: str, redis_url: str
) -> None:
    """A claim whose answer was lost on the way: committed, and never heard of."""
    worker = Running(database_url, redis_url)
    job_id = await ask(database)
    await until_state(database, job_id, "completed")
    (row,) = await database.reader.fetch("SELECT id FROM workers")
    await execute(
        database,
        "UPDATE jobs SET state = 'running', progress = 0, finished_at = NULL, worker_id = :id,"
        " timeout_at = now() + interval '1 hour', fence = fence + 1",
        id=row["id"],
    )
    await until_state(database, job_id, "completed")
    assert (await row_of(database, job_id))["interruptions"] == 1
    await worker.end()


async def test_what_it_cannot_finish_is_let_go(database: Database, database_url: str, redis_url: str) -> None:
    worker = Running(database_url, redis_url, slots=1)
    job_id = await ask(database, Waits(is_polite=False))
    await until_state(database, job_id, "running")
    waiting = [await ask(database) for _ in range(3)]

    async def dispatched() -> bool:
        states = {(await row_of(database, each))["state"] for each in waiting}
        return "dispatched" in states

    await until(dispatched)
    await worker.end()
    assert (await row_of(database, job_id))["interruptions"] == 1
    assert await attempts_of(database, job_id) == [(1, "INTERRUPTED")]
    for each in waiting:
        assert (await row_of(database, each))["state"] in {"queued", "dispatched"}
        assert await attempts_of(database, each) == []


async def test_more_jobs_than_slots_flow_through(database: Database, database_url: str, redis_url: str) -> None:
    worker = Running(database_url, redis_url, slots=2, poll_seconds=30, unclaimed_seconds=60)
    ids = [await ask(database) for _ in range(60)]

    async def done() -> bool:
        return not await database.reader.fetch("SELECT 1 FROM jobs WHERE state <> 'completed' LIMIT 1")

    # With polls this far apart only the slots that become free can ask for more.
    await until(done)
    assert len(ids) == 60
    await worker.end()


async def test_tickets_that_wait_for_a_slot_are_not_made_anew_and_those_that_are_lost_are(
    database: Database, database_url: str, redis_url: str
) -> None:
    """Or Redis would fill with old tickets wherever jobs take longer than the wait for a lost one."""
    worker = Running(database_url, redis_url, slots=1, unclaimed_seconds=0.3)
    stays = await ask(database, Waits())
    await until_state(database, stays, "running")
    every = [await ask(database) for _ in range(5)]
    with redis.Redis.from_url(redis_url) as client:

        async def have_waited() -> bool:
            (row,) = await database.reader.fetch(
                "SELECT clock_timestamp() - enqueued_at AS age FROM jobs WHERE id = $1", every[-1:]
            )
            return bool(row["age"].total_seconds() > 1.5)

        await until(have_waited)
        assert client.zcard(QUEUE) == 3
        rows = await database.reader.fetch("SELECT state, fence FROM jobs WHERE id = ANY ($1) ORDER BY id", [every])
        assert [tuple(row) for row in rows] == [("dispatched", 0)] * 3 + [("queued", 0)] * 2
        client.flushall()

        async def is_back() -> bool:
            return bool(client.zcard(QUEUE) == 3)

        await until(is_back)
    rows = await database.reader.fetch("SELECT count(*) AS n FROM jobs WHERE state = 'dispatched' AND fence = 1")
    assert rows[0]["n"] == 3
    async with database.transaction() as tx:
        await ledger.request_cancel(tx, job_id=stays, actor_id=None, reason=None, now=tx.now)
    for job_id in every:
        await until_state(database, job_id, "completed")
    await worker.end()
