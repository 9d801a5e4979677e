"""retryJob makes a new job; what has ended stays as it ended."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from db import endings
from db.endings import KINDS as RULES
from db.endings import KindRules, Retried
from db.errors import Code, Refused, refuse
from db.ledger.jobs import Subject
from db.ledger.rules import LIVE, JobState
from db.session import Database, Tx
from tests.support.kinds import Empty, Steps, Unique
from tests.support.ledger import ask, events_of, execute, in_state, row_of, snapshot


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED])
async def test_a_retry_is_a_new_job_of_the_same_kind_arguments_and_subject(database: Database, state: JobState) -> None:
    subject, actor = Subject("TaskPlan", uuid4(), "Week 1"), uuid4()
    old_id = await in_state(database, state, Steps(7), subject=subject, actor_id=uuid4())
    old = await row_of(database, old_id)
    async with database.transaction() as tx:
        new_id = await endings.retry_job(tx, job_id=old_id, actor_id=actor, now=tx.now)
    new = await row_of(database, new_id)
    same = ("kind", "queue", "args", "args_version", "priority", "subject_type", "subject_id", "subject_label")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert (new["state"], new["retry_of"], new["actor_id"], new["attempt"], new["failures"]) == (
        "queued",
        old_id,
        actor,
        0,
        0,
    )
    assert len(await events_of(database, new_id)) == 1
    assert await row_of(database, old_id) == old


@pytest.mark.parametrize("state", [*sorted(LIVE), JobState.COMPLETED])
async def test_only_what_failed_or_was_cancelled_is_done_again(database: Database, state: JobState) -> None:
    job_id = await in_state(database, state)
    before = await snapshot(database)
    with pytest.raises(Refused) as refused:
        async with database.transaction() as tx:
            await endings.retry_job(tx, job_id=job_id, actor_id=None, now=tx.now)
    assert refused.value.code is Code.JOB_NOT_RETRYABLE
    assert await snapshot(database) == before


async def test_one_live_successor_at_a_time(database: Database) -> None:
    old = await in_state(database, JobState.FAILED)
    async with database.transaction() as tx:
        first = await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)
    before = await snapshot(database)
    with pytest.raises(Refused, match="being tried again already"):
        async with database.transaction() as tx:
            await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)
    assert await snapshot(database) == before
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=first, actor_id=None, reason=None, now=tx.now)
        second = await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)
    assert (await row_of(database, second))["retry_of"] == old


async def test_the_table_itself_holds_a_job_to_one_live_successor(database: Database) -> None:
    old = await in_state(database, JobState.FAILED)
    await execute(database, "UPDATE jobs SET retry_of = :old WHERE id = :id", old=old, id=await ask(database))
    another = await ask(database)
    with pytest.raises(IntegrityError, match="uq_jobs_live_retry"):
        await execute(database, "UPDATE jobs SET retry_of = :old WHERE id = :id", old=old, id=another)


async def test_a_retry_is_refused_while_another_job_does_the_same_work(database: Database) -> None:
    old = await in_state(database, JobState.FAILED, Unique())
    await ask(database, Unique())
    before = await snapshot(database)
    with pytest.raises(Refused, match="does the same work"):
        async with database.transaction() as tx:
            await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)
    assert await snapshot(database) == before


async def test_the_kind_moves_the_subjects_pointer_or_refuses(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject("TaskPlan", uuid4(), "Week 1")
    old = await in_state(database, JobState.FAILED, subject=subject)
    moved: list[Retried] = []

    async def move(tx: Tx, retried: Retried) -> None:
        if moved:
            raise refuse(Code.PLAN_WITHDRAWN, "The plan is withdrawn.")
        moved.append(retried)

    monkeypatch.setitem(RULES, Empty.kind, KindRules(on_retry=move))
    async with database.transaction() as tx:
        new = await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)
    assert [(each.old_job_id, each.new_job_id, each.subject_id, each.kind) for each in moved] == [
        (old, new, subject.id, "test.empty")
    ]
    await execute(database, "UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = :id", id=new)
    before = await snapshot(database)
    with pytest.raises(Refused, match="withdrawn"):
        async with database.transaction() as tx:
            await endings.retry_job(tx, job_id=old, actor_id=None, now=tx.now)
    assert await snapshot(database) == before
