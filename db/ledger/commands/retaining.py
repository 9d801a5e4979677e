"""Letting go of what is over. What lives is never touched, and nobody waits for it.

Each of these is for one small transaction, and called until nothing is left: a batch of rows that nobody else has
locked, or one partition, given up where the table is busy.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Uuid, bindparam, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from db.base import table_of
from db.ledger.models import Job
from db.session import Tx

_JOBS = table_of(Job)
# When a job ended, and the job: where a walk over ended jobs has come to.
Place = tuple[datetime, UUID]
# Where a walk begins.
FIRST = UUID(int=0)
FROM_THE_FIRST: Place = (datetime(1, 1, 1, tzinfo=UTC), FIRST)
IsShown = Callable[[FromClause], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step of a walk did: where it has come to (None: to the end), and how much it deleted."""

    reached: Place | None
    deleted: int


@dataclass(frozen=True, slots=True)
class Partition:
    """The events of the jobs of one week: those with ids from `low` up to `high`."""

    name: str
    low: UUID
    high: UUID

    @property
    def ends_at(self) -> datetime:
        """When the last of its jobs was asked for: a version 7 uuid begins with the milliseconds of its making."""
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.high.int >> 80)


_PARTITIONS = text("""
SELECT relname AS name, pg_get_expr(relpartbound, pg_class.oid) AS bounds
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'job_events'::regclass AND pg_get_expr(relpartbound, pg_class.oid) <> 'DEFAULT'
ORDER BY relname
""")
_BOUNDS = re.compile(r"FOR VALUES FROM \('(?P<low>[0-9a-f-]{36})'\) TO \('(?P<high>[0-9a-f-]{36})'\)")

# Each state has an index of its own; a week's jobs are many.
_IS_IN_USE = text("""
SELECT EXISTS (SELECT FROM jobs WHERE state = 'scheduled' AND id >= :low AND id < :high)
    OR EXISTS (SELECT FROM jobs WHERE state = 'queued' AND id >= :low AND id < :high)
    OR EXISTS (SELECT FROM jobs WHERE state = 'dispatched' AND id >= :low AND id < :high)
    OR EXISTS (SELECT FROM jobs WHERE state = 'running' AND id >= :low AND id < :high)
    OR EXISTS (SELECT FROM jobs WHERE finished_at > CAST(:before AS timestamptz) AND id >= :low AND id < :high)
""").bindparams(bindparam("low", type_=Uuid), bindparam("high", type_=Uuid))

# Whoever comes while we wait for a lock of the whole table waits behind us.
_DO_NOT_WAIT = text("SET LOCAL lock_timeout = '100ms'")

# A job has exactly one event of number 1, and its events are in one partition.
_STRAYS = text("""
SELECT job_id FROM partitions.job_events_default AS event
WHERE job_id > :after AND seq = 1 AND NOT EXISTS (
    SELECT FROM jobs WHERE jobs.id = event.job_id
        AND (jobs.finished_at IS NULL OR jobs.finished_at > CAST(:before AS timestamptz))
)
ORDER BY job_id LIMIT :limit
""").bindparams(bindparam("after", type_=Uuid))

_DELETE_EVENTS = text("DELETE FROM job_events WHERE job_id = ANY (:ids)").bindparams(
    bindparam("ids", type_=ARRAY(Uuid))
)

_DELETE_JOBS = text("""
WITH attempts AS (DELETE FROM job_attempts WHERE job_id = ANY (:ids)),
events AS (DELETE FROM job_events WHERE job_id = ANY (:ids))
DELETE FROM jobs WHERE id = ANY (:ids)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))

# The newest tick of a schedule stays: it says when it was last.
_FORGET_TICKS = text("""
DELETE FROM schedule_ticks AS tick
WHERE tick_at <= CAST(:before AS timestamptz) AND EXISTS (
    SELECT FROM schedule_ticks AS newer
    WHERE newer.schedule_name = tick.schedule_name AND newer.tick_at > tick.tick_at
)
""")

_FORGET_WORKERS = text("""
DELETE FROM workers
WHERE seen_at <= CAST(:before AS timestamptz)
    AND NOT EXISTS (SELECT FROM jobs WHERE state = 'running' AND worker_id = workers.id)
""")


async def partitions(tx: Tx, *, before: datetime) -> Sequence[Partition]:
    """The partitions of weeks that were over before then, oldest first."""
    rows = (await tx.execute(_PARTITIONS)).all()
    bounds = [(row.name, _BOUNDS.fullmatch(row.bounds)) for row in rows]
    found = [Partition(name, UUID(at["low"]), UUID(at["high"])) for name, at in bounds if at is not None]
    return sorted((each for each in found if each.ends_at <= before), key=lambda each: each.low)


async def drop_partition(tx: Tx, *, partition: Partition, before: datetime) -> bool:
    """Drop a partition, unless one of its jobs lives or has ended since `before`. Whether it was dropped.

    Raises what the database does where the table stays busy (lock_not_available), to be tried again later, or where
    somebody else has dropped it (undefined_table).
    """
    values = {"low": partition.low, "high": partition.high, "before": before}
    if (await tx.execute(_IS_IN_USE, values)).scalar_one():
        return False
    await tx.execute(_DO_NOT_WAIT)
    # Nobody writes to it any more, so nobody is kept waiting; who is about to has to wait, and we see who has. Another
    # one that would drop it waits as well, and finds it gone.
    await tx.execute(text(f'LOCK TABLE partitions."{partition.name}" IN SHARE ROW EXCLUSIVE MODE'))
    if (await tx.execute(_IS_IN_USE, values)).scalar_one():
        return False
    await tx.execute(text(f'DROP TABLE partitions."{partition.name}"'))
    return True


async def forget_strays(tx: Tx, *, before: datetime, after: UUID, limit: int) -> tuple[UUID | None, int]:
    """Delete events from the default partition: all those of some jobs that ended before then, or are gone.

    The job to go on after (None: that was all), and how many events were deleted.
    """
    ids = list((await tx.execute(_STRAYS, {"before": before, "after": after, "limit": limit})).scalars())
    deleted = await tx.affect(_DELETE_EVENTS, {"ids": ids}) if ids else 0
    return (ids[-1] if len(ids) == limit else None), deleted


async def forget_jobs(tx: Tx, *, before: datetime, after: Place, limit: int, is_shown: IsShown) -> Batch:
    """Delete jobs that ended before then, with their attempts and events, in the order in which they ended.

    A job that its subject shows (`is_shown`) is kept, and one that somebody else has locked is left for the next time.
    """
    ended = tuple_(_JOBS.c.finished_at, _JOBS.c.id)
    statement = (
        select(_JOBS.c.id, _JOBS.c.finished_at, is_shown(_JOBS).label("is_shown"))
        .where(_JOBS.c.finished_at <= before, ended > after)
        .order_by(_JOBS.c.finished_at, _JOBS.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=_JOBS)
    )
    rows = (await tx.execute(statement)).all()
    ids = [row.id for row in rows if not row.is_shown]
    deleted = await tx.affect(_DELETE_JOBS, {"ids": ids}) if ids else 0
    return Batch((rows[-1].finished_at, rows[-1].id) if len(rows) == limit else None, deleted)


async def forget_ticks(tx: Tx, *, before: datetime) -> int:
    """Delete ticks of before then, but for the newest of each schedule. How many."""
    return await tx.affect(_FORGET_TICKS, {"before": before})


async def forget_workers(tx: Tx, *, before: datetime) -> int:
    """Delete the rows of workers that were not seen since then and hold nothing. How many."""
    return await tx.affect(_FORGET_WORKERS, {"before": before})
