"""The history of jobs, for streams: read by cursor, in order, without gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from db.ledger.rules import TERMINAL, EventType, JobState, JobStatus, LogLevel, status_of
from db.session import Reader


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event, with the facts of its own moment."""

    job_id: UUID
    seq: int
    at: datetime
    type: EventType
    state: JobState
    progress: int
    step: str | None
    done: int | None
    total: int | None
    attempt: int
    level: LogLevel | None = None
    message: str | None = None
    data: Any = None

    @property
    def status(self) -> JobStatus:
        """The job's status after this event."""
        return status_of(self.state)

    @property
    def is_terminal(self) -> bool:
        """Whether it is the job's last event."""
        return self.type is EventType.STATUS and self.state in TERMINAL


# For each job the first events after its cursor: one statement for all that a process watches.
_EVENTS = """
SELECT event.* FROM unnest($1::uuid[], $2::integer[]) AS watched (job_id, after)
CROSS JOIN LATERAL (
    SELECT * FROM job_events
    WHERE job_events.job_id = watched.job_id AND job_events.seq > watched.after
    ORDER BY seq LIMIT $3
) AS event
ORDER BY event.job_id, event.seq
"""

_SNAPSHOT = """
SELECT id AS job_id, last_seq AS seq, statement_timestamp() + $2::interval AS at, 'SNAPSHOT' AS type, state, progress,
    step, done, total, attempt, NULL AS level, NULL AS message, NULL AS data
FROM jobs WHERE id = $1
"""

_LAST_SEQS = "SELECT id, last_seq FROM jobs WHERE id = ANY ($1::uuid[])"


async def read_events(reader: Reader, *, after: Mapping[UUID, int], limit: int) -> dict[UUID, list[EventRow]]:
    """The events of these jobs after their cursors, in order, at most `limit` of each."""
    found: dict[UUID, list[EventRow]] = {}
    for record in await reader.fetch(_EVENTS, (list(after), list(after.values()), limit)):
        event = _event(record)
        found.setdefault(event.job_id, []).append(event)
    return found


async def read_snapshot(reader: Reader, *, job_id: UUID) -> EventRow | None:
    """The job as it is, as an event of its newest number."""
    records = await reader.fetch(_SNAPSHOT, (job_id, reader.clock.shift))
    return _event(records[0]) if records else None


async def last_seqs(reader: Reader, *, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The number of the newest event of each job."""
    return {record["id"]: record["last_seq"] for record in await reader.fetch(_LAST_SEQS, (list(job_ids),))}


def _event(record: Record) -> EventRow:
    return EventRow(
        job_id=record["job_id"],
        seq=record["seq"],
        at=record["at"],
        type=EventType(record["type"]),
        state=JobState(record["state"]),
        progress=record["progress"],
        step=record["step"],
        done=record["done"],
        total=record["total"],
        attempt=record["attempt"],
        level=None if record["level"] is None else LogLevel(record["level"]),
        message=record["message"],
        data=record["data"],
    )
