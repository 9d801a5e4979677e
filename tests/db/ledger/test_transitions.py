"""Every verb of the ledger tried on a job in every state: what is not in the table of transitions does not happen."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from db.errors import Refused
from db.ledger import commands as ledger
from db.ledger.commands import Ending, Ticket
from db.ledger.rules import (
    JOB,
    JobError,
    JobState,
    Verdict,
    decide_crash,
    decide_fault,
    decide_refusal,
    decide_release,
    decide_stop,
)
from db.session import Database, Tx
from jobs.attempt import COMPLETED
from tests.support.ledger import WORKER, execute, in_state, row_of, snapshot

S = JobState
FAULT = JobError("INTERNAL", "Something went wrong.")
Verb = Callable[[Tx, UUID], Awaitable[object]]


async def _claim(tx: Tx, job_id: UUID) -> None:
    await ledger.claim(tx, tickets=[Ticket(job_id, 0)], worker_id=WORKER.id, worker_name="w", kinds=WORKER.kinds)


async def _cancel(tx: Tx, job_id: UUID) -> None:
    await ledger.request_cancel(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)


async def _promote(tx: Tx, _: UUID) -> None:
    await ledger.promote(tx, now=tx.now + timedelta(days=1), limit=10)


async def _dispatch(tx: Tx, _: UUID) -> None:
    await ledger.beat(tx, card=WORKER, is_draining=False, now=tx.now)
    await ledger.dispatch(tx, lease=timedelta(days=1), limit=10)


async def _recall(tx: Tx, _: UUID) -> None:
    found = await ledger.unclaimed(tx, now=tx.now + timedelta(days=1), since=timedelta(seconds=5), limit=10)
    await ledger.recall(tx, tickets=found)


async def _hand_back(tx: Tx, job_id: UUID) -> None:
    await ledger.hand_back(tx, tickets=[Ticket(job_id, 0)])


def _end(verdict: Verdict) -> Verb:
    async def end(tx: Tx, job_id: UUID) -> None:
        await ledger.end_attempts(tx, endings=[Ending(job_id, 0, verdict)])

    return end


VERBS: dict[str, tuple[Verb, dict[JobState, JobState]]] = {
    "claim": (_claim, {S.QUEUED: S.RUNNING, S.DISPATCHED: S.RUNNING}),
    "cancel": (_cancel, {S.SCHEDULED: S.CANCELLED, S.QUEUED: S.CANCELLED, S.DISPATCHED: S.CANCELLED}),
    "promote": (_promote, {S.SCHEDULED: S.QUEUED}),
    "dispatch": (_dispatch, {S.QUEUED: S.DISPATCHED}),
    "recall": (_recall, {S.DISPATCHED: S.QUEUED}),
    "hand back": (_hand_back, {S.DISPATCHED: S.QUEUED}),
    "complete": (_end(COMPLETED), {S.RUNNING: S.COMPLETED}),
    "refuse": (_end(decide_refusal(error=FAULT)), {S.RUNNING: S.FAILED}),
    "stop": (_end(decide_stop()), {S.RUNNING: S.CANCELLED}),
    "fault": (
        _end(decide_fault(error=FAULT, failures=0, max_attempts=5, is_cancel_requested=False, jitter=0.5)),
        {S.RUNNING: S.SCHEDULED},
    ),
    "crash": (_end(decide_crash(crash_count=0, is_cancel_requested=False)), {S.RUNNING: S.QUEUED}),
    "third crash": (_end(decide_crash(crash_count=2, is_cancel_requested=False)), {S.RUNNING: S.QUARANTINED}),
    "release": (_end(decide_release(is_cancel_requested=False)), {S.RUNNING: S.QUEUED}),
}


def test_the_verbs_cover_the_table_of_transitions() -> None:
    made = {(before, after) for _, moves in VERBS.values() for before, after in moves.items()}
    assert made == set(JOB.edges)


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("state", sorted(S))
async def test_a_verb_makes_its_transition_or_changes_nothing(database: Database, state: S, verb: str) -> None:
    act, moves = VERBS[verb]
    job_id = await in_state(database, state)
    before = await snapshot(database)
    fence = (await row_of(database, job_id))["fence"]
    try:
        async with database.transaction() as tx:
            await act(tx, job_id)
    except Refused:
        assert state not in moves
    row = await row_of(database, job_id)
    assert row["state"] == moves.get(state, state)
    assert row["fence"] >= fence
    if state not in moves and (verb, state) != ("cancel", S.RUNNING):
        assert await snapshot(database) == before


@pytest.mark.parametrize(
    "change",
    [
        "state = 'done'",
        "state = 'running'",
        "state = 'dispatched'",
        "state = 'cancelled'",
        "state = 'completed', finished_at = now(), started_at = now()",
        "state = 'failed', finished_at = now()",
        "progress = 100",
        "progress = -1",
        "finished_at = now()",
        "worker_id = uuidv7()",
        "timeout_at = now()",
        "dispatched_at = now()",
        "result = '{}'",
        "error = '{}'",
        "cancel_reason = 'because'",
        "subject_type = 'TaskPlan'",
        "priority = 10",
        "failures = 1",
    ],
)
async def test_the_table_refuses_a_row_that_contradicts_itself(database: Database, change: str) -> None:
    await in_state(database, S.QUEUED)
    before = await snapshot(database)
    with pytest.raises(IntegrityError, match="violates check constraint"):
        await execute(database, f"UPDATE jobs SET {change}")
    assert await snapshot(database) == before
