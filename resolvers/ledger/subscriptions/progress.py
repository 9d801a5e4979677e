"""`jobProgress`: one job, from a cursor to its end."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Annotated

import strawberry

from db.errors import Code, refuse
from db.ledger.queries import EventRow
from db.ledger.rules import TERMINAL
from db.reading import Want
from db.telemetry import get_logger
from resolvers.context import Info
from resolvers.fields import subscription
from resolvers.ids import not_found, require_id
from resolvers.ledger.subscriptions.hub import REST_SECONDS, Watch, hub_of
from resolvers.ledger.subscriptions.views import Shown, event_with
from resolvers.ledger.types import JobEvent
from resolvers.paging import described
from resolvers.selection import wanted
from resolvers.watching import AWAY

log = get_logger(__name__)


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
    async with hub_of(context).watch(key, context, wanted(info).child("job") or Want("job")) as watch:
        now, shown = await watch.begin()
        if now is None or shown is None:
            raise not_found("job", "jobId")
        cursor = _cursor(now.seq, after, context.last_event_id)
        yield event_with(replace(now, seq=cursor), shown.job)
        while True:
            events, shown = await _next(watch, now, cursor, shown)
            for event in events:
                cursor = event.seq
                yield shown.event(event)
                if event.is_terminal:
                    return
            if not events:
                if now.state in TERMINAL:
                    return
                if watch.is_behind(cursor):
                    # Its history is gone: it has ended since, and long ago.
                    now = await watch.snapshot() or now
                else:
                    await watch.wait()


async def _next(watch: Watch, now: EventRow, cursor: int, shown: Shown) -> tuple[list[EventRow], Shown]:
    """The events after the cursor, and the job as new as they are. Raises Refused where it may not be seen any more."""
    while True:
        try:
            events = await watch.events(after=cursor, known=now.seq)
            seen = await watch.shown(seq=events[-1].seq, after=shown) if events else shown
        except AWAY as error:
            log.warning("progress.not_read", job_id=str(now.job_id), error=type(error).__name__)
            await asyncio.sleep(REST_SECONDS)
            continue
        if seen is None:
            raise not_found("job", "jobId")
        return events, seen


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
