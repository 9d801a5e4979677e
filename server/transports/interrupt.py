"""Ending a piece of work from outside, for a reason that whoever started it can tell."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType

from starlette.types import Receive

from db.cancelling import end_tasks

# A request that is answered sooner than this never pays for a task that watches whether its client is still there.
WATCH_AFTER_SECONDS = 0.05
# How often a block that is to end is told so again: long after whatever it has to tidy up.
AGAIN_SECONDS = 2.0


class Interruptible:
    """`async with Interruptible() as work: …` runs a block that `work.interrupt(reason)` ends early.

    The block is left as by a cancellation, which goes no further; `work.reason` says afterwards whether and why.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0
        self._again: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "Interruptible":
        self._task = asyncio.current_task()
        return self

    def interrupt(self, reason: str) -> None:
        """End the block, if it still runs. The first reason counts. Called from other tasks and callbacks."""
        if self._task is not None and self.reason is None:
            self.reason = reason
            self._cancel()

    def _cancel(self) -> None:
        # Once is not always enough: see `end_tasks`.
        if self._task is not None:
            self._cancellations += 1
            self._task.cancel()
            self._again = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._cancel)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        task, self._task = self._task, None
        if self._again is not None:
            self._again.cancel()
        if self.reason is None or task is None:
            return False
        for _ in range(self._cancellations - 1):
            task.uncancel()
        # Somebody else may have cancelled the task at the same time: then that is what counts. Otherwise whatever the
        # block made of its cancellation (a driver turns it into an error of its own) is what was asked for.
        return task.uncancel() <= 0 and (kind is None or issubclass(kind, asyncio.CancelledError | Exception))


class WhilePresent(Interruptible):
    """A block that ends when the client leaves: `reason` is "gone" then."""

    def __init__(self, receive: Receive, *, after_seconds: float = WATCH_AFTER_SECONDS) -> None:
        super().__init__()
        self._receive = receive
        self._after_seconds = after_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "WhilePresent":
        await super().__aenter__()
        self._timer = asyncio.get_running_loop().call_later(self._after_seconds, self._start)
        return self

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.interrupt("gone")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        return await super().__aexit__(kind, error, trace)


@asynccontextmanager
async def alongside(*others: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run others while a block runs; at its end they are cancelled and waited for."""
    tasks = [asyncio.get_running_loop().create_task(other) for other in others]
    try:
        yield
    finally:
        await end_tasks(tasks)
