"""What waits to be sent to one client: bounded, so that one who reads slowly cannot fill the server's memory."""

import asyncio
from collections import deque


class Mailbox:
    """Frames in order. Whoever puts one in waits for room, but not for ever."""

    def __init__(self, most: int, *, patience_seconds: float) -> None:
        self._most = most
        self._patience_seconds = patience_seconds
        self._frames: deque[bytes] = deque()
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    async def put(self, frame: bytes) -> bool:
        """Add a frame, once there is room for it. False: there was none in time, for nobody reads."""
        if len(self._frames) >= self._most:
            self._room.clear()
            try:
                async with asyncio.timeout(self._patience_seconds):
                    await self._room.wait()
            except TimeoutError:
                return False
        self._frames.append(frame)
        self._something.set()
        return True

    def close(self, last: bytes = b"") -> None:
        """Nothing will be added any more, but for a last frame, for which there is always room."""
        self._frames.append(last)
        self._closed = True
        self._something.set()

    async def take(self) -> bytes | None:
        """Everything that waits, in one piece; None at the end."""
        while not self._frames:
            if self._closed:
                return None
            self._something.clear()
            await self._something.wait()
        waiting = b"".join(self._frames)
        self._frames.clear()
        self._room.set()
        return waiting
