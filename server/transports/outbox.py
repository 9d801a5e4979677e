"""What waits to be sent over one socket, counted for each operation."""

import asyncio
from collections import Counter, deque

from starlette.types import Send


class Outbox:
    """Messages in order, sent by one task. Too many of one operation waiting means that the client reads too slowly."""

    def __init__(self, most_per_operation: int) -> None:
        self._most = most_per_operation
        self._messages: deque[tuple[str, str]] = deque()
        self._waiting: Counter[str] = Counter()
        self._something = asyncio.Event()

    def put(self, text: str, id_: str = "") -> bool:
        """Add a message. False: too many of its operation wait already, and it was not added."""
        if id_:
            if self._waiting[id_] >= self._most:
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
            if id_ and (left := self._waiting[id_] - 1) > 0:
                self._waiting[id_] = left
            elif id_:
                self._waiting.pop(id_, None)
