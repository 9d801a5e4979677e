"""What people ask of the ledger: a job, its cancellation, another try."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from db import tracing
from db.compiled import Write
from db.errors import Code, refuse
from db.ledger.commands.telling import as_json, ended_job, telling
from db.ledger.jobs import Subject, Work
from db.ledger.rules import (
    TERMINAL,
    WORK_IS_DUE,
    Cancelling,
    EndedJob,
    JobState,
    decide_cancel,
    decide_retry,
    job_topic,
    worker_topic,
)
from db.session import Tx


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The job that will do the work. `created` is False where one of the same unique key was waiting or running."""

    job_id: UUID
    created: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A piece of work to ask for, the thing it is for, and when it may begin (None: at once)."""

    work: Work
    subject: Subject | None = None
    scheduled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """What a request to cancel did. `ended` is the job where it was cancelled at once."""

    job_id: UUID
    how: Cancelling
    ended: EndedJob | None


_COLUMNS = """
    kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, enqueued_at, scheduled_at,
    last_seq, unique_key, concurrency_key, subject_type, subject_id, subject_label, actor_id, retry_of,
    trace_context
"""
_UNLESS_LIVE = """
    ON CONFLICT (kind, unique_key)
        WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'dispatched', 'running')
        DO NOTHING
    RETURNING id, state, enqueued_at
"""
_TOLD = """
    INSERT INTO job_events (job_id, seq, at, type, state, progress, attempt)
    SELECT id, 1, enqueued_at, 'STATUS', state, 0, 0 FROM made
"""


def _making(statement: str) -> str:
    return statement.replace("$columns", _COLUMNS).replace("$unless_live", _UNLESS_LIVE).replace("$told", _TOLD)


_ENQUEUE = Write(
    _making("""
WITH made AS (
    INSERT INTO jobs ($columns) VALUES (
        :kind, :queue, :state, :priority, :args, :args_version, :max_attempts, :timeout_seconds, $now,
        CAST(:scheduled_at AS timestamptz), 1, :unique_key, :concurrency_key, :subject_type,
        CAST(:subject_id AS uuid), :subject_label, CAST(:actor_id AS uuid), CAST(:retry_of AS uuid),
        :trace_context
    )
    $unless_live
)
$told RETURNING job_id AS id
"""),
    as_json("args"),
)

# The ids are made here, so that they grow with the places in the caller's list.
_ENQUEUE_MANY = Write(
    _making("""
WITH asked AS MATERIALIZED (
    SELECT uuidv7() AS id, work.* FROM jsonb_to_recordset(:works) AS work (
        place integer, kind text, queue text, state text, priority smallint, args jsonb, args_version integer,
        max_attempts integer, timeout_seconds integer, scheduled_at timestamptz, unique_key text, concurrency_key text,
        subject_type text, subject_id uuid, subject_label text, actor_id uuid, trace_context text
    ) ORDER BY place
),
made AS (
    INSERT INTO jobs (id, $columns) SELECT
        id, kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, $now, scheduled_at, 1,
        unique_key, concurrency_key, subject_type, subject_id, subject_label, actor_id, NULL, trace_context
    FROM asked
    $unless_live
),
told AS ($told)
SELECT asked.id, asked.place FROM asked JOIN made ON made.id = asked.id
"""),
    as_json("works"),
)

_SAME_WORK = text("""
SELECT id FROM jobs
WHERE kind = :kind AND unique_key = :unique_key AND state IN ('scheduled', 'queued', 'dispatched', 'running')
""")

# A new job like the old one. Its key may be taken by a third: then nothing is made.
_SUCCESSOR = Write(
    _making("""
WITH made AS (
    INSERT INTO jobs ($columns) SELECT
        kind, queue, 'queued', priority, args, args_version, max_attempts, timeout_seconds, $now, $now, 1,
        unique_key, concurrency_key, subject_type, subject_id, subject_label, CAST(:actor_id AS uuid), id,
        CAST(:trace_context AS text)
    FROM jobs WHERE id = :job_id
    $unless_live
)
$told RETURNING job_id AS id
""")
)

_LOCK = text("""
SELECT state, cancel_requested_at, worker_id, kind, queue, trace_context FROM jobs
WHERE id = :job_id FOR NO KEY UPDATE
""")

_HAS_LIVE_SUCCESSOR = text("""
SELECT EXISTS (
    SELECT FROM jobs WHERE retry_of = :job_id AND state IN ('scheduled', 'queued', 'dispatched', 'running')
)
""")

_CANCEL_WAITING = telling("""
moved AS (
    UPDATE jobs SET
        state = 'cancelled', fence = fence + 1, last_seq = last_seq + 1, dispatched_at = NULL,
        finished_at = $now, cancel_requested_at = $now,
        cancel_requested_by = CAST(:actor_id AS uuid), cancel_reason = :reason
    WHERE id = :job_id AND state IN ('scheduled', 'queued', 'dispatched')
    RETURNING id, kind, state, args, subject_type, subject_id, actor_id, error, finished_at,
        last_seq, progress, step, done, total, attempt, coalesce(cancel_reason, 'Cancelled before it began.') AS message
)
""")

_ASK_RUNNING = telling("""
moved AS (
    UPDATE jobs SET
        last_seq = last_seq + 1, cancel_requested_at = $now,
        cancel_requested_by = CAST(:actor_id AS uuid), cancel_reason = :reason
    WHERE id = :job_id AND state = 'running' AND cancel_requested_at IS NULL
    RETURNING id, state, args, error, last_seq, progress, step, done, total, attempt,
        coalesce('It is asked to stop: ' || cancel_reason, 'It is asked to stop.') AS message
)
""")

_OTHERS = text("""
SELECT id FROM jobs
WHERE kind = :kind AND subject_type = :subject_type AND subject_id = :subject_id AND id <> :keep_job_id
    AND state IN ('scheduled', 'queued', 'dispatched', 'running')
ORDER BY id
""")


async def enqueue(
    tx: Tx,
    *,
    work: Work,
    actor_id: UUID | None,
    subject: Subject | None = None,
    scheduled_at: datetime | None = None,
    retry_of: UUID | None = None,
) -> Enqueued:
    """Ask for work. It exists if this transaction commits, and a worker starts it then, or at `scheduled_at`.

    Where the work has a unique key and a job of that key waits or runs, that job is the answer. `actor_id` None: the
    system asks.
    """
    with tracing.asking(kinds=[work.kind], queues=[work.queue]) as span:
        values = _stored(tx, Asked(work, subject, scheduled_at), actor_id) | {"retry_of": retry_of}
        while True:
            made = await tx.fetch(_ENQUEUE, values)
            if made:
                job_id = made[0]["id"]
                tx.hint(WORK_IS_DUE, job_topic(job_id))
                tracing.asked(span, job_id=job_id)
                return Enqueued(job_id, created=True)
            same = await _same_work(tx, work)
            if same is not None:
                tracing.asked(span, job_id=same.job_id, is_known=True)
                return same


async def enqueue_many(tx: Tx, *, asked: Sequence[Asked], actor_id: UUID | None) -> list[Enqueued]:
    """Ask for many pieces of work in one statement. The answers are in their order, each as `enqueue` gives it."""
    answers: dict[int, Enqueued] = {}
    kinds, queues = {each.work.kind for each in asked}, {each.work.queue for each in asked}
    with tracing.asking(kinds=kinds, queues=queues, count=len(asked)):
        while left := [place for place in range(len(asked)) if place not in answers]:
            works = [_stored(tx, asked[place], actor_id) | {"place": place} for place in left]
            for row in await tx.fetch(_ENQUEUE_MANY, {"works": works}):
                answers[row["place"]] = Enqueued(row["id"], created=True)
                tx.hint(WORK_IS_DUE, job_topic(row["id"]))
            for place in left:
                if place not in answers and (same := await _same_work(tx, asked[place].work)) is not None:
                    answers[place] = same
    return [answers[place] for place in range(len(asked))]


async def _same_work(tx: Tx, work: Work) -> Enqueued | None:
    # It may have ended since we tried; then there is room for ours.
    found = await tx.execute(_SAME_WORK, {"kind": work.kind, "unique_key": work.unique_key()})
    same: UUID | None = found.scalar()
    return None if same is None else Enqueued(same, created=False)


def _stored(tx: Tx, asked: Asked, actor_id: UUID | None) -> dict[str, Any]:
    work, subject = asked.work, asked.subject
    at = tx.now if asked.scheduled_at is None else max(asked.scheduled_at, tx.now)
    return {
        "kind": work.kind,
        "queue": work.queue,
        "state": JobState.QUEUED if at == tx.now else JobState.SCHEDULED,
        "priority": work.priority,
        "args": work.stored(),
        "args_version": work.args_version,
        "max_attempts": work.max_attempts,
        "timeout_seconds": work.timeout_seconds,
        "scheduled_at": at,
        "unique_key": work.unique_key(),
        "concurrency_key": work.concurrency_key(),
        "subject_type": subject and subject.type,
        "subject_id": subject and subject.id,
        "subject_label": subject and subject.label,
        "actor_id": actor_id,
        "trace_context": tracing.carried(),
    }


async def request_cancel(
    tx: Tx, *, job_id: UUID, actor_id: UUID | None, reason: str | None, now: datetime
) -> CancelOutcome:
    """Cancel a job that has not begun, or ask one that runs to stop. The subject is the caller's to settle.

    `db.endings.cancel_job` settles the subject too. Raises Refused (NOT_FOUND, JOB_NOT_CANCELLABLE).
    """
    found = (await tx.execute(_LOCK, {"job_id": job_id})).one_or_none()
    if found is None:
        raise refuse(Code.NOT_FOUND, "There is no such job.", "jobId")
    how = decide_cancel(state=JobState(found.state), is_cancel_requested=found.cancel_requested_at is not None)
    values = {"job_id": job_id, "actor_id": actor_id, "reason": reason, "now": now}
    ended = None
    if how is Cancelling.AT_ONCE:
        (row,) = await tx.fetch(_CANCEL_WAITING, values)
        ended = ended_job(row)
    elif how is Cancelling.ASKED:
        await tx.fetch(_ASK_RUNNING, values)
        tx.hint(worker_topic(found.worker_id))
    tx.hint(job_topic(job_id))
    return CancelOutcome(job_id, how, ended)


async def cancel_others(
    tx: Tx, *, subject: Subject, kind: str, keep_job_id: UUID, actor_id: UUID | None, reason: str, now: datetime
) -> Sequence[CancelOutcome]:
    """Cancel every other live job of this kind on the subject: a newer request supersedes older ones.

    The caller holds the subject's lock, so that no such job comes into being meanwhile. One that ends by itself before
    its turn is left as it ended.
    """
    rows = await tx.execute(
        _OTHERS,
        {"kind": kind, "subject_type": subject.type, "subject_id": subject.id, "keep_job_id": keep_job_id},
    )
    outcomes = []
    for other in rows.scalars().all():
        found = (await tx.execute(_LOCK, {"job_id": other})).one()
        if JobState(found.state) in TERMINAL:
            continue
        outcomes.append(await request_cancel(tx, job_id=other, actor_id=actor_id, reason=reason, now=now))
    return outcomes


async def enqueue_again(tx: Tx, *, job_id: UUID, actor_id: UUID | None, now: datetime) -> UUID:
    """Make a new job like an ended one: same kind, arguments, subject. Its id.

    `db.endings.retry_job` moves the subject's pointer too. Raises Refused (NOT_FOUND, JOB_NOT_RETRYABLE).
    """
    found = (await tx.execute(_LOCK, {"job_id": job_id})).one_or_none()
    if found is None:
        raise refuse(Code.NOT_FOUND, "There is no such job.", "jobId")
    has_live_successor = bool((await tx.execute(_HAS_LIVE_SUCCESSOR, {"job_id": job_id})).scalar())
    decide_retry(state=JobState(found.state), has_live_successor=has_live_successor)
    with tracing.asking(kinds=[found.kind], queues=[found.queue], instead_of=found.trace_context) as span:
        values = {"job_id": job_id, "actor_id": actor_id, "now": now, "trace_context": tracing.carried()}
        made = await tx.fetch(_SUCCESSOR, values)
        if not made:
            raise refuse(Code.JOB_NOT_RETRYABLE, "Another job does the same work already.", "jobId")
        new_job_id: UUID = made[0]["id"]
        tracing.asked(span, job_id=new_job_id)
    tx.hint(WORK_IS_DUE, job_topic(new_job_id), job_topic(job_id))
    return new_job_id
