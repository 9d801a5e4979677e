"""From a claimed job to its outcome, through the real runner."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from db.endings import KINDS as RULES
from db.endings import KindRules
from db.ledger import commands as ledger
from db.ledger.jobs import Subject, Work
from db.ledger.rules import EndedJob, JobStatus
from db.session import Database, Tx
from jobs.attempt import Attempt, Declared
from tests.support.drain import drain
from tests.support.kinds import (
    KINDS,
    Brief,
    Empty,
    Fails,
    Refuses,
    Snoozes,
    Steps,
    Superseded,
    effects_of,
    make_effects,
)
from tests.support.ledger import (
    ask,
    attempts_of,
    events_of,
    execute,
    later,
    row_of,
    story_of,
)

_INSERT = text("INSERT INTO effects VALUES (:id, 0, 0)")


async def test_a_job_writes_its_effects_and_its_end_in_one_transaction(database: Database) -> None:
    await make_effects(database)
    job_id = await ask(database, Steps(4))
    assert await drain(database, kinds=KINDS) == 1
    assert await effects_of(database, job_id) == [0, 1, 2, 3]
    row = await row_of(database, job_id)
    assert (row["state"], row["progress"], row["result"]) == ("completed", 100, {"first": 0, "attempt": 1})
    assert (row["done"], row["total"], row["step"]) == (3, 4, "Writing")
    story = await story_of(database, job_id)
    assert story[:2] == [("STATUS", "queued", 0), ("STATUS", "running", 0)]
    assert story[-1] == ("STATUS", "completed", 100)
    assert [event for event in story if event[2] == 100] == [("STATUS", "completed", 100)]
    assert await attempts_of(database, job_id) == [(1, "COMPLETED")]


async def test_faults_are_tried_five_times_with_growing_waits(database: Database) -> None:
    job_id = await ask(database, Fails())
    waits = []
    for _ in range(4):
        assert await drain(database, kinds=KINDS) == 1
        row = await row_of(database, job_id)
        assert (row["state"], row["error"]) == ("scheduled", None)
        ended_at = (await events_of(database, job_id))[-1]["at"]
        waits.append((row["scheduled_at"] - ended_at).total_seconds())
        assert await drain(database, kinds=KINDS) == 0
        later(database, seconds=waits[-1] + 1)
    assert waits == [pytest.approx(wait, rel=0.2) for wait in (2, 4, 8, 16)]
    assert await drain(database, kinds=KINDS) == 1
    row = await row_of(database, job_id)
    assert (row["state"], row["failures"], row["attempt"], row["max_attempts"]) == ("failed", 5, 5, 5)
    assert row["error"] == {"code": "INTERNAL", "message": "Something went wrong (RuntimeError).", "details": None}
    assert await attempts_of(database, job_id) == [(n, "RETRY") for n in (1, 2, 3, 4)] + [(5, "FAILED")]
    later(database, hours=1)
    assert await drain(database, kinds=KINDS) == 0


async def test_what_an_exception_says_is_told_to_nobody(database: Database) -> None:
    job_id = await ask(database, Fails())
    await drain(database, kinds=KINDS)
    told = str([await events_of(database, job_id), await row_of(database, job_id)])
    attempts = await database.reader.fetch("SELECT error FROM job_attempts")
    assert "RuntimeError" in told
    assert "swordfish" not in told + str([dict(row) for row in attempts])


async def test_a_job_that_recovers_completes(database: Database) -> None:
    job_id = await ask(database, Fails(2))
    for _ in range(3):
        await drain(database, kinds=KINDS)
        later(database, minutes=1)
    row = await row_of(database, job_id)
    assert (row["state"], row["result"], row["failures"], row["error"]) == ("completed", {"attempt": 3}, 2, None)


async def test_a_refusal_fails_at_once_and_leaves_nothing(database: Database) -> None:
    await make_effects(database)
    job_id = await ask(database, Refuses())
    assert await drain(database, kinds=KINDS) == 1
    row = await row_of(database, job_id)
    assert (row["state"], row["attempt"]) == ("failed", 1)
    assert row["error"] == {
        "code": "EMPTY_TASKS",
        "message": "Nothing to do for 2 learners.",
        "details": {"learners": 2},
    }
    assert await effects_of(database, job_id) == []
    assert await attempts_of(database, job_id) == [(1, "FAILED")]


async def test_a_snooze_waits_and_costs_no_attempt(database: Database) -> None:
    job_id = await ask(database, Snoozes())
    for _ in range(2):
        assert await drain(database, kinds=KINDS) == 1
        row = await row_of(database, job_id)
        assert (row["state"], row["failures"]) == ("scheduled", 0)
        last = (await events_of(database, job_id))[-1]
        assert last["message"] == "Waits for the store."
        assert row["scheduled_at"] == last["at"] + timedelta(seconds=60)
        later(database, seconds=61)
    assert await drain(database, kinds=KINDS) == 1
    assert (await row_of(database, job_id))["state"] == "completed"
    assert await attempts_of(database, job_id) == [(1, "SNOOZED"), (2, "SNOOZED"), (3, "COMPLETED")]


async def test_a_job_that_nobody_needs_any_more_ends_cancelled(database: Database) -> None:
    job_id = await ask(database, Superseded())
    await drain(database, kinds=KINDS)
    assert (await row_of(database, job_id))["state"] == "cancelled"
    assert (await events_of(database, job_id))[-1]["message"] == "A newer request supersedes this one."


async def test_arguments_that_todays_code_cannot_read_fail_at_once(database: Database) -> None:
    job_id = await ask(database, Steps(1))
    await execute(database, 'UPDATE jobs SET args = \'{"steps": "many"}\'')
    await drain(database, kinds=KINDS)
    row = await row_of(database, job_id)
    assert (row["state"], row["error"]["code"]) == ("failed", "BAD_ARGUMENTS")


async def test_arguments_of_an_unknown_version_fail_at_once(database: Database) -> None:
    job_id = await ask(database, Steps(1))
    await execute(database, "UPDATE jobs SET args_version = 2")
    await drain(database, kinds=KINDS)
    assert (await row_of(database, job_id))["error"]["code"] == "BAD_ARGUMENTS"


async def test_a_result_that_is_no_json_is_a_fault(database: Database) -> None:
    async def answer(attempt: Attempt, work: Empty) -> dict[str, object]:
        return {"what": object()}

    job_id = await ask(database)
    await drain(database, kinds={Empty.kind: Declared(Empty, answer)})
    row = await row_of(database, job_id)
    assert (row["state"], row["failures"]) == ("scheduled", 1)


async def test_a_handler_that_cancels_itself_has_failed(database: Database) -> None:
    async def give_up(attempt: Attempt, work: Empty) -> None:
        raise asyncio.CancelledError

    job_id = await ask(database)
    await drain(database, kinds={Empty.kind: Declared(Empty, give_up)})
    assert await attempts_of(database, job_id) == [(1, "RETRY")]


async def test_a_handler_has_only_so_much_time(database: Database) -> None:
    job_id = await ask(database, Brief(is_polite=False))
    await drain(database, kinds=KINDS)
    row = await row_of(database, job_id)
    assert (row["state"], row["error"]["code"]) == ("failed", "TIMEOUT")
    assert row["error"]["message"] == "It took longer than 1 s."


@pytest.mark.parametrize(
    ("work", "outcome"),
    [(Refuses(), "FAILED"), (Superseded(), "CANCELLED"), (Brief(is_polite=False), "FAILED")],
    ids=["refused", "superseded", "attempts used up"],
)
async def test_a_job_that_ends_badly_settles_its_subject_in_the_same_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch, work: Work, outcome: str
) -> None:
    await make_effects(database)
    subject = Subject("TaskPlan", uuid4(), "Week 1")

    async def settle(tx: Tx, job: EndedJob, status: JobStatus) -> None:
        await tx.execute(_INSERT, {"id": job.subject_id})
        seen.append((job.id, status, job.error and job.error["code"]))

    seen: list[object] = []
    monkeypatch.setitem(RULES, work.kind, KindRules(on_end=settle))
    job_id = await ask(database, work, subject=subject)
    await drain(database, kinds=KINDS)
    row = await row_of(database, job_id)
    assert seen == [(job_id, outcome, row["error"] and row["error"]["code"])]
    assert await effects_of(database, subject.id) == [0]


async def test_a_subject_that_cannot_be_settled_now_is_settled_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.runner.runner.WRITE_AGAIN_SECONDS", 0.01)
    calls: list[EndedJob] = []

    async def settle(tx: Tx, job: EndedJob, status: JobStatus) -> None:
        calls.append(job)
        if len(calls) < 3:
            raise RuntimeError

    await make_effects(database)
    monkeypatch.setitem(RULES, Refuses.kind, KindRules(on_end=settle))
    job_id = await ask(database, Refuses())
    await drain(database, kinds=KINDS)
    assert len(calls) == 3
    assert (await row_of(database, job_id))["state"] == "failed"
    assert len(await events_of(database, job_id)) == 3


async def test_a_job_that_completes_needs_no_hook_and_no_lock(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settle(tx: Tx, job: EndedJob, status: JobStatus) -> None:
        raise AssertionError("not for jobs that complete")

    async def lock(tx: Tx, subject_id: UUID) -> None:
        locked.append(subject_id)

    locked: list[UUID] = []
    subject = Subject("TaskPlan", uuid4(), "Week 1")
    monkeypatch.setitem(RULES, Empty.kind, KindRules(lock=lock, on_end=settle))
    job_ids = [await ask(database, subject=subject) for _ in range(3)]
    await drain(database, kinds=KINDS)
    assert [(await row_of(database, job_id))["state"] for job_id in job_ids] == ["completed"] * 3
    # Each of these would be a transaction of its own, and keep whoever writes the subject waiting.
    assert locked == []


async def test_a_job_may_ask_for_more_work_in_its_transactions(database: Database) -> None:
    async def more(attempt: Attempt, work: Steps) -> None:
        async with attempt.completing() as end:
            if work.steps > 0:
                await ledger.enqueue(end.tx, work=Steps(work.steps - 1), actor_id=attempt.actor_id)

    await ask(database, Steps(3))
    assert await drain(database, kinds={Steps.kind: Declared(Steps, more)}) == 4


async def test_the_idempotency_key_is_the_same_in_every_attempt(database: Database) -> None:
    keys: list[str] = []

    async def call(attempt: Attempt, work: Empty) -> None:
        keys.append(attempt.idempotency_key("invoice"))
        if attempt.number == 1:
            raise RuntimeError

    job_id = await ask(database)
    await drain(database, kinds={Empty.kind: Declared(Empty, call)})
    later(database, minutes=1)
    await drain(database, kinds={Empty.kind: Declared(Empty, call)})
    assert keys == [f"{job_id}:invoice"] * 2
