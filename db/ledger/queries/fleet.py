"""Who works, what comes by itself, and how far behind all of it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from db.ledger.queries.jobs import JOB
from db.reading import Reading, Want
from db.session import Reader

# Not seen for so long, a worker is shown as gone: its lease, which is 10 s unless set otherwise, and some air.
SILENT_AFTER = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker process that lives, or has died and is not forgotten yet."""

    type_name: ClassVar[str] = "JobWorker"

    uuid: str
    name: str
    queues: list[str]
    kinds: list[str]
    slots: int
    running: int
    started_at: datetime
    seen_at: datetime
    is_draining: bool


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One schedule. `last_job` is filled in where it was asked for: the job of its newest tick."""

    type_name: ClassVar[str] = "JobSchedule"

    name: str
    kind: str
    rule: str
    last_tick_at: datetime | None
    next_tick_at: datetime | None
    last_job: Any = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How the ledger as a whole is doing.

    `late_seconds`: for how long the time of the oldest scheduled job has come without any dispatcher queueing it.
    `ticket_seconds`: for how long the oldest ticket has been on its way without any worker claiming it.
    """

    workers: int
    draining: int
    slots: int
    quarantined: int
    late_seconds: float
    ticket_seconds: float


@dataclass(frozen=True, slots=True)
class Stuck:
    """Jobs of a kind that no worker knows: they could run now, and nobody takes them."""

    kind: str
    jobs: int


_WORKERS = """
SELECT id::text AS uuid, name, queues, kinds, slots, started_at, seen_at, is_draining,
    (SELECT count(*) FROM jobs WHERE state = 'running' AND worker_id = workers.id)::integer AS running
FROM workers ORDER BY name, id
"""

_SCHEDULES = """
SELECT name, kind, rule, last_tick_at, next_tick_at, newest.job_id
FROM schedules LEFT JOIN LATERAL (
    SELECT job_id FROM schedule_ticks WHERE schedule_name = schedules.name ORDER BY tick_at DESC LIMIT 1
) AS newest ON true
ORDER BY name
"""

_BACKLOG = """
WITH alive AS (
    SELECT slots, is_draining FROM workers WHERE seen_at > statement_timestamp() + $1::interval - $2::interval
)
SELECT
    (SELECT count(*) FROM alive WHERE NOT is_draining)::integer AS workers,
    (SELECT count(*) FROM alive WHERE is_draining)::integer AS draining,
    (SELECT coalesce(sum(slots), 0) FROM alive WHERE NOT is_draining)::integer AS slots,
    (SELECT count(*) FROM jobs WHERE state = 'quarantined')::integer AS quarantined,
    greatest(0, extract(epoch FROM statement_timestamp() + $1::interval
        - (SELECT min(scheduled_at) FROM jobs WHERE state = 'scheduled')))::float8 AS late_seconds,
    greatest(0, extract(epoch FROM statement_timestamp() + $1::interval
        - (SELECT min(dispatched_at) FROM jobs WHERE state = 'dispatched')))::float8 AS ticket_seconds
"""

_STUCK = """
WITH waiting (kind, jobs) AS (
    SELECT kind, count(*) FROM jobs WHERE state = 'queued' GROUP BY kind
    UNION ALL
    SELECT kind, count(*) FROM jobs WHERE state = 'dispatched' GROUP BY kind
    UNION ALL
    SELECT kind, count(*) FROM jobs
    WHERE state = 'scheduled' AND scheduled_at <= statement_timestamp() + $1::interval GROUP BY kind
)
SELECT kind, sum(jobs)::integer AS jobs FROM waiting
WHERE NOT EXISTS (
    SELECT FROM workers
    WHERE kind = ANY (kinds) AND NOT is_draining AND seen_at > statement_timestamp() + $1::interval - $2::interval
)
GROUP BY kind ORDER BY kind
"""


async def read_workers(reader: Reader) -> list[WorkerRow]:
    """All workers by name. One statement."""
    return [WorkerRow(**dict(record)) for record in await reader.fetch(_WORKERS)]


async def read_backlog(reader: Reader, *, silent_after: timedelta = SILENT_AFTER) -> Backlog:
    """How the ledger as a whole is doing. One statement."""
    records = await reader.fetch(_BACKLOG, [reader.clock.shift, silent_after])
    return Backlog(**dict(records[0]))


async def read_stuck(reader: Reader, *, silent_after: timedelta = SILENT_AFTER) -> list[Stuck]:
    """Kinds of jobs that wait although no live worker knows them. One statement."""
    return [Stuck(**dict(record)) for record in await reader.fetch(_STUCK, [reader.clock.shift, silent_after])]


async def read_schedules(reading: Reading, wanted: Want) -> list[ScheduleRow]:
    """All schedules by name: one statement, and those of a job where its last one is asked for."""
    records = await reading.reader.fetch(_SCHEDULES)
    last_job = wanted.child("last_job")
    ids = {record["job_id"] for record in records if record["job_id"] is not None}
    jobs: Mapping[Any, Any] = {}
    if last_job is not None and ids:
        jobs = await reading.by_ids(JOB, last_job, sorted(ids))
    return [
        replace(
            ScheduleRow(record["name"], record["kind"], record["rule"], record["last_tick_at"], record["next_tick_at"]),
            last_job=jobs.get(record["job_id"]),
        )
        for record in records
    ]
