"""What is done to jobs because time has passed: by any worker, any number of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Row, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.ledger.commands.running import Ticket
from db.session import Tx


@dataclass(frozen=True, slots=True)
class Stranded:
    """A running job that nobody looks after any more, or not well enough: what is known for the verdict."""

    job_id: UUID
    fence: int
    kind: str
    failures: int
    crash_count: int
    max_attempts: int
    is_cancel_requested: bool
    subject_type: str | None
    subject_id: UUID | None


_PROMOTE = text("""
WITH due AS (
    SELECT id FROM jobs
    WHERE state = 'scheduled' AND scheduled_at <= CAST(:now AS timestamptz)
    ORDER BY scheduled_at LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'queued' FROM due WHERE jobs.id = due.id AND state = 'scheduled'
RETURNING jobs.id
""")

# Paused queues stay where they are; the rest goes by priority, then by age.
_DISPATCH = text("""
WITH due AS (
    SELECT id FROM jobs
    WHERE state = 'queued'
        AND NOT EXISTS (SELECT FROM queues WHERE queues.name = jobs.queue AND queues.paused_at IS NOT NULL)
    ORDER BY priority, scheduled_at, id LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'dispatched', dispatched_at = CAST(:now AS timestamptz)
FROM due WHERE jobs.id = due.id AND state = 'queued'
RETURNING jobs.id, fence, priority, scheduled_at
""")

# How many tickets may be under way: some for each slot of the fleet, less those that wait to be picked up.
_ROOM = text("""
SELECT
    (SELECT coalesce(sum(slots), 0) FROM workers WHERE NOT is_draining AND seen_at > CAST(:alive AS timestamptz))
        * :tickets_per_slot
    - (SELECT count(*) FROM jobs WHERE state = 'dispatched')
""")

_RECALL = text("""
WITH stale AS (
    SELECT id FROM jobs
    WHERE state = 'dispatched' AND dispatched_at <= CAST(:before AS timestamptz)
    ORDER BY dispatched_at LIMIT :limit
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET state = 'queued', fence = fence + 1, dispatched_at = NULL
FROM stale WHERE jobs.id = stale.id AND state = 'dispatched'
RETURNING jobs.id
""")

_HAND_BACK = text("""
UPDATE jobs SET state = 'queued', fence = jobs.fence + 1, dispatched_at = NULL
FROM unnest(:ids, :fences) AS ticket (id, fence)
WHERE jobs.id = ticket.id AND jobs.fence = ticket.fence AND state = 'dispatched'
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(BigInteger)))

_LOST = text("""
SELECT jobs.* FROM jobs LEFT JOIN workers ON workers.id = jobs.worker_id
WHERE jobs.state = 'running' AND (workers.id IS NULL OR workers.seen_at <= CAST(:before AS timestamptz))
ORDER BY jobs.id LIMIT :limit
FOR NO KEY UPDATE OF jobs SKIP LOCKED
""")

_DEAF = text("""
SELECT * FROM jobs
WHERE state = 'running' AND cancel_requested_at <= CAST(:before AS timestamptz)
ORDER BY id LIMIT :limit
FOR NO KEY UPDATE SKIP LOCKED
""")

_OVERDUE = text("""
SELECT * FROM jobs
WHERE state = 'running' AND timeout_at <= CAST(:before AS timestamptz)
ORDER BY id LIMIT :limit
FOR NO KEY UPDATE SKIP LOCKED
""")


async def promote(tx: Tx, *, now: datetime, limit: int) -> int:
    """Queue the scheduled jobs whose time has come. How many."""
    return len((await tx.execute(_PROMOTE, {"now": now, "limit": limit})).all())


async def room(tx: Tx, *, now: datetime, lease: timedelta, tickets_per_slot: int) -> int:
    """How many more tickets the fleet can use."""
    values = {"alive": now - lease, "tickets_per_slot": tickets_per_slot}
    return max(0, int((await tx.execute(_ROOM, values)).scalar_one()))


async def dispatch(tx: Tx, *, now: datetime, limit: int) -> list[Ticket]:
    """Mark the next due jobs as dispatched. Their tickets, to be pushed once this has committed, the first first."""
    rows = (await tx.execute(_DISPATCH, {"now": now, "limit": limit})).all()
    rows = sorted(rows, key=lambda row: (row.priority, row.scheduled_at, row.id))
    return [Ticket(row.id, row.fence) for row in rows]


async def recall(tx: Tx, *, now: datetime, unclaimed: timedelta, limit: int) -> int:
    """Queue again what was dispatched so long ago and never claimed, under a new fence. How many."""
    values = {"before": now - unclaimed, "limit": limit}
    return len((await tx.execute(_RECALL, values)).all())


async def hand_back(tx: Tx, *, tickets: Sequence[Ticket]) -> None:
    """Queue again what was dispatched by these tickets and will not be claimed with them."""
    ordered = sorted(tickets, key=lambda ticket: ticket.job_id)
    await tx.execute(_HAND_BACK, {"ids": [each.job_id for each in ordered], "fences": [each.fence for each in ordered]})


async def lost(tx: Tx, *, now: datetime, lease: timedelta, limit: int) -> Sequence[Stranded]:
    """Running jobs whose worker has not been seen for a lease. Locked until this transaction ends."""
    return _stranded((await tx.execute(_LOST, {"before": now - lease, "limit": limit})).all())


async def deaf(tx: Tx, *, now: datetime, patience: timedelta, limit: int) -> Sequence[Stranded]:
    """Running jobs that were asked to stop so long ago. Locked until this transaction ends."""
    return _stranded((await tx.execute(_DEAF, {"before": now - patience, "limit": limit})).all())


async def overdue(tx: Tx, *, now: datetime, patience: timedelta, limit: int) -> Sequence[Stranded]:
    """Running jobs so long past their time limit that their worker cannot stop them. Locked as above."""
    return _stranded((await tx.execute(_OVERDUE, {"before": now - patience, "limit": limit})).all())


def _stranded(rows: Sequence[Row[Any]]) -> list[Stranded]:
    return [
        Stranded(
            job_id=row.id,
            fence=row.fence,
            kind=row.kind,
            failures=row.failures,
            crash_count=row.crash_count,
            max_attempts=row.max_attempts,
            is_cancel_requested=row.cancel_requested_at is not None,
            subject_type=row.subject_type,
            subject_id=row.subject_id,
        )
        for row in rows
    ]
