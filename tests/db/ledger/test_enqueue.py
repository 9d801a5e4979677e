"""A job exists if and only if the transaction that asked for it committed."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.jobs import Subject
from db.ledger.rules import TERMINAL, WORK_IS_DUE, JobState, job_topic
from db.session import Database
from tests.support.kinds import Steps, Unique
from tests.support.ledger import ask, dispatched, events_of, execute, in_state, row_of, snapshot


async def test_a_job_is_there_with_its_first_event_when_its_transaction_has_committed(database: Database) -> None:
    actor, subject = uuid4(), Subject("TaskPlan", uuid4(), "Week 1")
    async with database.transaction() as tx:
        now = tx.now
        asked = await ledger.enqueue(tx, work=Steps(3), actor_id=actor, subject=subject)
        assert await database.reader.fetch("SELECT 1 FROM jobs") == []
    assert asked.created
    row = await row_of(database, asked.job_id)
    assert (row["kind"], row["args"], row["args_version"]) == ("test.steps", {"steps": 3, "pause_seconds": 0.0}, 1)
    assert (row["state"], row["attempt"], row["fence"], row["progress"], row["last_seq"]) == ("queued", 0, 0, 0, 1)
    assert (row["subject_type"], row["subject_id"], row["subject_label"]) == ("TaskPlan", subject.id, "Week 1")
    assert (row["actor_id"], row["enqueued_at"], row["scheduled_at"]) == (actor, now, now)
    (event,) = await events_of(database, asked.job_id)
    assert (event["seq"], event["type"], event["state"], event["at"]) == (1, "STATUS", "queued", now)


async def test_a_job_whose_transaction_rolled_back_never_was(database: Database) -> None:
    async def ask_and_fail() -> None:
        async with database.transaction() as tx:
            await ledger.enqueue(tx, work=Steps(3), actor_id=None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await ask_and_fail()
    assert await snapshot(database) == []


async def test_a_job_may_wait_for_its_time(database: Database) -> None:
    async with database.transaction() as tx:
        at = tx.now + timedelta(hours=1)
    job_id = await ask(database, scheduled_at=at)
    row = await row_of(database, job_id)
    assert (row["state"], row["scheduled_at"]) == ("scheduled", at)
    assert await dispatched(database) == []


async def test_a_time_that_has_passed_is_now(database: Database) -> None:
    async with database.transaction() as tx:
        past = tx.now - timedelta(hours=1)
    row = await row_of(database, await ask(database, scheduled_at=past))
    assert row["state"] == "queued"
    assert row["scheduled_at"] == row["enqueued_at"]


async def test_who_asks_for_the_same_again_gets_the_job_that_is_there(database: Database) -> None:
    first = await ask(database, Unique())
    async with database.transaction() as tx:
        again = await ledger.enqueue(tx, work=Unique(), actor_id=None)
        other = await ledger.enqueue(tx, work=Unique("two"), actor_id=None)
    assert (again.job_id, again.created) == (first, False)
    assert other.created
    assert len(await events_of(database, first)) == 1


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_key_is_free_again_when_its_job_has_ended(database: Database, state: JobState) -> None:
    ended = await in_state(database, state, Unique())
    assert await ask(database, Unique()) != ended


async def test_the_table_itself_holds_a_key_to_one_live_job(database: Database) -> None:
    await ask(database, Unique())
    before = await snapshot(database)
    with pytest.raises(IntegrityError, match="uq_jobs_unique_key"):
        await execute(
            database,
            """
            INSERT INTO jobs (kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds,
                enqueued_at, scheduled_at, last_seq, unique_key)
            SELECT kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds,
                enqueued_at, scheduled_at, last_seq, unique_key FROM jobs
            """,
        )
    assert await snapshot(database) == before


async def test_the_hint_comes_after_the_commit(database: Database, feed: Feed) -> None:
    async with feed.listen(WORK_IS_DUE) as hints:
        await hints.wait(1)
        async with database.transaction() as tx:
            asked = await ledger.enqueue(tx, work=Steps(1), actor_id=None)
            assert await hints.wait(0.05) == frozenset()
        assert await hints.wait(5) == {WORK_IS_DUE}
    assert job_topic(asked.job_id) in tx.hints
