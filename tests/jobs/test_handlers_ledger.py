"""The ledger's own work as the real runner does it: what is over goes, what is shown or lives stays."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.commands import Ending
from db.ledger.jobs import Retain
from db.session import Database
from jobs import registry
from jobs.attempt import COMPLETED
from tests.support.api import id_of
from tests.support.drain import drain
from tests.support.kinds import Talks
from tests.support.ledger import ask, execute, later, row_of, running
from tests.support.people import admin
from tests.support.plans import a_world
from tests.support.retention import age, left_of, partition_of, partitions_of, prepare_old_weeks
from tests.support.streams import stream

NOTHING = {
    "partitions_dropped": 0,
    "partitions_waiting": 0,
    "stray_events": 0,
    "jobs": 0,
    "idempotency_keys": 0,
    "ticks": 0,
    "workers": 0,
}


async def retain(database: Database) -> Any:
    """Run it as a schedule would. Its result."""
    job_id = await ask(database, Retain())
    await drain(database)
    row = await row_of(database, job_id)
    assert row["state"] == "completed", row["error"]
    return row["result"]


async def completed(database: Database, *, days: float) -> UUID:
    claim = await running(database, Talks())
    async with database.transaction() as tx:
        await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])
    return await age(database, claim.job_id, days=days)


def test_it_is_the_hourly_work_of_every_worker() -> None:
    kinds = registry.load()
    (schedule,) = [each for kind in kinds.values() for each in kind.work.recurring() if each.work == Retain()]
    assert (schedule.name, schedule.timetable.rule, schedule.timetable.time_zone) == (
        "ledger.retain",
        "17 * * * *",
        "UTC",
    )


async def test_nothing_is_deleted_before_its_time(database: Database) -> None:
    job_ids = [await completed(database, days=days) for days in (0, 5, 13)]
    before = await partitions_of(database)
    assert await retain(database) == NOTHING
    assert await partitions_of(database) == before
    assert [await left_of(database, job_id) for job_id in job_ids] == [(1, 1, 3)] * 3


async def test_events_go_before_the_jobs_and_each_at_its_own_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare_old_weeks(database)
    newer, older = await completed(database, days=25), await completed(database, days=45)
    stray = await completed(database, days=200)
    result = await retain(database)
    assert result["partitions_dropped"] >= 8
    assert {name: result[name] for name in ("partitions_waiting", "stray_events", "jobs")} == {
        "partitions_waiting": 0,
        "stray_events": 3,
        "jobs": 2,
    }
    assert await left_of(database, newer) == (1, 1, 0)
    assert [await left_of(database, job_id) for job_id in (older, stray)] == [(0, 0, 0)] * 2
    monkeypatch.setenv("RETENTION_JOBS_DAYS", "20")
    assert await retain(database) == NOTHING | {"jobs": 1}
    assert await left_of(database, newer) == (0, 0, 0)


async def test_a_week_that_is_read_all_the_while_is_left_for_the_next_hour(database: Database) -> None:
    await prepare_old_weeks(database)
    old = await completed(database, days=25)
    week = await partition_of(database, old)
    async with database.transaction() as reading:
        await reading.execute(text("SELECT count(*) FROM job_events"))
        result = await retain(database)
    assert result["partitions_dropped"] == 0
    assert result["partitions_waiting"] >= 8
    assert week in await partitions_of(database)
    assert (await retain(database))["partitions_waiting"] == 0
    assert week not in await partitions_of(database)


async def test_the_publication_that_a_plan_shows_is_kept_and_earlier_ones_are_not(database: Database) -> None:
    world = await a_world(database)
    plan_id = await world.published()
    first = (await world.plan(plan_id)).publish_job_id
    await world.publish(plan_id)
    await drain(database)
    shown = (await world.plan(plan_id)).publish_job_id
    assert shown != first
    later(database, days=400)
    await retain(database)
    rows = await database.reader.fetch("SELECT id FROM jobs WHERE kind = 'plan.publish'")
    assert [row["id"] for row in rows] == [shown]
    assert (await world.plan(plan_id)).publish_job_id == shown


async def test_a_retry_outlives_the_job_that_it_retries(database: Database) -> None:
    old = await completed(database, days=40)
    new = await completed(database, days=1)
    await execute(database, "UPDATE jobs SET retry_of = :old WHERE id = :new", old=old, new=new)
    await retain(database)
    assert await left_of(database, old) == (0, 0, 0)
    assert (await row_of(database, new))["retry_of"] == old


async def test_two_at_once_delete_each_row_once(database: Database) -> None:
    for days in (40, 41, 42):
        await completed(database, days=days)
    first, second = await ask(database, Retain()), await ask(database, Retain())
    assert first == second
    await drain(database)
    assert (await row_of(database, first))["result"]["jobs"] == 3


PROGRESS = """
subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) {
  seq type status job { retryOf { id } }
} }
"""


@pytest.mark.parametrize(("after", "cursor"), [(None, 3), (0, 0), (2, 2), (3, 3)])
async def test_a_job_whose_events_are_gone_shows_how_it_ended_and_the_stream_ends(
    database: Database, feed: Feed, after: int | None, cursor: int
) -> None:
    await prepare_old_weeks(database)
    job_id = await completed(database, days=25)
    await execute(database, "UPDATE jobs SET retry_of = uuidv7(interval '-60 days') WHERE id = :id", id=job_id)
    assert (await retain(database))["partitions_dropped"] > 0
    assert await left_of(database, job_id) == (1, 1, 0)
    async with stream(database, feed, await admin(database), PROGRESS, id=id_of("Job", job_id), after=after) as events:
        # What it retried is gone, too.
        assert await events.rest() == [
            {"seq": cursor, "type": "SNAPSHOT", "status": "COMPLETED", "job": {"retryOf": None}}
        ]
