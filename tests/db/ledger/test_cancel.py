"""Cancelling: at once where nothing has begun, else a request that the worker hears."""

from uuid import uuid4

import pytest

from db import endings
from db.endings import KINDS as RULES
from db.endings import KindRules
from db.errors import Code, Refused
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.jobs import Subject
from db.ledger.rules import TERMINAL, Cancelling, EndedJob, JobState, JobStatus, job_topic, worker_topic
from db.session import Database, Tx
from tests.support.hints import heard, listening
from tests.support.kinds import Empty, Waits
from tests.support.ledger import WORKER, ask, events_of, in_state, row_of, running, snapshot, story_of


@pytest.mark.parametrize("state", [JobState.SCHEDULED, JobState.QUEUED, JobState.DISPATCHED])
async def test_what_has_not_begun_is_cancelled_at_once(database: Database, state: JobState) -> None:
    job_id, actor = await in_state(database, state), uuid4()
    async with database.transaction() as tx:
        outcome = await ledger.request_cancel(tx, job_id=job_id, actor_id=actor, reason="Not needed.", now=tx.now)
    assert outcome.how is Cancelling.AT_ONCE
    assert outcome.ended is not None
    assert (outcome.ended.id, outcome.ended.state) == (job_id, JobState.CANCELLED)
    row = await row_of(database, job_id)
    assert (row["state"], row["finished_at"], row["cancel_requested_at"]) == ("cancelled", tx.now, tx.now)
    assert (row["cancel_reason"], row["cancel_requested_by"], row["fence"]) == ("Not needed.", actor, 1)
    assert (await events_of(database, job_id))[-1]["message"] == "Not needed."


async def test_what_runs_is_asked_and_its_worker_gets_a_hint(database: Database, feed: Feed) -> None:
    claim = await running(database)
    topics = {worker_topic(WORKER.id), job_topic(claim.job_id)}
    async with listening(feed, *topics) as hints:
        async with database.transaction() as tx:
            outcome = await ledger.request_cancel(tx, job_id=claim.job_id, actor_id=None, reason="Stop.", now=tx.now)
        assert await heard(hints, topics) == topics
    assert (outcome.how, outcome.ended) == (Cancelling.ASKED, None)
    row = await row_of(database, claim.job_id)
    assert (row["state"], row["cancel_requested_at"], row["fence"]) == ("running", tx.now, claim.fence)
    assert (await story_of(database, claim.job_id))[-1] == ("STATUS", "running", 0)
    assert (await events_of(database, claim.job_id))[-1]["message"] == "It is asked to stop: Stop."


async def test_asking_again_changes_nothing(database: Database) -> None:
    claim = await running(database)
    async with database.transaction() as tx:
        await ledger.request_cancel(tx, job_id=claim.job_id, actor_id=None, reason="First.", now=tx.now)
    before = await snapshot(database)
    async with database.transaction() as tx:
        outcome = await ledger.request_cancel(tx, job_id=claim.job_id, actor_id=None, reason="Second.", now=tx.now)
    assert outcome.how is Cancelling.ASKED_BEFORE
    assert await snapshot(database) == before


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_what_has_ended_is_refused(database: Database, state: JobState) -> None:
    job_id = await in_state(database, state)
    before = await snapshot(database)
    with pytest.raises(Refused) as refused:
        async with database.transaction() as tx:
            await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    assert [(problem.code, problem.path) for problem in refused.value.problems] == [
        (Code.JOB_NOT_CANCELLABLE, ("jobId",))
    ]
    assert await snapshot(database) == before


async def test_a_job_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(Refused) as refused:
        async with database.transaction() as tx:
            await endings.cancel_job(tx, job_id=uuid4(), actor_id=None, reason=None, now=tx.now)
    assert refused.value.code is Code.NOT_FOUND


async def test_the_subject_is_settled_in_the_same_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject("TaskPlan", uuid4(), "Week 1")
    told: list[tuple[str, object]] = []

    async def lock(tx: Tx, subject_id: object) -> None:
        told.append(("lock", subject_id))

    async def settle(tx: Tx, job: EndedJob, outcome: JobStatus) -> None:
        told.append((outcome, (job.id, job.kind, job.subject_id, job.args)))

    monkeypatch.setitem(RULES, Empty.kind, KindRules(lock=lock, on_end=settle))
    job_id = await ask(database, Empty(), subject=subject)
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    assert told == [("lock", subject.id), ("CANCELLED", (job_id, "test.empty", subject.id, {}))]


async def test_a_subject_that_cannot_be_settled_keeps_its_job(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(tx: Tx, job: EndedJob, outcome: JobStatus) -> None:
        raise RuntimeError

    monkeypatch.setitem(RULES, Empty.kind, KindRules(on_end=fail))
    job_id = await ask(database)
    before = await snapshot(database)
    with pytest.raises(RuntimeError):
        async with database.transaction() as tx:
            await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    assert await snapshot(database) == before


async def test_a_newer_request_cancels_the_older_jobs_of_its_subject(database: Database) -> None:
    subject, other = Subject("TaskPlan", uuid4(), "Week 1"), Subject("TaskPlan", uuid4(), "Week 2")
    runs = (await running(database, subject=subject)).job_id
    waits = await ask(database, subject=subject)
    ended = await in_state(database, JobState.COMPLETED, subject=subject)
    elsewhere, another_kind = await ask(database, subject=other), await ask(database, Waits(), subject=subject)
    newest = await ask(database, subject=subject)
    async with database.transaction() as tx:
        outcomes = await ledger.cancel_others(
            tx, subject=subject, kind=Empty.kind, keep_job_id=newest, actor_id=None, reason="Superseded.", now=tx.now
        )
    assert {outcome.job_id: outcome.how for outcome in outcomes} == {
        runs: Cancelling.ASKED,
        waits: Cancelling.AT_ONCE,
    }
    states = {each: (await row_of(database, each))["state"] for each in (ended, elsewhere, another_kind, newest)}
    assert states == {ended: "completed", elsewhere: "queued", another_kind: "queued", newest: "queued"}
