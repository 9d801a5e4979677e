"""What waits to be sent over one socket: bounded, so that one who reads slowly or not at all cannot fill our memory."""

import asyncio
import sys
from collections import Counter, deque

from starlette.types import Send

from server import metrics

# Whose message it is, where it is no operation's event.
ANSWERS = ""


class Outbox:
    """Messages in order, sent by one task: the events of operations, and answers, which is everything else.

    Each operation has `most` places, the answers have as many; all events together may take `most_bytes`, the answers
    as much again. So a flood of events keeps nobody from being answered, and answers wait for no room: whoever asks is
    heard again only when there is some (`has_room`). It may be passed by what was asked for until then.
    """

    def __init__(self, most: int, most_bytes: int, *, patience_seconds: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._patience_seconds = patience_seconds
        self._messages: deque[tuple[str, str, int]] = deque()
        self._waiting: Counter[str] = Counter()
        self._bytes = {"answers": 0, "events": 0}
        self._something = asyncio.Event()
        self._moved = asyncio.Event()

    @property
    def bytes_waiting(self) -> int:
        """How much memory it takes what waits."""
        return sum(self._bytes.values())

    def is_full(self, id_: str = ANSWERS) -> bool:
        """Whether there is no room for an event of an operation, or for an answer."""
        return self._waiting[id_] >= self._most or self._bytes[_kind(id_)] >= self._most_bytes

    async def has_room(self, id_: str = ANSWERS) -> bool:
        """Wait for room. False: nothing at all was sent for as long as we are patient, for nobody reads."""
        if not self.is_full(id_):
            return True
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._patience_seconds) as timer:
                while self.is_full(id_):
                    self._moved.clear()
                    await self._moved.wait()
                    timer.reschedule(clock() + self._patience_seconds)
        except TimeoutError:
            return False
        return True

    def put(self, text: str) -> None:
        """Add an answer."""
        self._add(ANSWERS, text)

    async def put_event(self, id_: str, text: str) -> bool:
        """Add an event of an operation, once there is room for it. False: there was none in time, for nobody reads."""
        if not await self.has_room(id_):
            return False
        self._add(id_, text)
        return True

    def drop(self) -> None:
        """Forget what waits: the viewer may not have it any more."""
        while self._messages:
            self._take()

    async def send_all(self, send: Send) -> None:
        """Send what comes, until cancelled. Waits while the client's side of the connection is full."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.flush(send)

    async def flush(self, send: Send) -> None:
        """Send what waits now."""
        while self._messages:
            text, id_, _ = self._messages[0]
            # Still in its place while it is sent: what is being sent waits too, and is not lost if that breaks off.
            await send({"type": "websocket.send", "text": text})
            if id_ != ANSWERS:
                metrics.EVENTS.inc()
            if self._messages and self._messages[0][0] is text:
                self._take()
            self._moved.set()

    def _add(self, id_: str, text: str) -> None:
        # What it takes of memory, whatever the letters: not the same as what it takes on the wire.
        size = sys.getsizeof(text)
        self._messages.append((text, id_, size))
        self._waiting[id_] += 1
        self._bytes[_kind(id_)] += size
        self._something.set()

    def _take(self) -> None:
        _, id_, size = self._messages.popleft()
        self._bytes[_kind(id_)] -= size
        self._waiting[id_] -= 1
        if not self._waiting[id_]:
            del self._waiting[id_]


def _kind(id_: str) -> str:
    return "answers" if id_ == ANSWERS else "events"
