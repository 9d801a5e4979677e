"""The workers that live: how they say so, and what they are told in return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker is told about the jobs that it believes to hold."""

    lost: frozenset[UUID]
    # Job → the reason given, if one was.
    cancelled: Mapping[UUID, str | None]


_BEAT = text("""
INSERT INTO workers (id, name, queues, kinds, slots, started_at, seen_at, is_draining)
VALUES (
    CAST(:id AS uuid), :name, :queues, :kinds, :slots,
    CAST(:now AS timestamptz), CAST(:now AS timestamptz), :is_draining
)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, is_draining = excluded.is_draining
""").bindparams(bindparam("queues", type_=ARRAY(Text)), bindparam("kinds", type_=ARRAY(Text)))

_STANDING = text("""
SELECT held.id, jobs.cancel_reason,
    jobs.fence IS DISTINCT FROM held.fence OR jobs.state <> 'running' AS is_lost
FROM unnest(:ids, :fences) AS held (id, fence) LEFT JOIN jobs ON jobs.id = held.id
WHERE jobs.fence IS DISTINCT FROM held.fence OR jobs.state <> 'running' OR jobs.cancel_requested_at IS NOT NULL
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("fences", type_=ARRAY(BigInteger)))

_RETIRE = text("DELETE FROM workers WHERE id = :id")

# Rows of workers that died are kept for a while, so that an operator sees them go.
_FORGET = text("""
DELETE FROM workers
WHERE seen_at <= CAST(:before AS timestamptz)
    AND NOT EXISTS (SELECT FROM jobs WHERE state = 'running' AND worker_id = workers.id)
""")

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


async def standing(tx: Tx, *, held: Mapping[UUID, int]) -> Answer:
    """Which of these jobs (with the fence believed) are not this worker's any more, and which are to stop."""
    if not held:
        return Answer(frozenset(), {})
    rows = (await tx.execute(_STANDING, {"ids": list(held), "fences": list(held.values())})).all()
    return Answer(
        lost=frozenset(row.id for row in rows if row.is_lost),
        cancelled={row.id: row.cancel_reason for row in rows if not row.is_lost},
    )


async def retire(tx: Tx, *, worker_id: UUID) -> None:
    """A worker has ended in good order and holds nothing."""
    await tx.execute(_RETIRE, {"id": worker_id})


async def keep_house(tx: Tx, *, now: datetime, forget_after: timedelta, weeks_ahead: int) -> None:
    """Make the partitions of the weeks to come, and forget workers that died long ago."""
    await tx.execute(_PREPARE, {"now": now, "weeks": weeks_ahead})
    await tx.execute(_FORGET, {"before": now - forget_after})
