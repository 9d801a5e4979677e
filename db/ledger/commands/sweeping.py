"""What is done to jobs because time has passed: by any worker, any number of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

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


# A subquery and no join: where the job has just been taken by another worker, its new row is judged by that one.
_LOST = text("""
SELECT * FROM jobs
WHERE state = 'running' AND coalesce(
    (SELECT seen_at FROM workers WHERE id = jobs.worker_id) <= CAST(:before AS timestamptz), true
)
ORDER BY id LIMIT :limit
FOR NO KEY UPDATE SKIP LOCKED
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
