"""What waits to be sent to one client: bounded, so that one who reads slowly cannot fill the server's memory."""

import asyncio
from collections import deque


class Mailbox:
    """Frames in order. `put` says no once too many wait; a closed mailbox is read to its end first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: deque[bytes] = deque()
        self._something = asyncio.Event()
        self._closed = False

    def put(self, frame: bytes) -> bool:
        """Add a frame. False: too many wait already, and it was not added."""
        if len(self._frames) >= self._most:
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
        return waiting
