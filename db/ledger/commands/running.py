"""What a worker writes for the jobs it runs. Each write names the fence it holds, and without that fence does nothing.

The statements take many jobs at once, so that a busy worker pays for a group what an idle one pays for a job. They lock
their rows in the order of the ids: two groups that share jobs wait for each other and never for ever. Executed alone
they leave out a job that somebody else has locked, which would keep all of the group waiting; in a transaction they
wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.compiled import Write
from db.ledger.commands.telling import as_json, ended_job, telling
from db.ledger.rules import SUSPECT_AFTER_CRASHES, TERMINAL, EndedJob, EventType, LogLevel, Verdict, job_topic
from db.session import Row, Single, Tx, Writer


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job that is due, and the fence that a claim of it must find."""

    job_id: UUID
    fence: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that is ours to run while its fence stays this."""

    job_id: UUID
    fence: int
    kind: str
    queue: str
    args: Mapping[str, Any]
    args_version: int
    number: int
    failures: int
    crash_count: int
    max_attempts: int
    timeout_seconds: int
    progress: int
    actor_id: UUID | None
    subject_type: str | None
    subject_id: UUID | None
    waited_seconds: float
    # The span that asked for it: its attempts go on from there.
    trace_context: str | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether its next crash is its last: it, or a job that ran beside it, has killed its workers."""
        return self.crash_count >= SUSPECT_AFTER_CRASHES


@dataclass(frozen=True, slots=True)
class Line:
    """One event to be told of a running job, with the facts of its moment, `age_seconds` ago."""

    type: EventType
    progress: int
    step: str | None
    done: int | None
    total: int | None
    level: LogLevel | None = None
    message: str | None = None
    data: Any = None
    age_seconds: float = 0.0

    def aged(self, seconds: float) -> "Line":
        """The same line, told so many seconds after it happened."""
        return replace(self, age_seconds=max(0.0, seconds))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an attempt: which one, what it means, and the last facts of it."""

    job_id: UUID
    fence: int
    verdict: Verdict
    result: Mapping[str, Any] | None = None
    step: str | None = None
    done: int | None = None
    total: int | None = None
    # Somebody else ends it: whatever its worker still writes must find another fence.
    is_taken_away: bool = False


_CLAIM = telling(
    """
held AS (
    SELECT jobs.id, crash_count >= CAST(:suspect_after AS integer) AS is_suspect, kind = ANY (:kinds)
        AND NOT EXISTS (SELECT FROM queues WHERE name = jobs.queue AND paused_at IS NOT NULL) AS is_for_us
    FROM jobs
    JOIN unnest(:ids, :fences) AS ticket (id, fence) ON jobs.id = ticket.id AND jobs.fence = ticket.fence
    WHERE state IN ('queued', 'dispatched') AND cancel_requested_at IS NULL
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs SKIP LOCKED
),
picked AS (
    SELECT id, is_for_us, is_for_us AND (NOT is_suspect OR CAST(:takes_suspect AS boolean)
        AND rank() OVER (PARTITION BY is_for_us, is_suspect ORDER BY id) = 1) AS is_to_run
    FROM held
),
moved AS (
    UPDATE jobs SET
        state = 'running', fence = fence + 1, attempt = attempt + 1, last_seq = last_seq + 1,
        worker_id = CAST(:worker_id AS uuid), dispatched_at = NULL,
        started_at = coalesce(started_at, $now),
        timeout_at = $now + make_interval(secs => timeout_seconds)
    FROM picked
    WHERE jobs.id = picked.id AND picked.is_to_run AND state IN ('queued', 'dispatched')
    RETURNING jobs.id, jobs.fence, kind, queue, args, args_version, state, failures, crash_count, max_attempts,
        timeout_seconds, actor_id, subject_type, subject_id, error, last_seq, progress, step, done, total, attempt,
        trace_context, extract(epoch FROM $now - scheduled_at) AS waited_seconds,
        CASE WHEN attempt = 1 THEN 'Started.' ELSE 'Attempt ' || attempt || ' started.' END AS message
),
refused AS (
    -- A suspect that has to wait for its turn goes behind the others, or nobody else would have theirs.
    UPDATE jobs SET state = 'queued', fence = fence + 1, dispatched_at = NULL,
        scheduled_at = CASE WHEN picked.is_for_us THEN $now ELSE scheduled_at END
    FROM picked
    WHERE jobs.id = picked.id AND NOT picked.is_to_run AND state = 'dispatched'
),
begun AS (
    INSERT INTO job_attempts (job_id, number, fence, worker_id, worker_name, started_at)
    SELECT id, attempt, fence, CAST(:worker_id AS uuid), :worker_name, $now FROM moved
)
""",
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("fences", type_=ARRAY(BigInteger)),
    bindparam("kinds", type_=ARRAY(Text)),
)

_HOLD = text("""
SELECT 1 FROM jobs WHERE id = :job_id AND fence = :fence AND state = 'running' FOR NO KEY UPDATE
""")

_NOTE_TEMPLATE = """
WITH line AS (
    SELECT * FROM jsonb_to_recordset(:lines) AS line (
        job_id uuid, fence bigint, place integer, type text, progress smallint, step text, done integer,
        total integer, level text, message text, data jsonb, age double precision
    )
),
newest AS (
    SELECT DISTINCT ON (job_id, fence) job_id, fence, place, progress, step, done, total
    FROM line ORDER BY job_id, fence, place DESC
),
held AS (
    SELECT jobs.id FROM jobs JOIN newest ON jobs.id = newest.job_id AND jobs.fence = newest.fence
    WHERE state = 'running'
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs $skip_locked
),
moved AS (
    UPDATE jobs SET
        last_seq = last_seq + newest.place, progress = greatest(jobs.progress, newest.progress),
        step = newest.step, done = newest.done, total = newest.total
    FROM held JOIN newest ON newest.job_id = held.id
    WHERE jobs.id = held.id AND jobs.fence = newest.fence AND state = 'running'
    RETURNING jobs.id, jobs.fence, jobs.last_seq - newest.place AS before, jobs.attempt, jobs.state
),
told AS (
    INSERT INTO job_events (
        job_id, seq, at, type, state, progress, step, done, total, attempt, level, message, data
    )
    SELECT moved.id, moved.before + line.place, $now - make_interval(secs => line.age),
        line.type, moved.state, line.progress, line.step, line.done, line.total, moved.attempt,
        line.level, line.message, nullif(line.data, 'null')
    FROM moved JOIN line ON line.job_id = moved.id AND line.fence = moved.fence
)
SELECT newest.job_id, newest.fence, moved.id IS NOT NULL AS is_told
FROM newest JOIN jobs ON jobs.id = newest.job_id AND jobs.fence = newest.fence AND jobs.state = 'running'
LEFT JOIN moved ON moved.id = newest.job_id AND moved.fence = newest.fence
"""

_NOTE = Write(_NOTE_TEMPLATE.replace("$skip_locked", ""), as_json("lines"))
_NOTE_MANY = Write(_NOTE_TEMPLATE.replace("$skip_locked", "SKIP LOCKED"), as_json("lines"))

_END_TEMPLATE = """
ending AS (
    SELECT * FROM jsonb_to_recordset(:endings) AS ending (
        job_id uuid, fence bigint, state text, outcome text, message text, wait_seconds double precision,
        failures integer, crashes integer, interruptions integer, bump integer,
        job_error jsonb, attempt_error jsonb, result jsonb, step text, done integer, total integer
    )
),
held AS (
    SELECT jobs.id FROM jobs JOIN ending ON jobs.id = ending.job_id AND jobs.fence = ending.fence
    WHERE jobs.state = 'running' AND (ending.state NOT IN ('scheduled', 'queued') OR cancel_requested_at IS NULL)
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs $skip_locked
),
moved AS (
    UPDATE jobs SET
        state = ending.state, fence = jobs.fence + ending.bump, last_seq = last_seq + 1,
        worker_id = NULL, timeout_at = NULL,
        -- Crashes in a row: a worker that lives to say that it goes on later was not killed by it.
        failures = jobs.failures + ending.failures,
        crash_count = CASE WHEN ending.state = 'scheduled' THEN 0 ELSE jobs.crash_count + ending.crashes END,
        interruptions = jobs.interruptions + ending.interruptions,
        scheduled_at = CASE
            WHEN ending.wait_seconds IS NULL THEN jobs.scheduled_at
            ELSE $now + make_interval(secs => ending.wait_seconds)
        END,
        finished_at = CASE WHEN ending.state IN ('scheduled', 'queued') THEN NULL ELSE $now END,
        progress = CASE WHEN ending.state = 'completed' THEN 100 ELSE jobs.progress END,
        result = nullif(ending.result, 'null'), error = nullif(ending.job_error, 'null'),
        step = coalesce(ending.step, jobs.step), done = coalesce(ending.done, jobs.done),
        total = coalesce(ending.total, jobs.total)
    FROM held JOIN ending ON ending.job_id = held.id
    WHERE jobs.id = held.id AND jobs.fence = ending.fence AND jobs.state = 'running'
    RETURNING jobs.id, jobs.kind, jobs.state, jobs.args, jobs.subject_type, jobs.subject_id, jobs.actor_id, jobs.error,
        jobs.finished_at, jobs.last_seq, jobs.progress, jobs.step, jobs.done, jobs.total, jobs.attempt, ending.message,
        ending.fence AS ended_fence
),
closed AS (
    UPDATE job_attempts SET
        finished_at = $now, outcome = ending.outcome,
        error = nullif(ending.attempt_error, 'null')
    FROM moved JOIN ending ON ending.job_id = moved.id AND ending.fence = moved.ended_fence
    WHERE job_attempts.job_id = moved.id AND job_attempts.number = moved.attempt AND job_attempts.outcome IS NULL
)
"""

_END = telling(_END_TEMPLATE.replace("$skip_locked", ""), as_json("endings"))
_END_MANY = telling(_END_TEMPLATE.replace("$skip_locked", "SKIP LOCKED"), as_json("endings"))


async def claim(
    writer: Writer,
    *,
    tickets: Sequence[Ticket],
    worker_id: UUID,
    worker_name: str,
    kinds: Sequence[str],
    takes_suspect: bool = True,
) -> list[Claimed]:
    """Take the jobs of these tickets to run them. A ticket that is out of date gives nothing, silently.

    Jobs of other kinds than these are let go: they are queued again, for a worker that knows them. So are those of
    queues that were paused while the ticket was on its way. One that is locked is left: its ticket is made anew.
    Of suspects (`Claimed.is_suspect`) at most one is taken, and none unless `takes_suspect`: two in one worker would
    share their last crash.
    """
    rows = await writer.fetch(
        _CLAIM,
        {
            "ids": [ticket.job_id for ticket in tickets],
            "fences": [ticket.fence for ticket in tickets],
            "kinds": list(kinds),
            "worker_id": worker_id,
            "worker_name": worker_name,
            "suspect_after": SUSPECT_AFTER_CRASHES,
            "takes_suspect": takes_suspect,
        },
    )
    claimed = [
        Claimed(
            job_id=row["id"],
            fence=row["fence"],
            kind=row["kind"],
            queue=row["queue"],
            args=row["args"],
            args_version=row["args_version"],
            number=row["attempt"],
            failures=row["failures"],
            crash_count=row["crash_count"],
            max_attempts=row["max_attempts"],
            timeout_seconds=row["timeout_seconds"],
            progress=row["progress"],
            actor_id=row["actor_id"],
            subject_type=row["subject_type"],
            subject_id=row["subject_id"],
            waited_seconds=float(row["waited_seconds"]),
            trace_context=row["trace_context"],
        )
        for row in rows
    ]
    writer.hint(*[job_topic(job.job_id) for job in claimed])
    return claimed


async def hold(tx: Tx, *, job_id: UUID, fence: int) -> bool:
    """Keep the job ours until this transaction ends. False: it is not ours any more, and nothing may be committed."""
    return (await tx.execute(_HOLD, {"job_id": job_id, "fence": fence})).scalar() is not None


async def note(tx: Tx, *, lines: Mapping[tuple[UUID, int], Sequence[Line]]) -> set[UUID]:
    """Tell what happened in running jobs, given by (job, fence), in the order given. Those that are still held.

    Progress goes into the job's row too, and never back.
    """
    rows = await _note(tx, _NOTE, lines)
    return {row["job_id"] for row in rows if row["is_told"]}


async def note_many(single: Single, *, lines: Mapping[tuple[UUID, int], Sequence[Line]]) -> set[tuple[UUID, int]]:
    """The same, alone. Those that are held, and of which nothing was told because somebody else has locked them."""
    rows = await _note(single, _NOTE_MANY, lines)
    return {(row["job_id"], row["fence"]) for row in rows if not row["is_told"]}


async def _note(writer: Writer, write: Write, lines: Mapping[tuple[UUID, int], Sequence[Line]]) -> Sequence[Row]:
    stored = [
        {
            "job_id": str(job_id),
            "fence": fence,
            "place": place,
            "type": line.type,
            "progress": line.progress,
            "step": line.step,
            "done": line.done,
            "total": line.total,
            "level": line.level,
            "message": line.message,
            "data": line.data,
            "age": line.age_seconds,
        }
        for (job_id, fence), told in lines.items()
        for place, line in enumerate(told, 1)
    ]
    if not stored:
        return ()
    rows = await writer.fetch(write, {"lines": stored})
    writer.hint(*[job_topic(row["job_id"]) for row in rows if row["is_told"]])
    return rows


async def end_attempts(writer: Writer, *, endings: Sequence[Ending]) -> dict[UUID, EndedJob | None]:
    """Write the ends of attempts: the jobs that were still held, each with what it became where it has ended.

    A job that is missing from the answer was not ours any more, or was to go on and has been asked to stop meanwhile;
    or, where this is not part of a transaction, somebody else has locked it.
    """
    stored = [
        {
            "job_id": str(ending.job_id),
            "fence": ending.fence,
            "state": ending.verdict.state,
            "outcome": ending.verdict.outcome,
            "message": ending.verdict.message,
            "wait_seconds": ending.verdict.wait_seconds,
            "failures": ending.verdict.failures,
            "crashes": ending.verdict.crashes,
            "interruptions": ending.verdict.interruptions,
            "bump": int(ending.is_taken_away),
            "job_error": ending.verdict.job_error and ending.verdict.job_error.stored(),
            "attempt_error": ending.verdict.error and ending.verdict.error.stored(),
            "result": ending.result,
            "step": ending.step,
            "done": ending.done,
            "total": ending.total,
        }
        for ending in endings
    ]
    rows = await writer.fetch(_END if isinstance(writer, Tx) else _END_MANY, {"endings": stored})
    writer.hint(*[job_topic(row["id"]) for row in rows])
    return {row["id"]: ended_job(row) if row["state"] in TERMINAL else None for row in rows}
