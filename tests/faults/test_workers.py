"""Real worker processes that die, freeze, and are told to go: every job is done, each effect once."""

import asyncio
import os
import signal
import subprocess
import time
from uuid import UUID

import pytest

from db import endings
from db.ledger.rules import JobState
from db.session import Database
from tests.support.kinds import Blocks, Deaf, Steps, Waits, effects_of, make_effects
from tests.support.ledger import ask, attempts_of, row_of, story_of
from tests.support.workers import Fleet, until, until_state, until_workers

pytestmark = pytest.mark.faults

STEPS = 40


async def mid_job(database: Database, work: Steps) -> UUID:
    """A job that has committed some of its effects and not all."""
    job_id = await ask(database, work)

    async def begun() -> bool:
        return len(await effects_of(database, job_id)) >= 3

    await until(begun, what="the first effects")
    return job_id


async def worker_of(database: Database, workers: Fleet, job_id: UUID) -> "subprocess.Popen[bytes]":
    """The process that runs the job."""
    rows = await database.reader.fetch(
        "SELECT worker_name FROM job_attempts WHERE job_id = $1 ORDER BY number DESC LIMIT 1", [job_id]
    )
    return workers.started[int(rows[0]["worker_name"].removeprefix("w")) - 1]


async def until_attempt(database: Database, job_id: UUID, number: int) -> None:
    async def begun() -> bool:
        return len(await attempts_of(database, job_id)) >= number

    await until(begun, what=f"attempt {number}")


async def assert_done_once(database: Database, job_id: UUID, steps: int) -> None:
    assert await effects_of(database, job_id) == list(range(steps))
    story = await story_of(database, job_id)
    assert story[-1] == ("STATUS", "completed", 100)
    percents = [percent for _, _, percent in story]
    assert percents == sorted(percents)


async def test_a_job_whose_worker_is_killed_is_finished_elsewhere_soon_after_its_lease(
    database: Database, workers: Fleet
) -> None:
    """The one test at the real lease of 10 s."""
    await make_effects(database)
    real = {
        "heartbeat_seconds": "2",
        "deadline_seconds": "8",
        "lease_seconds": "10",
        "poll_seconds": "0.75",
        "unclaimed_seconds": "5",
    }
    for _ in range(2):
        workers.start(**real)
    await until_workers(database, 2)
    job_id = await mid_job(database, Steps(STEPS, 0.05))
    killed = await worker_of(database, workers, job_id)
    killed.kill()
    began = time.monotonic()
    await until_attempt(database, job_id, 2)
    # On a machine that has time it is less than 15 s: the lease, and a poll.
    assert time.monotonic() - began < 30
    await until_state(database, job_id, "completed")
    await assert_done_once(database, job_id, STEPS)
    assert await attempts_of(database, job_id) == [(1, "LOST"), (2, "COMPLETED")]
    row = await row_of(database, job_id)
    assert (row["crash_count"], row["failures"]) == (1, 0)


async def test_a_frozen_workers_late_writes_are_refused(database: Database, workers: Fleet) -> None:
    await make_effects(database)
    for _ in range(2):
        workers.start()
    await until_workers(database, 2)
    job_id = await mid_job(database, Steps(STEPS, 0.05))
    frozen = await worker_of(database, workers, job_id)
    os.kill(frozen.pid, signal.SIGSTOP)
    await until_attempt(database, job_id, 2)
    os.kill(frozen.pid, signal.SIGCONT)
    await until_state(database, job_id, "completed")
    await assert_done_once(database, job_id, STEPS)
    # It noticed that the job was not its own any more, and lives on to do others.
    assert frozen.poll() is None
    for _ in range(20):
        await ask(database)

    async def all_done() -> bool:
        rows = await database.reader.fetch("SELECT 1 FROM jobs WHERE state <> 'completed'")
        return not rows

    await until(all_done)
    names = await database.reader.fetch("SELECT DISTINCT worker_name FROM job_attempts WHERE outcome = 'COMPLETED'")
    assert f"w{workers.started.index(frozen) + 1}" in {row["worker_name"] for row in names}


async def test_a_job_that_kills_its_workers_is_quarantined(database: Database, workers: Fleet) -> None:
    job_id = await ask(database, Waits())
    for number in (1, 2, 3):
        process = workers.start()
        await until_attempt(database, job_id, number)
        process.kill()
    workers.start()
    await until_state(database, job_id, "quarantined")
    row = await row_of(database, job_id)
    assert (row["crash_count"], row["failures"], row["error"]["code"]) == (3, 0, "QUARANTINED")
    assert await attempts_of(database, job_id) == [(1, "LOST"), (2, "LOST"), (3, "LOST")]


async def test_a_handler_that_keeps_its_worker_busy_does_not_make_it_look_dead(
    database: Database, workers: Fleet
) -> None:
    workers.start()
    await until_workers(database, 1)
    job_id = await ask(database, Blocks(2.5))
    await until_state(database, job_id, "completed")
    assert await attempts_of(database, job_id) == [(1, "COMPLETED")]


async def test_a_worker_that_is_told_to_go_finishes_what_it_runs(database: Database, workers: Fleet) -> None:
    await make_effects(database)
    process = workers.start()
    await until_workers(database, 1)
    job_id = await mid_job(database, Steps(15, 0.05))
    process.terminate()
    later = await ask(database)
    assert await asyncio.to_thread(process.wait, 15) == 0
    assert (await row_of(database, job_id))["state"] == "completed"
    assert (await row_of(database, later))["state"] in {"queued", "dispatched"}
    assert await database.reader.fetch("SELECT 1 FROM workers") == []


async def test_what_is_not_done_when_the_drain_is_over_is_let_go_at_no_cost(database: Database, workers: Fleet) -> None:
    process = workers.start(drain_seconds="0.3")
    await until_workers(database, 1)
    job_id = await ask(database, Waits())
    await until_state(database, job_id, "running")
    process.terminate()
    assert await asyncio.to_thread(process.wait, 15) == 0
    row = await row_of(database, job_id)
    assert (row["state"], row["interruptions"], row["failures"], row["crash_count"]) == ("queued", 1, 0, 0)
    assert await attempts_of(database, job_id) == [(1, "INTERRUPTED")]


async def test_a_deploy_costs_no_attempt(database: Database, workers: Fleet) -> None:
    """Whoever runs it goes, one after the other; it is done in the end."""
    await make_effects(database)
    running = {f"w{number}": workers.start(drain_seconds="0") for number in (1, 2, 3)}
    await until_workers(database, 3)
    job_id = await ask(database, Steps(150, 0.03))

    async def holder() -> str | None:
        rows = await database.reader.fetch(
            "SELECT name FROM jobs JOIN workers ON workers.id = worker_id WHERE jobs.id = $1 AND state = 'running'",
            [job_id],
        )
        return rows[0]["name"] if rows and rows[0]["name"] in running else None

    for _ in range(2):
        old = running.pop(await until(holder))
        old.terminate()
        assert await asyncio.to_thread(old.wait, 15) == 0
    await until_state(database, job_id, "completed")
    row = await row_of(database, job_id)
    assert (row["failures"], row["crash_count"]) == (0, 0)
    assert await attempts_of(database, job_id) == [(1, "INTERRUPTED"), (2, "INTERRUPTED"), (3, "COMPLETED")]
    assert await effects_of(database, job_id) == list(range(150))


async def test_python_m_jobs_is_a_worker(database: Database, workers: Fleet) -> None:
    process = workers.start(module="jobs")
    await until_workers(database, 1)
    (row,) = await database.reader.fetch("SELECT name, kinds, slots, is_draining FROM workers")
    assert (row["name"], row["slots"], row["is_draining"]) == ("w1", 10, False)
    assert "plan.publish" in row["kinds"]
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait, 15) == 0


async def test_a_running_job_hears_at_once_that_it_is_to_stop(database: Database, workers: Fleet) -> None:
    # The next heartbeat comes, and the job would be taken away, long after this test has given up: the hint does it.
    workers.start(heartbeat_seconds="600", deadline_seconds="800", lease_seconds="1000", abandon_seconds="600")
    await until_workers(database, 1)
    job_id = await ask(database, Waits())
    await until_state(database, job_id, "running")
    await cancel(database, job_id)
    await until_state(database, job_id, "cancelled")
    assert await attempts_of(database, job_id) == [(1, "CANCELLED")]


async def test_a_job_that_does_not_stop_is_abandoned(database: Database, workers: Fleet) -> None:
    await make_effects(database)
    workers.start()
    await until_workers(database, 1)
    job_id = await ask(database, Deaf(4.0))
    await until_state(database, job_id, "running")
    await cancel(database, job_id)
    await until_state(database, job_id, "cancelled")
    # It has tried to write when it was done, and could not; its worker lives.
    await until_state(database, await ask(database), "completed")

    async def tried() -> bool:
        return b"job.not_ours" in workers.log.read_bytes()

    await until(tried)
    assert await effects_of(database, job_id) == []
    assert (await row_of(database, job_id))["state"] == "cancelled"


async def test_two_workers_share_the_work_and_do_each_job_once(database: Database, workers: Fleet) -> None:
    await make_effects(database)
    ids = [await ask(database, Steps(2)) for _ in range(60)]
    for _ in range(2):
        workers.start(slots="4")
    for job_id in ids:
        await until_state(database, job_id, "completed")
        assert await effects_of(database, job_id) == [0, 1]
        assert await attempts_of(database, job_id) == [(1, "COMPLETED")]


async def test_arqs_own_loop_does_the_same_more_slowly(database: Database, workers: Fleet) -> None:
    workers.start(stock_arq="true", arq_poll_seconds="0.1")
    for job_id in [await ask(database) for _ in range(20)]:
        await until_state(database, job_id, JobState.COMPLETED)


async def cancel(database: Database, job_id: UUID) -> None:
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
