"""Recurring work while its leader dies, freezes, or has the wrong time: a job for each tick, and never two."""

import asyncio
import os
import signal
import subprocess
from datetime import timedelta

import pytest
from sqlalchemy import text

from db.session import Database
from tests.support.ledger import execute
from tests.support.recurring_worker import SCHEDULE
from tests.support.workers import Fleet, until

pytestmark = pytest.mark.faults

WORKER = "tests.support.recurring_worker"
LOCK_TICKS = text("LOCK TABLE schedule_ticks IN EXCLUSIVE MODE")


def start(workers: Fleet, **settings: str) -> "subprocess.Popen[bytes]":
    # A lease that a busy machine does not lose by itself.
    lease = {"heartbeat_seconds": "0.5", "deadline_seconds": "3", "lease_seconds": "4"}
    return workers.start(module=WORKER, schedule_poll_seconds="0.2", **{**lease, **settings})


async def until_workers(database: Database, count: int) -> None:
    """Wait until so many have said that they live, on a machine that may be busy with other things."""

    async def look() -> bool:
        rows = await database.reader.fetch("SELECT count(*) AS n FROM workers")
        return bool(rows[0]["n"] >= count)

    await until(look, seconds=60, what=f"{count} workers")


async def leader(database: Database) -> tuple[int, str] | None:
    rows = await database.reader.fetch("SELECT epoch, worker_name FROM leaders WHERE role = 'schedules'")
    return (rows[0]["epoch"], rows[0]["worker_name"]) if rows else None


async def until_another_leads(database: Database, than: tuple[int, str] | None = None) -> tuple[int, str]:
    async def look() -> tuple[int, str] | None:
        found = await leader(database)
        return found if found != than else None

    # The processes may have just been started.
    return await until(look, seconds=60, what="a leader")


async def until_ticks(database: Database, more: int, *, seconds: float = 30.0) -> None:
    before = await number_of_ticks(database)

    async def look() -> bool:
        return await number_of_ticks(database) >= before + more

    await until(look, seconds=seconds, what=f"{more} ticks")


async def number_of_ticks(database: Database) -> int:
    rows = await database.reader.fetch("SELECT count(*) AS n FROM schedule_ticks")
    return int(rows[0]["n"])


async def assert_one_job_for_each_tick(database: Database) -> None:
    (counted,) = await database.reader.fetch(
        "SELECT (SELECT count(*) FROM jobs) AS jobs, (SELECT count(*) FROM schedule_ticks) AS ticks,"
        " (SELECT count(*) FROM schedule_ticks JOIN jobs ON jobs.id = job_id) AS both,"
        " (SELECT count(DISTINCT job_id) FROM schedule_ticks) AS made"
    )
    assert counted["jobs"] == counted["ticks"] == counted["both"] == counted["made"]
    assert counted["jobs"] > 0


async def test_a_leader_that_is_killed_is_followed_without_waiting_for_its_lease(
    database: Database, workers: Fleet
) -> None:
    # Whoever waits for the lease waits for longer than this test does.
    lease = {"deadline_seconds": "300", "lease_seconds": "600"}
    processes = {f"w{number}": start(workers, **lease) for number in (1, 2)}
    await until_workers(database, 2)
    first = await until_another_leads(database)
    await until_ticks(database, 2)
    processes[first[1]].kill()
    second = await until_another_leads(database, first)
    assert second[0] == first[0] + 1
    await until_ticks(database, 2)
    await assert_one_job_for_each_tick(database)


async def test_a_leader_killed_in_the_middle_of_a_tick_leaves_nothing_of_it(database: Database, workers: Fleet) -> None:
    processes = {f"w{number}": start(workers) for number in (1, 2)}
    await until_workers(database, 2)
    first = await until_another_leads(database)
    await until_ticks(database, 1)

    async def leader_waits_inside_its_tick() -> bool:
        return bool(
            await database.reader.fetch(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'schedule_ticks'::regclass"
            )
        )

    async with database.transaction() as tx:
        # The job is inserted, its tick cannot be: here the leader dies.
        await tx.execute(LOCK_TICKS)
        await until(leader_waits_inside_its_tick)
        processes[first[1]].kill()
        processes[first[1]].wait()
    await until_another_leads(database, first)
    await until_ticks(database, 2)
    await assert_one_job_for_each_tick(database)


async def test_a_leader_that_freezes_is_followed_and_makes_no_second_job_when_it_wakes(
    database: Database, workers: Fleet
) -> None:
    processes = {f"w{number}": start(workers) for number in (1, 2)}
    await until_workers(database, 2)
    first = await until_another_leads(database)
    await until_ticks(database, 1)
    os.kill(processes[first[1]].pid, signal.SIGSTOP)
    # Postgres ends a session that has said nothing for a lease (4 s here).
    await until_another_leads(database, first)
    await until_ticks(database, 2)
    os.kill(processes[first[1]].pid, signal.SIGCONT)
    await until_ticks(database, 2)
    await assert_one_job_for_each_tick(database)


async def test_a_leader_whose_clock_is_ten_minutes_off_ticks_at_the_right_time(
    database: Database, workers: Fleet
) -> None:
    for seconds in ("600", "-600"):
        before = await leader(database)
        process = start(workers, clock_off=seconds)
        await until_another_leads(database, before)
        await until_ticks(database, 2)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0
    rows = await database.reader.fetch(
        "SELECT tick_at, enqueued_at FROM schedule_ticks JOIN jobs ON jobs.id = job_id ORDER BY tick_at"
    )
    assert [row for row in rows if not timedelta(0) <= row["enqueued_at"] - row["tick_at"] < timedelta(minutes=5)] == []
    await assert_one_job_for_each_tick(database)


async def test_two_that_both_believe_to_lead_make_one_job_for_each_tick(database: Database, workers: Fleet) -> None:
    start(workers)
    first = await until_another_leads(database)
    # Postgres ends the leader's session; the other is there at once, while the first may be in the middle of a tick.
    start(workers)
    await until_workers(database, 2)
    for _ in range(3):
        await until_ticks(database, 1)
        await execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'holdfast lead' AND datname = current_database()",
        )
        first = await until_another_leads(database, first)
    await until_ticks(database, 2)
    await assert_one_job_for_each_tick(database)


async def test_what_came_due_while_nothing_ran_is_made_up_for_once(database: Database, workers: Fleet) -> None:
    process = start(workers)
    await until_ticks(database, 1)
    process.kill()
    process.wait()
    ticks = await number_of_ticks(database)
    await execute(database, "UPDATE schedules SET next_tick_at = next_tick_at - interval '1 day'")
    await execute(database, "UPDATE schedule_ticks SET tick_at = tick_at - interval '1 day'")
    start(workers)
    await until_ticks(database, 1)
    rows = await database.reader.fetch(
        "SELECT count(*) AS n FROM schedule_ticks WHERE schedule_name = $1 AND tick_at < now() - interval '1 hour'",
        [SCHEDULE],
    )
    # A day has 86,400 of them.
    assert rows[0]["n"] == ticks
    await assert_one_job_for_each_tick(database)
