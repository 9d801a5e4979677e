"""Timers: holds end at their instant, late or not, whoever fails beside them."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from db.feed import Feed
from db.session import Database
from jobs.settings import WorkerSettings
from jobs.timers import MOST_AT_A_TIME, Timers
from tests.support.tasks import Desk, a_desk
from tests.support.workers import fleet, until, until_workers

# Refuses to let a task of this title go on, as a broken row or a broken rule would.
_BREAK = (
    """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'this one is broken'; END $$
    """,
    """
    CREATE TRIGGER broken BEFORE UPDATE ON tasks FOR EACH ROW WHEN (OLD.title = 'Broken' AND NEW.status = 'ASSIGNED')
    EXECUTE FUNCTION refuse()
    """,
)


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await a_desk(database)


def timers(desk: Desk) -> Timers:
    return Timers(database=desk.database, settings=WorkerSettings())


async def held(desk: Desk, count: int, *, days: int = 1) -> list[UUID]:
    """Tasks that are on hold for so many days."""
    task_ids = [await desk.create(desk.ann) for _ in range(count)]
    for task_id in task_ids:
        await desk.place(task_id, days)
    return task_ids


async def statuses(desk: Desk, task_ids: list[UUID]) -> list[str]:
    rows = await desk.rows("SELECT status FROM tasks WHERE id = ANY(:ids)", ids=task_ids)
    return sorted(row.status for row in rows)


async def test_a_worker_that_was_down_for_ten_days_ends_every_due_hold_at_its_first_run(desk: Desk) -> None:
    due = await held(desk, 3, days=1) + await held(desk, 2, days=9)
    pending = await held(desk, 2, days=11)
    desk.later(days=10)
    assert await timers(desk)() == 5
    assert await statuses(desk, due) == ["ASSIGNED"] * 5
    assert await statuses(desk, pending) == ["ON_HOLD"] * 2
    assert await timers(desk)() == 0


async def test_a_timer_that_fails_shows_its_error_and_stops_no_other(desk: Desk) -> None:
    for statement in _BREAK:
        await desk.rows_of(statement)
    broken = await desk.create(desk.ann, title="Broken")
    hold_id = await desk.place(broken, 1)
    others = await held(desk, 3)
    desk.later(days=1)
    failed_at = desk.database.clock.shift
    assert await timers(desk)() == 4
    assert await statuses(desk, others) == ["ASSIGNED"] * 3
    hold = await desk.hold(hold_id)
    assert (await desk.status(broken), hold.status, hold.attempts) == ("ON_HOLD", "ASSIGNED", 1)
    assert hold.last_error.endswith("this one is broken")
    assert await timers(desk)() == 0, "it is put off"

    waits = []
    for _ in range(8):
        before = (await desk.hold(hold_id)).next_attempt_at
        desk.later(hours=1)
        assert await timers(desk)() == 1
        (now,) = await desk.rows("SELECT now() + :shift AS at", shift=desk.database.clock.shift)
        after = (await desk.hold(hold_id)).next_attempt_at
        waits.append(round((after - now.at) / timedelta(minutes=1)))
        assert after > before
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert desk.database.clock.shift > failed_at

    await desk.rows_of("DROP TRIGGER broken ON tasks")
    desk.later(hours=1)
    assert await timers(desk)() == 1
    hold = await desk.hold(hold_id)
    assert (await desk.status(broken), hold.status, hold.end_reason) == ("ASSIGNED", "COMPLETED", "EXPIRED")
    assert (hold.last_error, hold.next_attempt_at, hold.attempts) == (None, None, 10)


async def test_a_timer_of_a_hold_that_is_over_is_cancelled_and_never_processed(desk: Desk) -> None:
    """No command leaves such a pair behind; found all the same, it changes nothing and is found once."""
    (task_id,) = await held(desk, 1)
    (row,) = await desk.rows("SELECT id FROM tasks WHERE parent_id = :id", id=task_id)
    await desk.end(task_id)
    await desk.rows_of("UPDATE task_timers SET cancelled_at = NULL")
    desk.later(days=2)
    history = await desk.history(task_id)
    assert await timers(desk)() == 1
    hold = await desk.hold(row.id)
    assert (hold.end_reason, hold.processed_at) == ("ENDED_EARLY", None)
    assert hold.timer_cancelled_at is not None
    assert await desk.history(task_id) == history
    assert await timers(desk)() == 0


async def test_what_somebody_else_has_is_left_to_the_next_sweep(desk: Desk) -> None:
    first, second = await held(desk, 2)
    desk.later(days=1)
    async with desk.database.transaction() as tx:
        await tx.execute(text("SELECT FROM tasks WHERE id = :id FOR UPDATE"), {"id": first})
        assert await timers(desk)() == 1
    assert [await desk.status(each) for each in (first, second)] == ["ON_HOLD", "ASSIGNED"]
    assert await timers(desk)() == 1
    assert await desk.status(first) == "ASSIGNED"


async def test_however_many_somebody_else_has_the_next_ones_are_ended(desk: Desk) -> None:
    settings = WorkerSettings(batch=3)
    sweep = Timers(database=desk.database, settings=settings)
    taken = await held(desk, 8)
    later = await held(desk, 2, days=2)
    desk.later(days=2)
    async with desk.database.transaction() as tx:
        await tx.execute(text("SELECT FROM tasks WHERE id = ANY(:ids) FOR UPDATE"), {"ids": taken})
        # A full list may not have been all.
        assert [await sweep(), await sweep(), await sweep()] == [3, 3, 0]
    assert (await statuses(desk, taken), await statuses(desk, later)) == (["ON_HOLD"] * 8, ["ASSIGNED"] * 2)
    assert [await sweep(), await sweep(), await sweep()] == [3, 3, 2]


async def test_a_full_sweep_says_that_there_may_be_more(desk: Desk) -> None:
    await desk.crowd(MOST_AT_A_TIME + 5)
    desk.later(days=1)
    settings = WorkerSettings()
    assert await timers(desk)() == settings.batch
    assert await timers(desk)() == 5


async def test_a_live_worker_ends_a_hold_when_it_is_over_and_never_before(
    desk: Desk, database_url: str, redis_url: str, feed: Feed, tmp_path: Path
) -> None:
    (task_id,) = await held(desk, 1)
    ends_in = 3.0
    with fleet(database_url=database_url, redis_url=redis_url, directory=tmp_path) as workers:
        workers.start(poll_seconds="0.75")
        await until_workers(desk.database, 1)
        # As if it had been placed a day ago, but for three seconds.
        moved = "now() + make_interval(secs => :ends_in)"
        await desk.rows_of(
            f"WITH held AS (UPDATE task_holds SET ends_at = {moved}, starts_at = {moved} - interval '24 hours')"
            f" UPDATE task_timers SET due_at = {moved}",
            ends_in=ends_in,
        )

        async def is_over() -> bool:
            return await desk.status(task_id) == "ASSIGNED"

        await until(is_over)
    (row,) = await desk.rows(
        "SELECT t.closed_at - h.ends_at AS late FROM tasks t JOIN task_holds h ON h.task_id = t.id"
    )
    # How late it is at most is measured by `bench/timers.py`.
    assert row.late >= timedelta(0)


async def test_two_sweepers_end_each_hold_once(desk: Desk) -> None:
    await desk.crowd(50)
    desk.later(days=1)
    await asyncio.gather(timers(desk)(), timers(desk)())
    while await timers(desk)():
        pass
    rows = await desk.rows("SELECT to_status, count(*) AS n FROM task_transitions WHERE actor_id IS NULL GROUP BY 1")
    assert {row.to_status: row.n for row in rows} == {"COMPLETED": 50, "ASSIGNED": 50}
