"""Streams over HTTP: a subscription's events as they come, heartbeats between them, and a clear end.

Two tasks work on a stream: one runs the subscription and puts what it yields into a mailbox, the other sends. A burst
waits until there is room. If there is none for seconds the client does not read: the answer breaks off without the mark
that says `complete`, so that the client connects again and resumes where it was. So it is when the server shuts down.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, aclosing
from typing import Any

from starlette.types import Receive, Scope, Send

from db.errors import Code
from resolvers.context import Context
from resolvers.watching import FellBehind
from server import metrics
from server.admission import Admission, watched
from server.edge import Edge, address_of, edge_of
from server.graphql.events import Event
from server.graphql.operations import Operation
from server.refusals import Rejected, RequestRefused
from server.transports.framing import Framing, ServerSentEvents
from server.transports.interrupt import Interruptible, WhilePresent, alongside
from server.transports.mailbox import Mailbox

SIGNED_OUT = {
    "message": "The token has expired or was revoked: the stream ends.",
    "extensions": {"code": Code.UNAUTHENTICATED},
}
# What may come of a stream, other than an error, which has a code.
ENDS = frozenset({"ok", "gone", "slow", "signed out", "draining"})
# How long a broken-off answer waits for a client that does not read, before the connection is dropped.
LAST_WORD_SECONDS = 2.0


async def stream(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    operation: Operation,
    context: Context,
    admission: Admission,
    framing: Framing,
) -> None:
    """Answer a subscription."""
    edge = edge_of(scope)
    await _start(send, framing, admission.headers)
    with ExitStack() as places:
        try:
            viewer = str(admission.viewer.user_id) if admission.viewer else f"address:{address_of(scope)}"
            places.enter_context(edge.streams.per_address.hold(address_of(scope)))
            places.enter_context(edge.streams.per_viewer.hold(viewer))
        except RequestRefused as refusal:
            # The stream is the answer, errors included: no client can read a status once it asked for events.
            scope["state"]["outcome"] = refusal.code
            await _finish(send, framing.failure([refusal.error]) + framing.ending)
            return
        counted = places.enter_context(metrics.open_stream(framing.name))
        outcome = await _serve(
            receive, send, edge=edge, framing=framing, operation=operation, context=context, admission=admission
        )
        scope["state"]["outcome"] = outcome
        counted.reason = outcome if outcome in ENDS else "error"


async def send_events(send: Send, bodies: list[dict[str, Any]], *, headers: Mapping[str, str] | None = None) -> None:
    """Send whole answers as the events of a stream that ends at once."""
    framing = ServerSentEvents()
    await _start(send, framing, headers or {})
    await _finish(send, b"".join(framing.event(Event(body)) for body in bodies) + framing.ending)


async def _serve(
    receive: Receive,
    send: Send,
    *,
    edge: Edge,
    framing: Framing,
    operation: Operation,
    context: Context,
    admission: Admission,
) -> str:
    """Send events until there are no more, the client leaves, the token ends, or the server shuts down."""
    limits = edge.limits
    mailbox = Mailbox(limits.waiting_events, limits.waiting_bytes, patience_seconds=limits.slow_reader_seconds)
    async with WhilePresent(receive, after_seconds=0) as work:
        with watched(edge, admission, lambda: work.interrupt("signed out")) as follow, follow(context):
            events = edge.operations.events(operation, context)
            async with alongside(_read(events, framing, mailbox, work), _drained(edge, work)):
                await _write(send, framing, mailbox, limits.heartbeat_seconds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORD_SECONDS):
            if work.reason == "signed out":
                await _finish(send, framing.failure([SIGNED_OUT]) + framing.ending)
            elif work.reason != "gone":
                await _finish(send, b"")
    return work.reason or mailbox.outcome


async def _read(events: AsyncGenerator[Event, None], framing: Framing, mailbox: Mailbox, work: Interruptible) -> None:
    try:
        async with aclosing(events):
            async for event in events:
                if not await mailbox.put(framing.event(event)):
                    work.interrupt("slow")
                    return
        mailbox.close(framing.ending)
    except FellBehind:
        work.interrupt("slow")
    except Rejected as rejection:
        code = rejection.errors[0]["extensions"]["code"]
        mailbox.close(framing.failure(rejection.errors) + framing.ending, outcome=code)


async def _write(send: Send, framing: Framing, mailbox: Mailbox, heartbeat_seconds: float) -> None:
    while True:
        try:
            async with asyncio.timeout(heartbeat_seconds):
                taken = await mailbox.take()
        except TimeoutError:
            taken = framing.heartbeat, 0
        if taken is None:
            return
        body, events = taken
        await send({"type": "http.response.body", "body": body, "more_body": True})
        metrics.EVENTS.inc(events)


async def _drained(edge: Edge, work: Interruptible) -> None:
    await edge.streams.draining.wait()
    work.interrupt("draining")


async def _start(send: Send, framing: Framing, headers: Mapping[str, str]) -> None:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": [*framing.headers, *raw]})
    # At once, so that the client knows that it is connected before the first event.
    await send({"type": "http.response.body", "body": framing.opening, "more_body": True})


async def _finish(send: Send, last: bytes) -> None:
    await send({"type": "http.response.body", "body": last, "more_body": False})
