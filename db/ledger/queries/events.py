"""The history of jobs, for streams: read by cursor, in order, without gap."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from asyncpg import Record

from db.ledger.rules import TERMINAL, EventType, JobState, JobStatus, LogLevel, status_of
from db.session import Reader

# A job, and the number of the last event of it that is known.
Cursor: TypeAlias = tuple[UUID, int]


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


# For each cursor the first events after it: one statement for all that a process waits for.
_EVENTS = """
SELECT watched.place, event.* FROM unnest($1::uuid[], $2::integer[]) WITH ORDINALITY AS watched (id, after, place)
CROSS JOIN LATERAL (
    SELECT * FROM job_events
    WHERE job_events.job_id = watched.id AND job_events.seq > watched.after
    ORDER BY seq LIMIT $3
) AS event
ORDER BY watched.place, event.seq
"""

_SNAPSHOTS = """
SELECT id AS job_id, last_seq AS seq, statement_timestamp() + $2::interval AS at, 'SNAPSHOT' AS type, state, progress,
    step, done, total, attempt, NULL AS level, NULL AS message, NULL AS data
FROM jobs WHERE id = ANY ($1::uuid[])
"""

_LAST_SEQS = "SELECT id, last_seq FROM jobs WHERE id = ANY ($1::uuid[])"


async def read_events(reader: Reader, *, after: Collection[Cursor], limit: int) -> dict[Cursor, list[EventRow]]:
    """The events of jobs after these cursors, in order, at most `limit` of each; a cursor without any is missing."""
    cursors = list(after)
    found: dict[Cursor, list[EventRow]] = {}
    arguments = ([job_id for job_id, _ in cursors], [seq for _, seq in cursors], limit)
    for record in await reader.fetch(_EVENTS, arguments):
        found.setdefault(cursors[record["place"] - 1], []).append(event_of(record))
    return found


async def read_snapshots(reader: Reader, *, job_ids: Collection[UUID]) -> dict[UUID, EventRow]:
    """Jobs as they are, each as an event of its newest number."""
    records = await reader.fetch(_SNAPSHOTS, (list(job_ids), reader.clock.shift))
    return {record["job_id"]: event_of(record) for record in records}


async def last_seqs(reader: Reader, *, job_ids: Collection[UUID]) -> dict[UUID, int]:
    """The number of the newest event of each job."""
    return {record["id"]: record["last_seq"] for record in await reader.fetch(_LAST_SEQS, (list(job_ids),))}


def event_of(record: Record) -> EventRow:
    """The event in a record."""
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
