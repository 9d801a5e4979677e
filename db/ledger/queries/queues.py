"""Queues as operators see them: how much waits and runs in each, who serves it, what is set for it.

A queue is known where a worker serves it or has just done so, where a job is in it, or where something is set for it;
`default` always is. The counts come from the partial indexes over the states that are not final, so that they cost what
waits and runs now and nothing for the jobs that ended long ago; those of the last hour come from the index over ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from asyncpg import Record

from db.accounts.queries import SYSTEM, USER
from db.ledger.queries.fleet import SILENT_AFTER
from db.reading import Reading, Want
from db.session import Reader


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue. `queued` is what could run now, `scheduled` what waits for its time.

    `paused_by` is filled in where it was asked for: a user, or the system where it was paused without one.
    """

    type_name: ClassVar[str] = "QueueStats"

    queue: str
    queued: int
    scheduled: int
    running: int
    completed_last_hour: int
    failed_last_hour: int
    oldest_queued_seconds: float | None
    workers: int
    limit: int | None
    limit_per_key: int | None
    paused_at: datetime | None
    paused_by_id: UUID | None
    paused_by_name: str | None
    pause_reason: str | None
    paused_by: Any = None

    @property
    def is_paused(self) -> bool:
        """Whether nothing new is begun in it."""
        return self.paused_at is not None


# Each part counts one thing; a queue that several of them know becomes one row. The states are written out, each by
# itself: only so does Postgres see which partial index answers.
_QUEUES = """
WITH facts (queue, queued, scheduled, oldest, running, completed, failed, workers) AS (
    SELECT queue, count(*), 0, min(scheduled_at), 0, 0, 0, 0 FROM jobs
    WHERE state = 'queued' AND $only GROUP BY queue
    UNION ALL
    SELECT queue, count(*), 0, min(scheduled_at), 0, 0, 0, 0 FROM jobs
    WHERE state = 'dispatched' AND $only GROUP BY queue
    UNION ALL
    -- Their time has come, and no dispatcher has seen it yet: they could run.
    SELECT queue, count(*) FILTER (WHERE scheduled_at <= $now), count(*) FILTER (WHERE scheduled_at > $now),
        min(scheduled_at) FILTER (WHERE scheduled_at <= $now), 0, 0, 0, 0
    FROM jobs WHERE state = 'scheduled' AND $only GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, NULL, count(*), 0, 0, 0 FROM jobs
    WHERE state = 'running' AND $only GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, NULL, 0, count(*) FILTER (WHERE state = 'completed'),
        count(*) FILTER (WHERE state IN ('failed', 'quarantined')), 0
    FROM jobs WHERE $ended AND $only GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, NULL, 0, 0, 0, count(*) FILTER (WHERE NOT is_draining AND seen_at > $now - $3::interval)
    FROM workers CROSS JOIN unnest(queues) AS queue WHERE $only GROUP BY queue
    UNION ALL
    SELECT name, 0, 0, NULL, 0, 0, 0, 0 FROM (SELECT name AS queue, name FROM queues) AS rows WHERE $only
    UNION ALL
    SELECT queue, 0, 0, NULL, 0, 0, 0, 0 FROM (VALUES ('default')) AS always (queue) WHERE $only
)
SELECT facts.queue, sum(queued)::integer AS queued, sum(scheduled)::integer AS scheduled,
    sum(running)::integer AS running, sum(completed)::integer AS completed_last_hour,
    sum(failed)::integer AS failed_last_hour, sum(workers)::integer AS workers,
    greatest(0, extract(epoch FROM $now - min(oldest)))::float8 AS age, min(oldest) IS NOT NULL AS has_oldest,
    queues.max_running AS "limit", queues.max_running_per_key AS limit_per_key,
    queues.paused_at, queues.paused_by AS paused_by_id, users.name AS paused_by_name, queues.pause_reason
FROM facts LEFT JOIN queues ON queues.name = facts.queue LEFT JOIN users ON users.id = queues.paused_by
GROUP BY facts.queue, queues.name, users.id
ORDER BY facts.queue
"""
_NOW = "(statement_timestamp() + $1::interval)"


def _statement(*, with_ended: bool) -> str:
    ended = f"finished_at > {_NOW} - interval '1 hour'" if with_ended else "false"
    parts = {"$only": "($2::text IS NULL OR queue = $2)", "$now": _NOW, "$ended": ended}
    statement = _QUEUES
    for name, part in parts.items():
        statement = statement.replace(name, part)
    return statement


_WITH_ENDED, _WITHOUT_ENDED = _statement(with_ended=True), _statement(with_ended=False)


async def read_queues(
    reader: Reader, *, name: str | None = None, with_ended: bool = True, silent_after: timedelta = SILENT_AFTER
) -> list[QueueRow]:
    """All queues by name, or the one of that name. One statement.

    Without `with_ended` the counts of the last hour are 0: a busy hour has many rows, which a watch need not read.
    """
    sql = _WITH_ENDED if with_ended else _WITHOUT_ENDED
    return [_row(record) for record in await reader.fetch(sql, [reader.clock.shift, name, silent_after])]


async def queue_stats(reading: Reading, wanted: Want, *, name: str | None = None) -> list[QueueRow]:
    """The same for the API: one statement, and one more where it is asked who paused them."""
    rows = await read_queues(reading.reader, name=name)
    paused_by = wanted.child("paused_by")
    if paused_by is None:
        return rows
    ids = {row.paused_by_id for row in rows if row.paused_by_id is not None}
    people = await reading.by_ids(USER, paused_by, sorted(ids)) if ids else {}
    return [replace(row, paused_by=_actor(row, people)) for row in rows]


def _actor(row: QueueRow, people: Mapping[UUID, Any]) -> Any:
    if not row.is_paused:
        return None
    return SYSTEM if row.paused_by_id is None else people.get(row.paused_by_id, SYSTEM)


def _row(record: Record) -> QueueRow:
    values = dict(record)
    age, has_oldest = values.pop("age"), values.pop("has_oldest")
    return QueueRow(**values, oldest_queued_seconds=age if has_oldest else None)
