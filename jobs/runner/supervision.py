"""Keeps one handler within its bounds: its time, requests to stop, and the loss of the job."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from jobs.attempt import Attempt, Stop
from jobs.settings import WorkerSettings

# A handler that does not end when it is interrupted is left behind after so long; its fence keeps it from writing.
GIVE_UP_SECONDS = 5.0


class Supervision:
    """One handler under way."""

    def __init__(self, attempt: Attempt, settings: WorkerSettings) -> None:
        self.attempt = attempt
        self.is_given_up = False
        self._settings = settings
        self._body: asyncio.Task[Any] | None = None
        # Done when the handler has ended, or is left behind.
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timers: list[asyncio.TimerHandle] = []

    async def run(self, body: Coroutine[Any, Any, Any], *, timeout_seconds: float) -> asyncio.Task[Any]:
        """Run the handler until it ends or is left behind. Its task; `is_given_up` says which."""
        self._body = asyncio.create_task(body)
        self._body.add_done_callback(self._end)
        if self.attempt.stop is not None:
            self._interrupt_later()
        self._later(timeout_seconds, self.stop, Stop.TIMEOUT)
        try:
            await self._over
        except asyncio.CancelledError:
            self._body.cancel()
            raise
        finally:
            for timer in self._timers:
                timer.cancel()
        self.is_given_up = not self._body.done()
        return self._body

    def stop(self, why: Stop, reason: str | None = None) -> None:
        """Ask the handler to stop. The first request counts, except that a lost job is lost."""
        if self.attempt.stop is not None and why is not Stop.LOST:
            return
        self.attempt.stop, self.attempt.stop_reason = why, reason
        if self._body is not None:
            self._interrupt_later()

    def _interrupt_later(self) -> None:
        # Cancelling is polite: the handler may reach a safe point by itself. Nothing else waits.
        if self.attempt.stop is Stop.CANCEL:
            self._later(self._settings.cancel_grace_seconds, self._interrupt)
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        if self._body is not None:
            self._body.cancel()
        if self.attempt.stop is Stop.LOST or self.attempt.stop is Stop.RELEASE:
            self._later(GIVE_UP_SECONDS, self._end)

    def _end(self, _: object = None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _later(self, seconds: float, call: Any, *arguments: Any) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, call, *arguments))
