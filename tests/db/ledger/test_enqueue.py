"""A job exists if and only if the transaction that asked for it committed."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.jobs import Subject
from db.ledger.rules import TERMINAL, WORK_IS_DUE, JobState, job_topic
from db.session import Database, count_statements
from tests.support.hints import heard, listening
from tests.support.kinds import Empty, Steps, Unique
from tests.support.ledger import ask, dispatched, events_of, execute, in_state, row_of, snapshot, story_of


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
    async with listening(feed, WORK_IS_DUE) as hints:
        async with database.transaction() as tx:
            asked = await ledger.enqueue(tx, work=Steps(1), actor_id=None)
            assert await hints.wait(0.05) == frozenset()
        assert await heard(hints, {WORK_IS_DUE}) == {WORK_IS_DUE}
    assert job_topic(asked.job_id) in tx.hints


async def test_many_are_asked_for_in_one_statement_and_each_has_its_own_answer(database: Database) -> None:
    first = await ask(database, Unique("a"))
    async with database.transaction() as tx:
        counter = count_statements(database)
        later_today = tx.now + timedelta(hours=1)
        asked = [
            ledger.Asked(Steps(3)),
            ledger.Asked(Unique("a")),
            ledger.Asked(Empty(), scheduled_at=later_today),
            ledger.Asked(Unique("b")),
            ledger.Asked(Unique("b")),
        ]
        answers = await ledger.enqueue_many(tx, asked=asked, actor_id=None)
        # One that makes, and one for each whose key is taken.
        assert counter["statements"] == 3
    assert [answer.created for answer in answers] == [True, False, True, True, False]
    assert answers[1].job_id == first
    assert answers[3].job_id == answers[4].job_id
    rows = [await row_of(database, answer.job_id) for answer in answers]
    assert [row["kind"] for row in rows] == ["test.steps", "test.unique", "test.empty", "test.unique", "test.unique"]
    assert [row["state"] for row in rows] == ["queued", "queued", "scheduled", "queued", "queued"]
    assert rows[0]["args"] == {"steps": 3, "pause_seconds": 0.0}
    assert rows[2]["scheduled_at"] == later_today
    assert sorted([answers[0].job_id, answers[2].job_id, answers[3].job_id]) == [
        answers[0].job_id,
        answers[2].job_id,
        answers[3].job_id,
    ]
    for answer in answers:
        assert (await story_of(database, answer.job_id))[0][0] == "STATUS"
