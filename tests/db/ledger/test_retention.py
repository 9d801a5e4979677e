"""What is over is let go of; what lives is not, and nobody waits for it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ColumnElement, FromClause, false, literal, text
from sqlalchemy.exc import DBAPIError

from db import idempotency
from db.idempotency import Request
from db.ledger import commands as ledger
from db.ledger.commands import Ending, retaining
from db.ledger.rules import LIVE, JobState
from db.session import Database, count_statements, sqlstate
from jobs.attempt import COMPLETED
from tests.support.ledger import WORKER, ask, events_of, execute, in_state, later, lose_sight_of, running, snapshot
from tests.support.retention import age, left_of, partition_of, partitions_of, prepare_old_weeks
from tests.support.workers import until

FORTNIGHT = timedelta(days=14)


@pytest.fixture(autouse=True)
async def old_weeks(database: Database) -> None:
    await prepare_old_weeks(database)


def nothing_shown(job: FromClause) -> ColumnElement[bool]:
    return false()


async def drop_old(database: Database) -> list[str]:
    """Drop what partitions may be dropped. Their names."""
    dropped = []
    async with database.transaction() as tx:
        before = tx.now - FORTNIGHT
        old = await retaining.partitions(tx, before=before)
    for partition in old:
        async with database.transaction() as tx:
            if await retaining.drop_partition(tx, partition=partition, before=before):
                dropped.append(partition.name)
    return dropped


async def forget_jobs(database: Database, *, days: int = 30, limit: int = 100, is_shown: Any = nothing_shown) -> int:
    """Delete old jobs, batch by batch. How many."""
    deleted = 0
    reached: retaining.Place | None = retaining.FROM_THE_FIRST
    while reached is not None:
        async with database.transaction() as tx:
            before = tx.now - timedelta(days=days)
            batch = await retaining.forget_jobs(tx, before=before, after=reached, limit=limit, is_shown=is_shown)
        reached, deleted = batch.reached, deleted + batch.deleted
    return deleted


async def completed(database: Database) -> UUID:
    """A job that has run, with an attempt and three events."""
    claim = await running(database)
    async with database.transaction() as tx:
        await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])
    return claim.job_id


# --- partitions -------------------------------------------------------------------------------------------------------


async def test_a_week_is_dropped_two_weeks_after_its_end_where_all_of_its_jobs_have_ended(database: Database) -> None:
    old = await age(database, await completed(database), days=24)
    young = await age(database, await completed(database), days=6)
    week = await partition_of(database, old)
    before = await partitions_of(database)
    dropped = await drop_old(database)
    assert week in dropped
    assert await partitions_of(database) == before - set(dropped)
    assert await left_of(database, old) == (1, 1, 0)
    assert await left_of(database, young) == (1, 1, 3)
    # Every week that is kept ended less than two weeks ago, or is yet to come.
    async with database.transaction() as tx:
        assert await retaining.partitions(tx, before=tx.now - FORTNIGHT) == []


@pytest.mark.parametrize("state", sorted(LIVE))
async def test_a_week_is_kept_while_one_of_its_jobs_lives(database: Database, state: JobState) -> None:
    ended = await age(database, await completed(database), days=50)
    alive = await age(database, await in_state(database, state), days=50)
    week = await partition_of(database, alive)
    assert week == await partition_of(database, ended)
    dropped = await drop_old(database)
    assert dropped
    assert week not in dropped
    assert len(await events_of(database, alive)) == 1
    assert await left_of(database, ended) == (1, 1, 3)


async def test_a_week_is_kept_while_one_of_its_jobs_has_ended_a_short_while_ago(database: Database) -> None:
    slow = await age(database, await completed(database), days=50, ended_days=13)
    week = await partition_of(database, slow)
    assert week not in await drop_old(database)
    later(database, days=2)
    assert week in await drop_old(database)


async def test_a_table_that_is_busy_is_left_for_later_and_keeps_nobody_waiting(database: Database) -> None:
    old = await age(database, await completed(database), days=50)
    before = await snapshot(database)
    async with database.transaction() as reading:
        await reading.execute(text("SELECT count(*) FROM job_events"))
        with pytest.raises(DBAPIError) as refused:
            await drop_old(database)
        assert sqlstate(refused.value) == "55P03"
        # Others read and write meanwhile.
        assert await snapshot(database) == before
        await ask(database)
    assert await partition_of(database, old) in await drop_old(database)


async def test_whoever_writes_into_an_old_week_at_this_moment_is_seen(database: Database) -> None:
    old = await age(database, await completed(database), days=50)
    async with database.transaction() as writing:
        # A job of that week, not committed yet: nobody can see that it lives.
        await writing.execute(
            text("UPDATE job_events SET message = 'late' WHERE job_id = :id AND seq = 1"), {"id": old}
        )
        with pytest.raises(DBAPIError) as refused:
            await drop_old(database)
        assert sqlstate(refused.value) == "55P03"
    assert (await events_of(database, old))[0]["message"] == "late"


async def test_a_job_that_is_written_into_an_old_week_while_it_is_dropped_keeps_it(database: Database) -> None:
    alive = await in_state(database, JobState.SCHEDULED)
    new = await age(database, await in_state(database, JobState.CANCELLED), days=50)
    week = await partition_of(database, new)
    await execute(database, "DELETE FROM jobs WHERE id = :id", id=new)
    await execute(database, "DELETE FROM job_events WHERE job_id = :id", id=new)

    async def drop() -> bool:
        async with database.transaction() as tx:
            before = tx.now - FORTNIGHT
            (partition,) = [each for each in await retaining.partitions(tx, before=before) if each.name == week]
            return await retaining.drop_partition(tx, partition=partition, before=before)

    async def one_waits() -> bool:
        return bool(await database.reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"))

    async with database.transaction() as writing:
        for statement in (
            "UPDATE jobs SET id = :new WHERE id = :old",
            "UPDATE job_events SET job_id = :new WHERE job_id = :old",
        ):
            await writing.execute(text(statement), {"new": new, "old": alive})
        dropping = asyncio.create_task(drop())
        await until(one_waits)
    # Committed while the other waits: it looks again, or has given up.
    (is_dropped,) = await asyncio.gather(dropping, return_exceptions=True)
    assert is_dropped is False or isinstance(is_dropped, DBAPIError)
    assert await partition_of(database, new) == week
    assert len(await events_of(database, new)) == 1


async def test_making_weeks_ahead_gives_up_where_the_table_is_busy(database: Database) -> None:
    before = await partitions_of(database)
    ahead = "SELECT prepare_job_event_partitions(now(), 8)"
    async with database.transaction() as reading:
        await reading.execute(text("SELECT count(*) FROM job_events"))
        await execute(database, ahead)
        assert await partitions_of(database) == before
    await execute(database, ahead)
    assert len(await partitions_of(database)) == len(before) + 4


# --- the default partition --------------------------------------------------------------------------------------------


async def forget_strays(database: Database, *, limit: int = 2) -> int:
    deleted = 0
    reached: UUID | None = UUID(int=0)
    while reached is not None:
        async with database.transaction() as tx:
            before = tx.now - FORTNIGHT
            reached, more = await retaining.forget_strays(tx, before=before, after=reached, limit=limit)
        deleted += more
    return deleted


async def test_strays_go_job_by_job_when_their_jobs_ended_long_ago_or_are_gone(database: Database) -> None:
    longer_than_any_partition = 200
    old = [await age(database, await completed(database), days=longer_than_any_partition) for _ in range(3)]
    alive = await age(database, await in_state(database, JobState.SCHEDULED), days=longer_than_any_partition)
    fresh = await age(database, await completed(database), days=longer_than_any_partition, ended_days=1)
    orphan = await age(database, await completed(database), days=longer_than_any_partition)
    await execute(database, "DELETE FROM jobs WHERE id = :id", id=orphan)
    inside = await age(database, await completed(database), days=50)
    for job_id in (*old, alive, fresh, orphan):
        assert await partition_of(database, job_id) == "job_events_default"
    assert await forget_strays(database) == 4 * 3
    assert [await partition_of(database, job_id) for job_id in (*old, orphan)] == [None] * 4
    assert [len(await events_of(database, job_id)) for job_id in (alive, fresh, inside)] == [1, 3, 3]
    assert await forget_strays(database) == 0


# --- jobs -------------------------------------------------------------------------------------------------------------


async def test_ended_jobs_go_after_a_month_with_their_attempts_and_events(database: Database) -> None:
    old = [await age(database, await completed(database), days=31 + number) for number in range(5)]
    young = await age(database, await completed(database), days=60, ended_days=29)
    alive = [await age(database, await in_state(database, state), days=400) for state in sorted(LIVE)]
    assert await forget_jobs(database, limit=2) == 5
    assert [await left_of(database, job_id) for job_id in old] == [(0, 0, 0)] * 5
    assert await left_of(database, young) == (1, 1, 3)
    assert [await left_of(database, job_id) for job_id in alive] == [(1, 0, 1)] * len(alive)
    assert await forget_jobs(database) == 0


async def test_a_job_that_its_subject_shows_is_kept(database: Database) -> None:
    shown, other = [await age(database, await completed(database), days=40) for _ in range(2)]

    def is_shown(job: FromClause) -> ColumnElement[bool]:
        return job.c.id == literal(shown)

    assert await forget_jobs(database, limit=1, is_shown=is_shown) == 1
    assert (await left_of(database, shown))[0] == 1
    assert (await left_of(database, other))[0] == 0


async def test_a_job_that_somebody_has_locked_is_left_and_keeps_nobody_waiting(database: Database) -> None:
    locked, free = [await age(database, await completed(database), days=40) for _ in range(2)]
    async with database.transaction() as tx:
        await tx.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR NO KEY UPDATE"), {"id": locked})
        assert await forget_jobs(database) == 1
    assert await left_of(database, locked) == (1, 1, 3)
    assert await left_of(database, free) == (0, 0, 0)
    assert await forget_jobs(database) == 1


async def test_deleting_a_batch_of_jobs_takes_two_statements_however_many_there_are(database: Database) -> None:
    for _ in range(6):
        await age(database, await completed(database), days=40)
    counter = count_statements(database)
    async with database.transaction() as tx:
        first = counter["statements"]
        before = tx.now - timedelta(days=30)
        batch = await retaining.forget_jobs(
            tx, before=before, after=retaining.FROM_THE_FIRST, limit=10, is_shown=nothing_shown
        )
    assert (batch.reached, batch.deleted) == (None, 6)
    assert counter["statements"] - first == 2


# --- the rest ---------------------------------------------------------------------------------------------------------


async def test_of_ticks_the_newest_of_each_schedule_stays(database: Database) -> None:
    for name, days in (("often", 50), ("often", 40), ("often", 1), ("rare", 90), ("rare", 60)):
        await execute(
            database,
            "INSERT INTO schedule_ticks"
            " VALUES (:name, date_trunc('day', now()) - make_interval(days => :days), uuidv7())",
            name=name,
            days=days,
        )
    async with database.transaction() as tx:
        assert await retaining.forget_ticks(tx, before=tx.now - timedelta(days=30)) == 3
    rows = await database.reader.fetch(
        "SELECT schedule_name, date_trunc('day', now())::date - tick_at::date AS days FROM schedule_ticks ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [("often", 1), ("rare", 60)]


async def test_workers_that_died_long_ago_are_forgotten_unless_they_hold_a_job(database: Database) -> None:
    claim = await running(database)

    async def forget() -> int:
        async with database.transaction() as tx:
            return await retaining.forget_workers(tx, before=tx.now - timedelta(hours=1))

    await lose_sight_of(database, seconds=3_540)
    assert await forget() == 0
    await lose_sight_of(database, seconds=120)
    assert await forget() == 0
    async with database.transaction() as tx:
        await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])
    assert await forget() == 1
    assert await database.reader.fetch("SELECT 1 FROM workers WHERE id = $1", [WORKER.id]) == []


async def test_answers_are_forgotten_when_they_count_no_more(database: Database) -> None:
    requests: Sequence[Request] = [Request(uuid4(), "publishPlan", f"key-{number}", {}) for number in range(3)]
    for number, request in enumerate(requests):
        async with database.transaction() as tx:
            await idempotency.replay(tx, request=request, now=tx.now - timedelta(hours=12 * number))
            await idempotency.remember(tx, request=request, outcome={"number": number})
    async with database.transaction() as tx:
        assert await idempotency.forget(tx, now=tx.now, limit=10) == 1
    rows = await database.reader.fetch("SELECT key FROM idempotency_keys ORDER BY key")
    assert [row["key"] for row in rows] == ["key-0", "key-1"]
