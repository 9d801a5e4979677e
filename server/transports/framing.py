"""How events are written into a streamed HTTP answer: as server-sent events, or as parts of a multipart body."""

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from server.graphql.events import Event
from server.transports.negotiation import Media


class Framing(Protocol):
    """One way to write a stream."""

    @property
    def name(self) -> str:
        """What metrics call it."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that say which form this is."""

    @property
    def opening(self) -> bytes:
        """What is sent at once."""

    @property
    def heartbeat(self) -> bytes:
        """What is sent when there was nothing to send for a while."""

    @property
    def ending(self) -> bytes:
        """What says that there will be no more."""

    def event(self, event: Event) -> bytes:
        """One event of the stream."""

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        """What the stream ends with where it cannot start or go on. `ending` follows."""


# Proxies must pass each event on at once, and compress nothing, for that would hold it back.
UNBUFFERED = ((b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no"))


@dataclass(frozen=True, slots=True)
class ServerSentEvents:
    """graphql-sse in distinct mode. Lines end in LF; an event that has a cursor carries it as its id."""

    name: str = "sse"
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/event-stream; charset=utf-8"), *UNBUFFERED)
    opening: bytes = b":\n\n"
    heartbeat: bytes = b":\n\n"
    ending: bytes = b"event: complete\ndata:\n\n"

    def event(self, event: Event) -> bytes:
        """One `next`."""
        return event.framed(self.name, self._frame)

    @staticmethod
    def _frame(event: Event) -> bytes:
        return _cursor(event) + b"event: next\ndata: " + event.json + b"\n\n"

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        """The errors as a `next`, which is how the protocol tells them."""
        return self.event(Event({"errors": errors}))


@dataclass(frozen=True, slots=True)
class MultipartParts:
    """Apollo's multipart subscriptions. Each part is sent with the boundary after it, so that it is read at once."""

    name: str = "multipart"
    headers: tuple[tuple[bytes, bytes], ...] = (
        (b"content-type", b'multipart/mixed;boundary="graphql";subscriptionSpec="1.0"'),
        *UNBUFFERED,
    )
    opening: bytes = b"\r\n--graphql\r\n"
    heartbeat: bytes = b"content-type: application/json\r\n\r\n{}\r\n--graphql\r\n"
    # The boundary that the last part ended in, made the final one by an empty part and two hyphens.
    ending: bytes = b'content-type: application/json\r\n\r\n{"payload":null}\r\n--graphql--\r\n'

    def event(self, event: Event) -> bytes:
        """One part."""
        return event.framed(self.name, self._frame)

    @staticmethod
    def _frame(event: Event) -> bytes:
        return b'content-type: application/json\r\n\r\n{"payload":' + event.json + b"}\r\n--graphql\r\n"

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        """The errors as an answer of the operation: those of the transport would lose their codes."""
        return self.event(Event({"errors": errors}))


@dataclass(frozen=True, slots=True)
class JobEvents:
    """Server-sent events without GraphQL around them: each is named by its type and carries the facts alone.

    `final_seq` is the number of the job's last event where it has ended, whose history may be gone.
    """

    field: str
    final_seq: int | None = None
    name: str = "events"
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/event-stream; charset=utf-8"), *UNBUFFERED)
    opening: bytes = b":\n\n"
    heartbeat: bytes = b":\n\n"

    @property
    def ending(self) -> bytes:
        """The end. A client that comes again all the same comes with the last number, and gets nothing."""
        return (b"" if self.final_seq is None else b"id: %d\n" % self.final_seq) + b"event: complete\ndata:\n\n"

    def event(self, event: Event) -> bytes:
        """One event of the stream."""
        return event.framed(self.name, self._frame)

    def _frame(self, event: Event) -> bytes:
        facts = (event.body.get("data") or {}).get(self.field)
        if facts is None:
            return self.failure(event.body.get("errors", []))
        name = str(facts["type"]).lower().encode()
        return _cursor(event) + b"event: " + name + b"\ndata: " + orjson.dumps(facts) + b"\n\n"

    def failure(self, errors: list[dict[str, Any]]) -> bytes:
        """The errors."""
        return b"event: failure\ndata: " + orjson.dumps(errors) + b"\n\n"


def _cursor(event: Event) -> bytes:
    return b"" if event.seq is None else b"id: %d\n" % event.seq


def framing_of(media: Media) -> Framing:
    """The framing of a streamed form."""
    return MultipartParts() if media is Media.MULTIPART else ServerSentEvents()
