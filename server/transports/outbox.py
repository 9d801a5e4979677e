"""What waits to be sent over one socket, counted for each operation."""

import asyncio
from collections import Counter, deque

from starlette.types import Send


class Outbox:
    """Messages in order, sent by one task. An operation waits for room for its events, but not for ever."""

    def __init__(self, most_per_operation: int, *, patience_seconds: float) -> None:
        self._most = most_per_operation
        self._patience_seconds = patience_seconds
        self._messages: deque[tuple[str, str]] = deque()
        self._waiting: Counter[str] = Counter()
        self._something = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, text: str) -> None:
        """Add a message that is no event: there are few of them, each for a message of the client."""
        self._messages.append((text, ""))
        self._something.set()

    async def put_event(self, id_: str, text: str) -> bool:
        """Add an event of an operation, once there is room for it. False: there was none in time, for nobody reads."""
        if self._waiting[id_] >= self._most:
            try:
                async with asyncio.timeout(self._patience_seconds):
                    while self._waiting[id_] >= self._most:
                        self._room.clear()
                        await self._room.wait()
            except TimeoutError:
                return False
        self._waiting[id_] += 1
        self._messages.append((text, id_))
        self._something.set()
        return True

    def drop(self) -> None:
        """Forget what waits: the viewer may not have it any more."""
        self._messages.clear()
        self._waiting.clear()

    async def send_all(self, send: Send) -> None:
        """Send what comes, until cancelled. Waits while the client's side of the connection is full."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.flush(send)

    async def flush(self, send: Send) -> None:
        """Send what waits now."""
        while self._messages:
            text, id_ = self._messages[0]
            # Still in its place while it is sent: what is being sent waits too, and is not lost if that breaks off.
            await send({"type": "websocket.send", "text": text})
            if self._messages and self._messages[0][0] is text:
                self._messages.popleft()
            if id_:
                self._sent(id_)

    def _sent(self, id_: str) -> None:
        left = self._waiting[id_] - 1
        if left > 0:
            self._waiting[id_] = left
        else:
            self._waiting.pop(id_, None)
        self._room.set()
