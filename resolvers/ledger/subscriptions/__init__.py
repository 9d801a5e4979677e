"""The streams of ledger."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

import strawberry

from db.errors import Code, refuse
from db.ledger.queries import JOB, EventRow, read_snapshot
from db.ledger.rules import TERMINAL, EventType
from db.reading import Want
from resolvers.context import Context, Info
from resolvers.fields import subscription
from resolvers.ids import not_found, require_id
from resolvers.ledger.subscriptions.hub import hub_of
from resolvers.ledger.types import JobEvent, JobLog
from resolvers.paging import described
from resolvers.scalars import JSON
from resolvers.selection import wanted


@subscription
async def job_progress(
    info: Info,
    job_id: Annotated[strawberry.ID, described("The job's id.")],
    after: Annotated[
        int | None,
        described("The highest `seq` received before; 0 for the whole history; absent: only news follow."),
    ] = None,
) -> AsyncGenerator[JobEvent, None]:
    """A job as it is (SNAPSHOT), then its events after `after`, in order, without gap or repeat, to its end.

    The SNAPSHOT's `seq` is the cursor that the stream starts from, so the `seq` of the last event received is always
    right to resume with; over SSE it is the `id:` line, and `Last-Event-ID` counts as `after`. The stream completes
    after the job's last event, also where the job had ended before. A client library that reconnects by itself repeats
    its old `after`: skip what comes up to the highest `seq` seen. A retried job goes on as another: `retriedAs`.
    """
    key = require_id(job_id, "jobId", types=("Job",), thing="job")
    context = info.context
    selected = wanted(info).child("job") or Want("job")
    async with hub_of(context).watch(key) as watch:
        now = await read_snapshot(context.database.reader, job_id=key)
        job = await _job(context, key, selected)
        if now is None:
            raise not_found("job", "jobId")
        cursor = _cursor(now.seq, after, context.last_event_id)
        yield _event(replace(now, seq=cursor), job)
        while True:
            events = await watch.events(after=cursor)
            if events:
                # Read after the events, so it is never older than they are; and whoever may not see it hears no more.
                job = await _job(context, key, selected)
            for event in events:
                cursor = event.seq
                yield _event(event, job)
                if event.is_terminal:
                    return
            if not events:
                if now.state in TERMINAL:
                    return
                await watch.wait()


async def _job(context: Context, key: UUID, selected: Want) -> Any:
    job = await context.reading.one(JOB, selected, key)
    if job is None:
        raise not_found("job", "jobId")
    return job


def _cursor(last_seq: int, *given: int | None) -> int:
    # A client that reconnects by itself sends its first `after` again, and the header says how far it really came.
    known = [each for each in given if each is not None]
    if not known:
        return last_seq
    cursor = max(known)
    if not 0 <= cursor <= last_seq:
        raise refuse(
            Code.BAD_USER_INPUT,
            f"`after` must be between 0 and the job's lastSeq, {last_seq}; it is {cursor}.",
            "after",
            min=0,
            max=last_seq,
        )
    return cursor


def _event(row: EventRow, job: Any) -> JobEvent:
    return JobEvent(
        seq=row.seq,
        at=row.at,
        job=job,
        type=row.type,
        message=row.message,
        status=row.status,
        progress=row.progress,
        step=row.step,
        done=row.done,
        total=row.total,
        attempt=row.attempt,
        log=_log(row),
    )


def _log(row: EventRow) -> JobLog | None:
    if row.type is not EventType.LOG or row.level is None:
        return None
    data = None if row.data is None else JSON(row.data)
    return JobLog(seq=row.seq, at=row.at, level=row.level, message=row.message or "", data=data)


SUBSCRIPTIONS: list[Any] = [job_progress]
