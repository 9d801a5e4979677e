"""The queries of ledger."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import strawberry

from db.accounts.rules import Viewer
from db.errors import AccessDenied
from db.ledger import queries as ledger
from db.ledger.queries import JOB, JOBS, narrowing
from resolvers.context import Info
from resolvers.fields import enum_type, query
from resolvers.ids import decode_id
from resolvers.ledger.types import Job, JobFilter, JobSchedule, JobWorker, QueueStats
from resolvers.paging import After, Connection, First, described
from resolvers.selection import wanted


class JobOrder(StrEnum):
    """Orders of the list of jobs."""

    ENQUEUED_DESC = "ENQUEUED_DESC"
    ENQUEUED_ASC = "ENQUEUED_ASC"
    FINISHED_DESC = "FINISHED_DESC"
    DISPATCH_ASC = "DISPATCH_ASC"


enum_type(
    JobOrder,
    name="JobOrder",
    description="The order of a list of jobs.",
    values={
        "ENQUEUED_DESC": "The newest first.",
        "ENQUEUED_ASC": "The oldest first.",
        "FINISHED_DESC": "The last to end first; only jobs that have ended.",
        "DISPATCH_ASC": "The next to run first; only jobs that wait.",
    },
)


@query
async def job(info: Info, id: Annotated[strawberry.ID, described("The job's id.")]) -> Job | None:
    """A job by its id. Null for an id that is malformed or unknown, and for a job the viewer may not see.

    Jobs are seen by who may read their subject (a plan's: its teachers), by who asked for them where they have none,
    and by ADMIN.
    """
    return await _job(info, decode_id(id, "Job"))


@query
async def job_by_uuid(info: Info, uuid: Annotated[str, described("The job's `uuid`.")]) -> Job | None:
    """A job by its key, as it stands in logs and in `GET /jobs/{uuid}`. Null as with `job`."""
    try:
        key = UUID(uuid)
    except ValueError:
        return None
    return await _job(info, key)


@query
async def jobs(
    info: Info,
    filter: Annotated[JobFilter | None, described("Which jobs; absent: all that the viewer may see.")] = None,
    order_by: Annotated[JobOrder, described("Their order.")] = JobOrder.ENQUEUED_DESC,
    first: First = None,
    after: After = None,
) -> Connection[Job] | None:
    """Jobs that the viewer may see: their own, those of subjects they may read, all for ADMIN."""
    page: Any = await info.context.reading.page(
        JOB, wanted(info), JOBS, name=f"jobs.{order_by}", where=narrowing(order_by)
    )
    return page


@query
async def queues(info: Info) -> list[QueueStats] | None:
    """All queues by name: those that a worker serves, that have jobs, or that something is set for. FORBIDDEN but for
    ADMIN.
    """
    _admins_only(info.context.signed_in)
    found: Any = await ledger.queue_stats(info.context.reading, wanted(info))
    return found


@query
async def workers(info: Info) -> list[JobWorker] | None:
    """All workers by name: those that live, and those that died lately. FORBIDDEN but for ADMIN."""
    _admins_only(info.context.signed_in)
    found: Any = await ledger.read_workers(info.context.database.reader)
    return found


@query
async def schedules(info: Info) -> list[JobSchedule] | None:
    """All schedules by name. FORBIDDEN but for ADMIN."""
    _admins_only(info.context.signed_in)
    found: Any = await ledger.read_schedules(info.context.reading, wanted(info))
    return found


def _admins_only(viewer: Viewer) -> None:
    if not viewer.is_admin:
        raise AccessDenied("Only an ADMIN may look at queues, workers and schedules.")


async def _job(info: Info, key: UUID | None) -> Job | None:
    found: Job | None = None if key is None else await info.context.reading.one(JOB, wanted(info), key)
    return found


QUERIES: list[Any] = [job, job_by_uuid, jobs, queues, workers, schedules]
