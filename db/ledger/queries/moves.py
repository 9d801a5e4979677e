"""What has moved in the whole ledger since one looked last: for consoles, which watch no job in particular.

Numbers and times cannot say what is new: a transaction that took its number first may commit last. Snapshots can. An
event is new where the transaction that wrote it had not committed at the last look, and has by now: each is seen
exactly once, however long its transaction took.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from db.ledger.queries.events import EventRow, event_of
from db.ledger.rules import JobState, JobStatus, status_of
from db.session import Reader

_HERE = "SELECT pg_current_snapshot()::text AS place"

# Progress and lines of a log are coalesced to the newest of each job; a STATUS never is. A transaction's number that is
# not given out yet is of another cluster, from which this one was restored.
_MOVES = """
WITH news AS (
    SELECT event.*, event.type = 'STATUS'
        OR event.seq = max(event.seq) OVER (PARTITION BY event.job_id, event.type) AS is_told
    FROM (
        SELECT * FROM job_events WHERE written_by = ANY ($1::bigint[])
        UNION ALL
        SELECT * FROM job_events
        WHERE written_by >= $2::bigint AND written_by < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    ) AS event
    WHERE event.at > statement_timestamp() + $3::interval - interval '1 hour'
),
told AS (
    SELECT news.*, job.kind, job.queue, job.subject_id, job.actor_id, job.enqueued_at, before.state AS state_before
    FROM news JOIN jobs AS job ON job.id = news.job_id
    LEFT JOIN job_events AS before ON before.job_id = news.job_id AND before.seq = news.seq - 1
    WHERE news.is_told
)
SELECT here.place, told.* FROM (SELECT pg_current_snapshot()::text AS place) AS here
LEFT JOIN told ON true
ORDER BY told.job_id, told.seq
"""


@dataclass(frozen=True, slots=True)
class Move:
    """An event, what its job is, and where the job was before."""

    event: EventRow
    kind: str
    queue: str
    subject_id: UUID | None
    actor_id: UUID | None
    enqueued_at: datetime
    state_before: JobState | None


@dataclass(frozen=True, slots=True)
class JobsWanted:
    """Which jobs somebody watches: the same words, with the same meaning, as the filters of the list of jobs."""

    kinds: Collection[str] | None = None
    statuses: Collection[JobStatus] | None = None
    subject_id: UUID | None = None
    requested_by_id: UUID | None = None
    queue: str | None = None
    uuid: UUID | None = None
    is_quarantined: bool | None = None
    enqueued_from: datetime | None = None
    enqueued_to: datetime | None = None

    def fits(self, move: Move) -> bool:
        """Whether the job is wanted, or was until now: then this event is the last one of it."""
        return self._fits_job(move) and (
            self._fits_state(move.event.state)
            or (move.state_before is not None and self._fits_state(move.state_before))
        )

    def _fits_job(self, move: Move) -> bool:
        return (
            (self.kinds is None or move.kind in self.kinds)
            and (self.subject_id is None or move.subject_id == self.subject_id)
            and (self.requested_by_id is None or move.actor_id == self.requested_by_id)
            and (self.queue is None or move.queue == self.queue)
            and (self.uuid is None or move.event.job_id == self.uuid)
            and (self.enqueued_from is None or move.enqueued_at >= self.enqueued_from)
            and (self.enqueued_to is None or move.enqueued_at < self.enqueued_to)
        )

    def _fits_state(self, state: JobState) -> bool:
        return (self.statuses is None or status_of(state) in self.statuses) and (
            self.is_quarantined is None or self.is_quarantined == (state is JobState.QUARANTINED)
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What was new at a look, in the order of each job's events, and the place to look from the next time."""

    place: str
    moves: list[Move] = field(default_factory=list)


async def read_moves(reader: Reader, *, since: str | None) -> Look:
    """What has moved since a look's `place`; from None on, nothing, but the place to begin from."""
    if since is None:
        (record,) = await reader.fetch(_HERE)
        return Look(record["place"])
    _, begun, still_open = since.split(":")
    arguments = ([int(each) for each in still_open.split(",") if each], int(begun), reader.clock.shift)
    records = await reader.fetch(_MOVES, arguments)
    return Look(records[0]["place"], [_move(record) for record in records if record["job_id"] is not None])


def _move(record: Record) -> Move:
    return Move(
        event=event_of(record),
        kind=record["kind"],
        queue=record["queue"],
        subject_id=record["subject_id"],
        actor_id=record["actor_id"],
        enqueued_at=record["enqueued_at"],
        state_before=None if record["state_before"] is None else JobState(record["state_before"]),
    )
