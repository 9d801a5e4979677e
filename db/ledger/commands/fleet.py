"""The workers that live: how they say so, and what they are told in return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import BigInteger, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.session import Tx


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """Who a worker process is."""

    id: UUID
    name: str
    queues: Sequence[str]
    kinds: Sequence[str]
    slots: int


# A job under a fence: one attempt at it. The same worker may have had an earlier one.
Held: TypeAlias = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker is told about the attempts that it believes to hold. It is true of these and of no later ones."""

    lost: frozenset[Held]
    # Attempt → the reason given, if one was.
    cancelled: Mapping[Held, str | None]
    # Attempts that the tables say this worker makes, at jobs that it did not name.
    unknown: frozenset[Held]


_BEAT = text("""
INSERT INTO workers (id, name, queues, kinds, slots, started_at, seen_at, is_draining)
VALUES (
    CAST(:id AS uuid), :name, :queues, :kinds, :slots,
    CAST(:now AS timestamptz), CAST(:now AS timestamptz), :is_draining
)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, is_draining = excluded.is_draining
""").bindparams(bindparam("queues", type_=ARRAY(Text)), bindparam("kinds", type_=ARRAY(Text)))

# What became of the jobs named, as far as it matters; and running jobs that were not named.
_STANDING = text("""
SELECT held.id, held.fence, jobs.cancel_reason,
    CASE WHEN jobs.fence IS DISTINCT FROM held.fence OR jobs.state <> 'running' THEN 'lost' ELSE 'cancelled' END AS why
FROM unnest(:ids, :fences) AS held (id, fence) LEFT JOIN jobs ON jobs.id = held.id
WHERE jobs.fence IS DISTINCT FROM held.fence OR jobs.state <> 'running' OR jobs.cancel_requested_at IS NOT NULL
UNION ALL
SELECT id, fence, NULL, 'unknown' FROM jobs
WHERE state = 'running' AND worker_id = CAST(:worker_id AS uuid) AND id <> ALL (:ids)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(BigInteger)))

_RETIRE = text("DELETE FROM workers WHERE id = :id")

_PREPARE = text("SELECT prepare_job_event_partitions(CAST(:now AS timestamptz), :weeks)")


async def beat(tx: Tx, *, card: WorkerCard, is_draining: bool, now: datetime) -> None:
    """Say that this worker lives. The first time makes its row, so it is called before anything is claimed."""
    await tx.execute(
        _BEAT,
        {
            "id": card.id,
            "name": card.name,
            "queues": list(card.queues),
            "kinds": list(card.kinds),
            "slots": card.slots,
            "is_draining": is_draining,
            "now": now,
        },
    )


async def standing(tx: Tx, *, worker_id: UUID, held: Mapping[UUID, int]) -> Answer:
    """What a worker is to know of the jobs it believes to hold (each with its fence), and of those it does not."""
    values = {"worker_id": worker_id, "ids": list(held), "fences": list(held.values())}
    rows = (await tx.execute(_STANDING, values)).all()
    return Answer(
        lost=frozenset((row.id, row.fence) for row in rows if row.why == "lost"),
        cancelled={(row.id, row.fence): row.cancel_reason for row in rows if row.why == "cancelled"},
        unknown=frozenset((row.id, row.fence) for row in rows if row.why == "unknown"),
    )


async def retire(tx: Tx, *, worker_id: UUID) -> None:
    """A worker has ended in good order and holds nothing."""
    await tx.execute(_RETIRE, {"id": worker_id})


async def keep_house(tx: Tx, *, now: datetime, weeks_ahead: int) -> None:
    """Make the partitions of the weeks to come. One that the table is too busy for is made the next time."""
    await tx.execute(_PREPARE, {"now": now, "weeks": weeks_ahead})
