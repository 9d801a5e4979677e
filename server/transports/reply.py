"""Reading a body and writing an answer, straight over ASGI."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Send

from server.graphql.operations import Outcome
from server.refusals import RequestRefused, malformed, too_much
from server.transports.negotiation import Media

# How much of a body that is too large is read and thrown away, so that the refusal can be read.
DISCARD_BYTES = 64 * 1024 * 1024
DISCARD_SECONDS = 5.0


class ClientGone(Exception):
    """The client left before its answer was ready."""


async def read_body(receive: Receive, headers: Headers, allowed: int) -> bytes:
    """The body, read piece by piece and never more of it than is allowed. Raises RequestRefused or ClientGone."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced[:18]) > allowed:
        if headers.get("expect") is None:
            await _discard(receive, 0)
        raise _too_large(allowed, int(announced[:18]))
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > allowed:
            pieces.clear()
            if message.get("more_body", False):
                await _discard(receive, size)
            raise _too_large(allowed, size)
        pieces.append(piece)
        if not message.get("more_body", False):
            break
    if not size:
        raise malformed('The body is empty. Send a JSON object such as {"query": "{ __typename }"}.')
    return b"".join(pieces) if len(pieces) > 1 else pieces[0]


async def _discard(receive: Receive, size: int) -> None:
    """Read on and keep nothing: most clients look for the answer only after they have sent everything."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while size < DISCARD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large(allowed: int, asked: int) -> RequestRefused:
    refusal = too_much(
        f"The body is too large: {allowed} bytes are allowed.",
        limit="bodyBytes",
        allowed=allowed,
        asked=asked,
        status=413,
    )
    # What may still be on its way is not read, so the connection cannot be used for another request.
    refusal.headers["connection"] = "close"
    return refusal


def status_of(outcome: Outcome, media: Media) -> int:
    """The status of an answer. Plain JSON always was 200, so clients of old look at `errors` alone."""
    if media is Media.JSON:
        return 200
    if outcome.timed_out:
        return 504
    return 200 if outcome.executed else 400


async def reply(
    send: Send,
    body: dict[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media: Media = Media.JSON,
) -> None:
    """Send a whole answer as JSON."""
    kind = media if media in {Media.JSON, Media.RESPONSE} else Media.JSON
    merged = {"cache-control": "no-store", "vary": "accept"} | dict(headers or {})
    await send_payload(send, orjson.dumps(body), status=status, headers=merged, content_type=kind)


async def send_payload(
    send: Send, payload: bytes, *, headers: Mapping[str, str], status: int = 200, content_type: str = Media.JSON
) -> None:
    """Send a whole answer that is JSON text already."""
    raw = [
        (b"content-length", str(len(payload)).encode()),
        (b"content-type", f"{content_type}; charset=utf-8".encode()),
    ]
    raw.extend((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": payload})


def cursor_in(last_event_id: str | None) -> int | None:
    """The number in a Last-Event-ID header; None where it is none.

    That is nobody's mistake, and so not refused: a browser sends what it was given last, be it by another server at
    this address, and a refusal would end its EventSource for good.
    """
    if last_event_id is None or not last_event_id.isascii() or not last_event_id.isdigit():
        return None
    return int(last_event_id[:18])
