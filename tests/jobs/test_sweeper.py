"""What is done to jobs because time has passed."""

from datetime import timedelta
from uuid import uuid4

import pytest

from db import endings
from db.endings import KINDS as RULES
from db.endings import KindRules
from db.ledger import commands as ledger
from db.ledger.jobs import Subject
from db.ledger.rules import EndedJob, JobStatus
from db.session import Database, Tx
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from tests.support.kinds import Brief, Empty, Fails, Waits
from tests.support.ledger import (
    WORKER,
    ask,
    attempts_of,
    claimed,
    dispatched,
    events_of,
    execute,
    later,
    lose_sight_of,
    row_of,
    running,
    snapshot,
    story_of,
)


@pytest.fixture
def sweeper(database: Database) -> Sweeper:
    return Sweeper(database=database, settings=WorkerSettings())


async def test_a_scheduled_job_is_queued_when_its_time_has_come(database: Database, sweeper: Sweeper) -> None:
    async with database.transaction() as tx:
        at = tx.now + timedelta(minutes=5)
    job_id = await ask(database, scheduled_at=at)
    later(database, minutes=4)
    assert await sweeper.promote() == 0
    later(database, minutes=2)
    assert await sweeper.promote() == 1
    row = await row_of(database, job_id)
    assert (row["state"], row["scheduled_at"]) == ("queued", at)


async def test_a_job_of_a_worker_that_is_gone_runs_again_elsewhere(database: Database, sweeper: Sweeper) -> None:
    claim = await running(database)
    await lose_sight_of(database, seconds=9)
    assert await sweeper.rescue() == 0
    await lose_sight_of(database, seconds=2)
    assert await sweeper.rescue() == 1
    row = await row_of(database, claim.job_id)
    assert (row["state"], row["fence"], row["crash_count"], row["failures"]) == ("queued", claim.fence + 1, 1, 0)
    assert await attempts_of(database, claim.job_id) == [(1, "LOST")]
    assert (await story_of(database, claim.job_id))[-1] == ("STATUS", "queued", 0)
    (ticket,) = await dispatched(database)
    again = await claimed(database, ticket)
    assert again is not None
    assert (again.number, again.fence) == (2, claim.fence + 2)


async def test_a_worker_without_a_row_is_gone(database: Database, sweeper: Sweeper) -> None:
    await running(database)
    async with database.transaction() as tx:
        await ledger.retire(tx, worker_id=WORKER.id)
    assert await sweeper.rescue() == 1


async def test_a_worker_that_lives_keeps_its_jobs(database: Database, sweeper: Sweeper) -> None:
    await running(database)
    before = await snapshot(database)
    assert await sweeper.rescue() == 0
    assert await snapshot(database) == before


async def test_the_third_crash_quarantines_and_settles_the_subject(
    database: Database, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    async def settle(tx: Tx, job: EndedJob, outcome: JobStatus) -> None:
        told.append((job.subject_id, outcome, job.error and job.error["code"]))

    monkeypatch.setitem(RULES, Empty.kind, KindRules(on_end=settle))
    subject = Subject("TaskPlan", uuid4(), "Week 1")
    job_id = await ask(database, subject=subject)
    for crash in (1, 2, 3):
        (ticket,) = await dispatched(database)
        assert await claimed(database, ticket) is not None
        await lose_sight_of(database)
        assert await sweeper.rescue() == 1
        assert (await row_of(database, job_id))["crash_count"] == crash
    row = await row_of(database, job_id)
    assert (row["state"], row["error"]["code"]) == ("quarantined", "QUARANTINED")
    assert row["error"]["message"] == "3 workers died or lost their lease while running this job."
    assert told == [(subject.id, "FAILED", "QUARANTINED")]
    assert await attempts_of(database, job_id) == [(1, "LOST"), (2, "LOST"), (3, "LOST")]
    assert await dispatched(database) == []


async def test_a_job_that_was_asked_to_stop_does_not_run_again(database: Database, sweeper: Sweeper) -> None:
    claim = await running(database)
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=claim.job_id, actor_id=None, reason=None, now=tx.now)
    await lose_sight_of(database)
    assert await sweeper.rescue() == 1
    row = await row_of(database, claim.job_id)
    assert (row["state"], row["fence"]) == ("cancelled", claim.fence + 1)


async def test_many_lost_jobs_are_rescued_together(database: Database, sweeper: Sweeper) -> None:
    claims = [await running(database) for _ in range(30)]
    await lose_sight_of(database)
    assert await sweeper.rescue() == 30
    assert {(await row_of(database, claim.job_id))["state"] for claim in claims} == {"queued"}


async def test_a_ticket_that_nobody_takes_is_made_anew_and_costs_nothing(database: Database, sweeper: Sweeper) -> None:
    job_id = await ask(database)
    (old,) = await dispatched(database)
    later(database, seconds=4)
    assert await sweeper.recall() == 0
    later(database, seconds=2)
    assert await sweeper.recall() == 1
    row = await row_of(database, job_id)
    assert (row["state"], row["fence"], row["attempt"], row["crash_count"]) == ("queued", 1, 0, 0)
    (new,) = await dispatched(database)
    assert await claimed(database, old) is None
    assert await claimed(database, new) is not None
    assert len(await story_of(database, job_id)) == 2


async def test_a_job_that_does_not_stop_is_taken_away(database: Database, sweeper: Sweeper) -> None:
    claim = await running(database, Waits())
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=claim.job_id, actor_id=None, reason="Enough.", now=tx.now)
    later(database, seconds=29)
    assert await sweeper.abandon() == 0
    later(database, seconds=2)
    assert await sweeper.abandon() == 1
    row = await row_of(database, claim.job_id)
    assert (row["state"], row["fence"], row["cancel_reason"]) == ("cancelled", claim.fence + 1, "Enough.")
    assert await attempts_of(database, claim.job_id) == [(1, "CANCELLED")]


async def test_a_job_far_past_its_time_is_taken_away_and_tried_again(database: Database, sweeper: Sweeper) -> None:
    claim, last = await running(database, Waits()), await running(database, Brief())
    later(database, seconds=31)
    assert await sweeper.time_out() == 1
    assert (await row_of(database, last.job_id))["error"]["code"] == "TIMEOUT"
    later(database, seconds=60)
    assert await sweeper.time_out() == 1
    row = await row_of(database, claim.job_id)
    assert (row["state"], row["fence"], row["failures"]) == ("scheduled", claim.fence + 1, 1)


async def test_one_subject_that_cannot_be_settled_does_not_keep_the_others(
    database: Database, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(tx: Tx, job: EndedJob, outcome: JobStatus) -> None:
        raise RuntimeError

    monkeypatch.setitem(RULES, Empty.kind, KindRules(on_end=fail))
    stuck, free = await running(database, Empty()), await running(database, Fails())
    await execute(database, "UPDATE jobs SET crash_count = 2")
    await lose_sight_of(database)
    assert await sweeper.rescue() == 2
    assert (await row_of(database, stuck.job_id))["state"] == "running"
    assert (await row_of(database, free.job_id))["state"] == "quarantined"


async def test_the_next_to_run_is_the_most_urgent_then_the_oldest(database: Database) -> None:
    late = await ask(database)
    urgent, usual = await ask(database), await ask(database)
    await execute(database, "UPDATE jobs SET priority = 1 WHERE id = :id", id=urgent)
    await execute(database, "UPDATE jobs SET priority = 9 WHERE id = :id", id=late)
    order = [(await dispatched(database, limit=1))[0].job_id for _ in range(3)]
    assert order == [urgent, usual, late]


async def test_a_paused_queue_waits(database: Database) -> None:
    job_id = await ask(database)
    await execute(database, "INSERT INTO queues (name, paused_at) VALUES ('default', now())")
    assert await dispatched(database) == []
    await execute(database, "DELETE FROM queues")
    assert [ticket.job_id for ticket in await dispatched(database)] == [job_id]


async def test_there_is_room_for_some_tickets_for_each_slot_of_the_workers_that_live(database: Database) -> None:
    async def room() -> int:
        """How many of 100 jobs that wait would be dispatched now; none is."""
        async with database.transaction() as tx:
            found = await ledger.dispatch(tx, lease=timedelta(seconds=10), limit=100, tickets_per_slot=3)
            await tx.rollback()
        assert found.is_held_back
        return len(found.tickets)

    for _ in range(104):
        await ask(database)
    assert await room() == 0
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
    assert await room() == 30
    await dispatched(database, limit=4)
    assert await room() == 26
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=True, now=tx.now)
    assert await room() == 0
    async with database.transaction() as tx:
        await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
    await lose_sight_of(database)
    assert await room() == 0


async def test_partitions_are_made_ahead_and_events_go_into_them(database: Database, sweeper: Sweeper) -> None:
    await sweeper.keep_house()
    job_id = await ask(database)
    tables = await database.reader.fetch(
        "SELECT tableoid::regclass::text AS part FROM job_events WHERE job_id = $1", [job_id]
    )
    parts = await database.reader.fetch(
        "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = 'partitions' AND relkind = 'r' ORDER BY 1"
    )
    week = await database.reader.fetch("SELECT to_char(now() AT TIME ZONE 'UTC', 'IYYY\"w\"IW') AS week")
    assert [row["part"] for row in tables] == [f"partitions.job_events_{week[0]['week']}"]
    assert len(parts) >= 5


async def test_events_of_a_week_that_nobody_prepared_are_kept_too(database: Database, sweeper: Sweeper) -> None:
    week = await database.reader.fetch("SELECT to_char(now() AT TIME ZONE 'UTC', 'IYYY\"w\"IW') AS week")
    await execute(database, f"DROP TABLE partitions.job_events_{week[0]['week']}")
    job_id = await ask(database)
    await sweeper.keep_house()
    assert len(await events_of(database, job_id)) == 1
