"""A fleet that is killed whole, a job that kills whoever runs it, tickets that come again, clocks that are wrong."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.feed import Feed
from db.ledger.commands import Ticket
from db.session import Database
from db.settings import RedisSettings
from jobs.settings import WorkerSettings
from jobs.worker.bus import Bus
from tests.support.kinds import Brief, Fails, Poison, Steps, effects_of, make_effects
from tests.support.ledger import ask, attempts_of, row_of, story_of
from tests.support.workers import Fleet, until, until_state, until_workers

pytestmark = pytest.mark.faults


async def count(database: Database, question: str) -> int:
    rows = await database.reader.fetch(f"SELECT count(*) AS n FROM {question}")
    return int(rows[0]["n"])


async def until_more_effects(database: Database, more: int) -> None:
    before = await count(database, "effects")

    async def there() -> bool:
        return await count(database, "effects") >= before + more

    await until(there, what=f"{more} more effects")


async def assert_all_done_once(database: Database, ids: list[UUID], steps: int) -> None:
    for job_id in ids:
        await until_state(database, job_id, "completed", "failed", "quarantined", seconds=30)
        assert (await row_of(database, job_id))["state"] == "completed"
        assert await effects_of(database, job_id) == list(range(steps))
        assert (await story_of(database, job_id))[-1] == ("STATUS", "completed", 100)


async def test_a_fleet_that_is_killed_whole_and_more_than_once_does_everything_once(
    database: Database, workers: Fleet
) -> None:
    """Twice all workers die in the middle of all jobs: what had been committed is there, and the rest is done."""
    await make_effects(database)
    ids = [await ask(database, Steps(20, 0.05)) for _ in range(4)]
    for _ in range(2):
        killed = [workers.start(slots="2") for _ in range(2)]
        await until_more_effects(database, 8)
        for process in killed:
            process.kill()
    workers.start()
    await assert_all_done_once(database, ids, 20)
    for job_id in ids:
        row = await row_of(database, job_id)
        assert (row["failures"], row["crash_count"] <= 2) == (0, True)
        assert [outcome for _, outcome in await attempts_of(database, job_id)][-1] == "COMPLETED"


async def test_a_job_that_kills_its_process_is_put_aside_and_those_beside_it_are_done(
    database: Database, workers: Fleet
) -> None:
    """All of them run in the one worker there is, and die with it: the third time only the one that does it."""
    await make_effects(database)
    poison = await ask(database, Poison())
    ids = [await ask(database, Steps(12, 0.1)) for _ in range(5)]
    process = workers.start()

    async def over() -> bool:
        nonlocal process
        if process.poll() is not None:
            process = workers.start()
        return not await count(database, "jobs WHERE finished_at IS NULL")

    await until(over, seconds=60, what="the end of all of them")
    row = await row_of(database, poison)
    assert (row["state"], row["crash_count"], row["error"]["code"]) == ("quarantined", 3, "QUARANTINED")
    assert len(workers.started) == 4
    await assert_all_done_once(database, ids, 12)


async def test_tickets_that_come_again_begin_nothing(
    database: Database, workers: Fleet, redis_url: str, feed: Feed
) -> None:
    """Every ticket that was ever in date, and some that never were, again and again while the jobs run."""
    await make_effects(database)
    ids = [await ask(database, Steps(4, 0.02)) for _ in range(20)]
    bus = Bus(
        redis=RedisSettings(url=redis_url),
        feed=feed,
        settings=WorkerSettings(),
        take=_never,
        run=_never,
        free_slots=lambda: 0,
    )
    for _ in range(2):
        workers.start(slots="4")
    while await count(database, "jobs WHERE finished_at IS NULL"):
        await bus.carry([Ticket(job_id, fence) for job_id in ids for fence in range(3)])
        await asyncio.sleep(0.05)
    await bus.close()
    await assert_all_done_once(database, ids, 4)
    for job_id in ids:
        assert await attempts_of(database, job_id) == [(1, "COMPLETED")]


async def _never(_: object) -> Any:
    raise AssertionError("this bus only carries")


async def test_somebody_who_locks_a_job_and_does_nothing_keeps_no_other_job_waiting(
    database: Database, workers: Fleet
) -> None:
    """One job that runs and one that waits are locked: all others are done meanwhile, these two afterwards."""
    await make_effects(database)
    workers.start(slots="3")
    await until_workers(database, 1)
    held = await ask(database, Steps(6, 0.05))
    await until_more_effects(database, 1)
    waiting = await ask(database, Steps(2))
    async with database.transaction() as tx:
        await tx.execute(text("SELECT FROM jobs WHERE id = ANY (:ids) FOR UPDATE"), {"ids": [held, waiting]})
        others = [await ask(database, Steps(3, 0.01)) for _ in range(12)]
        for job_id in others:
            await until_state(database, job_id, "completed")
    await assert_all_done_once(database, others, 3)
    await assert_all_done_once(database, [held], 6)
    await assert_all_done_once(database, [waiting], 2)


async def test_workers_whose_clocks_are_ten_minutes_off_do_everything_at_the_right_time(
    database: Database, workers: Fleet
) -> None:
    await make_effects(database)
    for seconds in ("600", "-600"):
        workers.start(clock_off=seconds, slots="3")
    await until_workers(database, 2)
    began = await now(database)
    steps = [await ask(database, Steps(5, 0.05)) for _ in range(8)]
    again, brief = await ask(database, Fails(1)), await ask(database, Brief(is_polite=False))
    await assert_all_done_once(database, steps, 5)
    await until_state(database, again, "completed")
    await until_state(database, brief, "failed")
    ended = await now(database)
    # Whoever went by a clock of their own would be ten minutes off.
    assert ended - began < timedelta(minutes=5)
    assert await attempts_of(database, again) == [(1, "RETRY"), (2, "COMPLETED")]
    assert (await row_of(database, brief))["error"]["code"] == "TIMEOUT"
    for table, column in [
        ("job_events", "at"),
        ("job_attempts", "started_at"),
        ("job_attempts", "finished_at"),
        ("workers", "seen_at"),
    ]:
        wrong = f"{table} WHERE {column} NOT BETWEEN '{began}'::timestamptz - interval '1 min' AND clock_timestamp()"
        assert await count(database, wrong) == 0
    (waited,) = await database.reader.fetch(
        "SELECT second.started_at - first.finished_at AS between FROM job_attempts AS first"
        " JOIN job_attempts AS second ON second.job_id = first.job_id AND second.number = 2"
        " WHERE first.job_id = $1 AND first.number = 1",
        [again],
    )
    assert timedelta(seconds=1.6) <= waited["between"] < timedelta(minutes=5)


async def now(database: Database) -> datetime:
    rows = await database.reader.fetch("SELECT clock_timestamp() AS now")
    moment: datetime = rows[0]["now"]
    return moment
