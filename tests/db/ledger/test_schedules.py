"""Schedules in the table: declared by the code, ticked once however many tick."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from db.ledger import commands as ledger
from db.ledger.commands import scheduling
from db.ledger.jobs import Recurring, Timetable, Work
from db.session import Database
from tests.support.ledger import WORKER, execute, snapshot

LEASE = timedelta(seconds=10)


@dataclass(frozen=True)
class Note(Work):
    kind: ClassVar[str] = "test.note"
    text: str = "again"


@dataclass(frozen=True)
class Only(Note):
    kind: ClassVar[str] = "test.only"

    def unique_key(self) -> str:
        return "one"


def every(interval: str, work: Work | None = None, name: str = "notes") -> Recurring:
    return Recurring(name, Timetable(f"@every {interval}"), work or Note())


async def declare(database: Database, *recurring: Recurring) -> None:
    async with database.transaction() as tx:
        await scheduling.declare_schedules(tx, recurring=recurring, now=tx.now)


async def stop_others(database: Database, *recurring: Recurring, kinds: Sequence[str]) -> list[str]:
    async with database.transaction() as tx:
        stopped = await scheduling.stop_schedules(tx, recurring=recurring, kinds=kinds, lease=LEASE, now=tx.now)
    return sorted(stopped)


async def lead(database: Database) -> int:
    async with database.transaction() as tx:
        return await scheduling.take_lead(tx, worker_id=uuid4(), worker_name="a worker", now=tx.now)


async def tick(database: Database, recurring: Recurring, epoch: int) -> UUID | None:
    async with database.transaction() as tx:
        return await scheduling.tick(tx, recurring=recurring, epoch=epoch, now=tx.now)


async def make_due(database: Database, ago: timedelta = timedelta(0), name: str = "notes") -> datetime:
    """Let the next tick have been due so long ago. When that was."""
    at = datetime.now(UTC).replace(microsecond=0) - ago
    await execute(database, "UPDATE schedules SET next_tick_at = :at WHERE name = :name", at=at, name=name)
    return at


async def schedule(database: Database, name: str = "notes") -> Mapping[str, Any]:
    rows = await database.reader.fetch("SELECT *, xmin::text FROM schedules WHERE name = $1", [name])
    return dict(rows[0])


async def ticks(database: Database) -> list[tuple[datetime, UUID]]:
    rows = await database.reader.fetch("SELECT tick_at, job_id FROM schedule_ticks ORDER BY tick_at")
    return [(row["tick_at"], row["job_id"]) for row in rows]


async def jobs(database: Database) -> list[UUID]:
    return [row["id"] for row in await database.reader.fetch("SELECT id FROM jobs ORDER BY id")]


async def now_of(database: Database) -> datetime:
    async with database.transaction() as tx:
        return tx.now


async def test_a_new_schedule_waits_for_its_next_time(database: Database) -> None:
    before = await now_of(database)
    await declare(database, every("1h"))
    row = await schedule(database)
    assert (row["kind"], row["args"], row["rule"], row["time_zone"]) == (
        "test.note",
        {"text": "again"},
        "@every 1h",
        "UTC",
    )
    assert row["last_tick_at"] is None
    assert row["next_tick_at"] == every("1h").timetable.after(before)


async def test_what_is_declared_again_unchanged_is_not_written(database: Database) -> None:
    await declare(database, every("1h"))
    await make_due(database, timedelta(hours=5))
    before = await schedule(database)
    await declare(database, every("1h"))
    assert await schedule(database) == before


async def test_other_arguments_keep_the_time_and_another_rule_has_its_own(database: Database) -> None:
    await declare(database, every("1h"))
    due = await make_due(database, timedelta(hours=5))
    await declare(database, every("1h", Note("other")))
    assert (await schedule(database))["next_tick_at"] == due
    assert (await schedule(database))["args"] == {"text": "other"}
    before = await now_of(database)
    await declare(database, every("2d", Note("other")))
    assert (await schedule(database))["next_tick_at"] == every("2d").timetable.after(before)


async def test_a_schedule_that_the_code_has_no_more_stops_and_stays(database: Database) -> None:
    await declare(database, every("1h"), every("1h", name="others"))
    await declare(database, every("1h", name="others"))
    assert (await schedule(database))["next_tick_at"] is not None
    # A worker of the same code lives too.
    async with database.transaction() as tx:
        await ledger.beat(tx, card=replace(WORKER, kinds=["test.note"]), is_draining=False, now=tx.now)
    assert await stop_others(database, every("1h", name="others"), kinds=["test.note"]) == ["notes"]
    assert (await schedule(database))["next_tick_at"] is None
    assert (await schedule(database, "others"))["next_tick_at"] is not None
    epoch = await lead(database)
    assert await tick(database, every("1h"), epoch) is None
    assert await jobs(database) == []
    # Back again, it does not make up for the time that it was not wanted.
    before = await now_of(database)
    await declare(database, every("1h"), every("1h", name="others"))
    assert (await schedule(database))["next_tick_at"] == every("1h").timetable.after(before)


async def test_a_schedule_whose_kind_a_worker_of_other_code_knows_goes_on_while_that_lives(database: Database) -> None:
    await declare(database, every("1h"), every("1h", Only(), name="only"))
    newer = replace(WORKER, kinds=["test.note", "test.only"])
    async with database.transaction() as tx:
        await ledger.beat(tx, card=newer, is_draining=False, now=tx.now)
    assert await stop_others(database, every("1h"), kinds=["test.note"]) == []
    assert (await schedule(database, "only"))["next_tick_at"] is not None
    database.clock.shift += LEASE + timedelta(seconds=1)
    assert await stop_others(database, every("1h"), kinds=["test.note"]) == ["only"]
    assert (await schedule(database))["next_tick_at"] is not None


async def test_a_tick_is_a_job_and_the_next_time_in_one_transaction(database: Database) -> None:
    await declare(database, every("1h"))
    epoch = await lead(database)
    assert await tick(database, every("1h"), epoch) is None
    now = await now_of(database)
    await make_due(database, timedelta(hours=2))
    job_id = await tick(database, every("1h"), epoch)
    newest = every("1h").timetable.after(now - timedelta(hours=1))
    assert job_id is not None
    assert await ticks(database) == [(newest, job_id)]
    row = await schedule(database)
    assert (row["last_tick_at"], row["next_tick_at"]) == (newest, newest + timedelta(hours=1))
    (job,) = await database.reader.fetch("SELECT * FROM jobs")
    assert (job["id"], job["kind"], job["args"], job["actor_id"]) == (job_id, "test.note", {"text": "again"}, None)
    assert await tick(database, every("1h"), epoch) is None
    assert await jobs(database) == [job_id]


async def test_of_a_thousand_missed_ticks_one_is_made_up_for(database: Database) -> None:
    await declare(database, every("10m"))
    epoch = await lead(database)
    await make_due(database, timedelta(days=7))
    assert await tick(database, every("10m"), epoch) is not None
    assert await tick(database, every("10m"), epoch) is None
    ((at, _),) = await ticks(database)
    assert timedelta(0) <= await now_of(database) - at < timedelta(minutes=10, seconds=1)


async def test_any_number_that_tick_at_once_make_one_job(database: Database) -> None:
    await declare(database, every("1h"))
    epoch = await lead(database)
    for _ in range(5):
        made_before = len(await jobs(database))
        await execute(database, "DELETE FROM schedule_ticks")
        await make_due(database)
        made = await asyncio.gather(*[tick(database, every("1h"), epoch) for _ in range(8)])
        assert len([each for each in made if each is not None]) == 1
        assert len(await jobs(database)) == made_before + 1
        assert len(await ticks(database)) == 1


async def test_a_tick_that_was_made_once_is_never_made_again(database: Database) -> None:
    await declare(database, every("1h"))
    epoch = await lead(database)
    due = await make_due(database, timedelta(hours=3))
    job_id = await tick(database, every("1h"), epoch)
    # Somebody has put the schedule back.
    await execute(database, "UPDATE schedules SET next_tick_at = :due", due=due)
    assert await tick(database, every("1h"), epoch) is None
    assert await jobs(database) == [job_id]
    assert (await schedule(database))["next_tick_at"] > await now_of(database)


async def test_whoever_led_before_ticks_no_more(database: Database) -> None:
    await declare(database, every("1h"))
    old, new = await lead(database), await lead(database)
    assert new == old + 1
    await make_due(database)
    before = await schedule(database), await snapshot(database)
    assert await tick(database, every("1h"), old) is None
    after = await schedule(database), await snapshot(database)
    assert after[0]["next_tick_at"] == before[0]["next_tick_at"]
    assert after[1] == before[1] == []
    assert await tick(database, every("1h"), new) is not None


async def test_a_tick_that_does_not_commit_has_not_been(database: Database) -> None:
    await declare(database, every("1h"))
    epoch = await lead(database)
    due = await make_due(database)

    async def die_after_the_tick() -> None:
        async with database.transaction() as tx:
            assert await scheduling.tick(tx, recurring=every("1h"), epoch=epoch, now=tx.now) is not None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die_after_the_tick()
    assert (await schedule(database))["next_tick_at"] == due
    assert await ticks(database) == []
    assert await jobs(database) == []
    assert await tick(database, every("1h"), epoch) is not None


async def test_the_key_of_the_table_holds_one_job_to_a_tick(database: Database) -> None:
    await declare(database, every("1h"))
    epoch = await lead(database)
    await make_due(database)
    await tick(database, every("1h"), epoch)
    ((at, job_id),) = await ticks(database)
    with pytest.raises(DBAPIError, match="pk_schedule_ticks"):
        await execute(database, "INSERT INTO schedule_ticks VALUES ('notes', :at, uuidv7())", at=at)
    assert await ticks(database) == [(at, job_id)]


async def test_work_that_still_runs_is_the_next_ticks_too_where_it_has_a_unique_key(database: Database) -> None:
    await declare(database, every("1s", Only()))
    epoch = await lead(database)
    await make_due(database, timedelta(seconds=9))
    first = await tick(database, every("1s", Only()), epoch)
    await execute(database, "UPDATE schedule_ticks SET tick_at = tick_at - interval '1 minute'")
    await make_due(database)
    assert await tick(database, every("1s", Only()), epoch) == first
    assert await jobs(database) == [first]
    assert [job_id for _, job_id in await ticks(database)] == [first, first]


async def test_a_rule_of_another_version_is_left_alone(database: Database) -> None:
    await declare(database, every("1h"))
    epoch = await lead(database)
    due = await make_due(database)
    await execute(database, "UPDATE schedules SET rule = '@sunrise'")
    with pytest.raises(ValueError, match="@sunrise"):
        await tick(database, every("1h"), epoch)
    assert (await schedule(database))["next_tick_at"] == due
    assert await jobs(database) == []
