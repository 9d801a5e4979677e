"""What waits to be sent to one client: bounded, so that one who reads slowly cannot fill the server's memory."""

import asyncio
from collections import deque


class Mailbox:
    """Frames in order. Whoever puts one in waits for room, but not for ever.

    There is room for `most` frames, and for another while those that wait are of fewer than `most_bytes`.
    """

    def __init__(self, most: int, most_bytes: int, *, patience_seconds: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._patience_seconds = patience_seconds
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._last: bytes | None = None
        self.outcome = "ok"

    async def put(self, frame: bytes) -> bool:
        """Add an event's frame, once there is room for it. False: there was none in time, for nobody reads."""
        if len(self._frames) >= self._most or self._bytes >= self._most_bytes:
            self._room.clear()
            try:
                async with asyncio.timeout(self._patience_seconds):
                    await self._room.wait()
            except TimeoutError:
                return False
        self._frames.append(frame)
        self._bytes += len(frame)
        self._something.set()
        return True

    def close(self, last: bytes, *, outcome: str = "ok") -> None:
        """Nothing will be added any more, but for a last frame, which is no event, and for which there is room.

        `outcome`: what has come of it all.
        """
        self._last, self.outcome = last, outcome
        self._something.set()

    async def take(self) -> tuple[bytes, int] | None:
        """Everything that waits, in one piece, and how many events that is; None at the end."""
        while not self._frames and self._last is None:
            self._something.clear()
            await self._something.wait()
        events, last = len(self._frames), self._last
        if not events and not last:
            return None
        waiting = b"".join(self._frames) + (last or b"")
        self._frames.clear()
        self._bytes = 0
        if last is not None:
            self._last = b""
        self._room.set()
        return waiting, events
