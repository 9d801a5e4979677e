"""Says that this worker lives, and hears what has become of its jobs.

A thread of its own with its own event loop and connection: a handler that keeps the main loop busy does not make us
look dead. Without a heartbeat for `deadline_seconds` of our own monotonic clock, which is before anybody takes us for
dead, we stop our jobs ourselves. The time counts from when a beat was begun: a slow answer does not stretch it.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from uuid import UUID

from db.clock import Clock
from db.ledger import commands as ledger
from db.session import Database
from db.settings import DatabaseSettings
from db.telemetry import get_logger
from jobs.settings import WorkerSettings

log = get_logger(__name__)

WATCH_SECONDS = 0.2
LEAST_PATIENCE_SECONDS = 1.0


class Heartbeat:
    """The thread, as the main loop sees it. `on_answer` and `on_deadline` are called in the main loop."""

    def __init__(
        self,
        *,
        database: DatabaseSettings,
        clock: Clock,
        card: ledger.WorkerCard,
        settings: WorkerSettings,
        held: Callable[[], Mapping[UUID, int]],
        on_answer: Callable[[ledger.Answer], None],
        on_deadline: Callable[[], None],
    ) -> None:
        self.is_draining = False
        # A beat that is not answered by then is begun anew on another connection: there is time for one before the end.
        self._patience_seconds = min(
            settings.deadline_seconds, max(LEAST_PATIENCE_SECONDS, settings.deadline_seconds / 4)
        )
        self._database = database.model_copy(
            update={
                "write_pool": 1,
                "read_pool": 1,
                "silence_timeout_ms": int(self._patience_seconds * 1000),
                # One that got lost in the middle keeps our row locked, and the next beat waiting, no longer than that.
                "idle_in_transaction_timeout_ms": int(self._patience_seconds * 1000),
            }
        )
        self._clock = clock
        self._card = card
        self._settings = settings
        self._held = held
        self._on_answer = on_answer
        self._on_deadline = on_deadline
        self._main = asyncio.get_running_loop()
        self._own: asyncio.AbstractEventLoop | None = None
        self._asked: asyncio.Event | None = None
        self._is_over = False
        self._last = self._tried = time.monotonic()
        self._failed: float | None = None
        self._is_told = self._has_unknown = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def is_late(self) -> bool:
        """Whether we have not been able to say that we live for so long that our jobs are not ours any more."""
        return time.monotonic() - self._last > self._settings.deadline_seconds

    @property
    def is_steady(self) -> bool:
        """Whether the store has answered each of our beats for a lease.

        Where it has not, others could not beat either: that they have not been seen says nothing of them yet.
        """
        return self._failed is None or time.monotonic() - self._failed > self._settings.lease_seconds

    def start(self) -> None:
        """Begin to beat. The worker's row is there already, written by whoever starts us."""
        self._last = self._tried = time.monotonic()
        self._thread.start()

    def ask(self) -> None:
        """Beat now: something may have become of our jobs."""
        if self._own is not None and self._asked is not None and not self._is_over:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._own.call_soon_threadsafe(self._asked.set)

    @property
    def seconds_since_beat(self) -> float:
        """How long ago the newest beat that arrived was begun."""
        return time.monotonic() - self._last

    @property
    def seconds_since_try(self) -> float:
        """How long ago the newest beat was begun, whatever became of it."""
        return time.monotonic() - self._tried

    async def stop(self) -> None:
        """Beat no more."""
        self._is_over = True
        if self._own is not None and self._asked is not None:
            with contextlib.suppress(RuntimeError):
                self._own.call_soon_threadsafe(self._asked.set)
        await asyncio.to_thread(self._thread.join, self._settings.deadline_seconds)

    # --------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        asyncio.run(self._beat_until_over())

    async def _beat_until_over(self) -> None:
        self._own, self._asked = asyncio.get_running_loop(), asyncio.Event()
        watching = asyncio.create_task(self._watch())
        database = await Database.open(self._database, clock=self._clock)
        try:
            is_done = True
            while not self._is_over:
                # Where the store is but slow, it has more time when it is asked again.
                longer = max(self._patience_seconds, self._settings.deadline_seconds / 2)
                is_done = await self._beat(database, patience_seconds=self._patience_seconds if is_done else longer)
                if not is_done:
                    # Not at once again: it has enough to do.
                    await asyncio.sleep(WATCH_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.heartbeat_seconds / (1 if is_done else 2)):
                        await self._asked.wait()
                self._asked.clear()
        finally:
            watching.cancel()
            await database.close()

    async def _beat(self, database: Database, *, patience_seconds: float) -> bool:
        began = self._tried = time.monotonic()
        held = self._held()
        try:
            async with asyncio.timeout(patience_seconds), database.transaction() as tx:
                await ledger.beat(tx, card=self._card, is_draining=self.is_draining, now=tx.now)
                answer = await ledger.standing(tx, worker_id=self._card.id, held=held)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may succeed
            # In a word: a traceback takes its time, and this thread has a deadline to watch.
            log.warning("heartbeat.failed", error=type(error).__name__)
            self._failed = time.monotonic()
            return False
        self._last, self._is_told = began, False
        # That nothing is unknown any more is news too.
        if answer.lost or answer.cancelled or answer.unknown or self._has_unknown:
            self._tell(self._on_answer, answer)
        self._has_unknown = bool(answer.unknown)
        return True

    async def _watch(self) -> None:
        while True:
            if self.is_late and not self._is_told:
                self._is_told = True
                log.error("heartbeat.deadline", seconds=round(time.monotonic() - self._last, 1))
                self._tell(self._on_deadline)
            await asyncio.sleep(WATCH_SECONDS)

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the main loop has ended
            self._main.call_soon_threadsafe(call, *arguments)
