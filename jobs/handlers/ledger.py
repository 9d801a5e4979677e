"""The ledger's own work: letting go of what is over."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from db import endings, idempotency
from db.environment import load
from db.ledger.commands import retaining
from db.ledger.jobs import Retain
from db.session import sqlstate
from jobs.attempt import Attempt, handles
from jobs.settings import RetentionSettings

# lock_not_available, deadlock_detected, query_canceled: others use the table, and they go first. undefined_table: it is
# gone already.
BUSY = frozenset({"55P03", "40P01", "57014", "42P01"})


@handles(Retain)
async def retain(attempt: Attempt, work: Retain) -> Mapping[str, Any] | None:  # noqa: ARG001 - it has no arguments
    """Delete what is older than it is to be kept, in small transactions. May stop anywhere and begin again."""
    limits = load(RetentionSettings)
    async with attempt.transaction() as tx:
        now = tx.now
    events_before = now - timedelta(days=limits.events_days)
    # First, and without a word: what this job tells of itself goes into the table that is to be locked.
    dropped, waiting = await _drop_partitions(attempt, events_before)
    strays = await _forget_strays(attempt, events_before, limits.batch)
    jobs = await _forget_jobs(attempt, now - timedelta(days=limits.jobs_days), limits.batch)
    keys = await _forget_keys(attempt, limits.batch)
    async with attempt.completing() as end:
        ticks = await retaining.forget_ticks(end.tx, before=now - timedelta(days=limits.ticks_days))
        workers = await retaining.forget_workers(end.tx, before=now - timedelta(hours=limits.workers_hours))
        end.result = {
            "partitions_dropped": dropped,
            "partitions_waiting": waiting,
            "stray_events": strays,
            "jobs": jobs,
            "idempotency_keys": keys,
            "ticks": ticks,
            "workers": workers,
        }
    return None


async def _drop_partitions(attempt: Attempt, before: datetime) -> tuple[int, int]:
    """How many were dropped, and how many old ones wait for the next time: they are still needed, or were busy."""
    async with attempt.transaction() as tx:
        old = await retaining.partitions(tx, before=before)
    dropped = 0
    for partition in old:
        try:
            async with attempt.transaction() as tx:
                dropped += await retaining.drop_partition(tx, partition=partition, before=before)
        except DBAPIError as error:
            if sqlstate(error) not in BUSY:
                raise
    return dropped, len(old) - dropped


async def _forget_strays(attempt: Attempt, before: datetime, limit: int) -> int:
    deleted = 0
    reached: UUID | None = retaining.FIRST
    while reached is not None:
        async with attempt.transaction() as tx:
            reached, more = await retaining.forget_strays(tx, before=before, after=reached, limit=limit)
        deleted += more
    return deleted


async def _forget_jobs(attempt: Attempt, before: datetime, limit: int) -> int:
    deleted = 0
    reached: retaining.Place | None = retaining.FROM_THE_FIRST
    while reached is not None:
        async with attempt.transaction() as tx:
            batch = await retaining.forget_jobs(
                tx, before=before, after=reached, limit=limit, is_shown=endings.is_shown
            )
        reached = batch.reached
        deleted += batch.deleted
        await attempt.progress(done=deleted, step="Deleting old jobs")
    return deleted


async def _forget_keys(attempt: Attempt, limit: int) -> int:
    deleted = 0
    while True:
        async with attempt.transaction() as tx:
            forgotten = await idempotency.forget(tx, now=tx.now, limit=limit)
        deleted += forgotten
        if forgotten < limit:
            return deleted
