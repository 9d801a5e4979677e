"""The one loop over everything that falls due.

Every worker runs it. One statement asks all sources at once whether there is something to do; then each source that has
something is worked on. Leases and SKIP LOCKED let any number of workers do so at the same time. A hint brings the next
round forward; without one it comes by itself.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import Select, literal_column, select, union_all

from db.clock import SHIFT
from db.compiled import compile_statement
from db.feed import Feed
from db.leases import DueSource
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE
from db.session import Database
from db.telemetry import get_logger
from jobs.settings import WorkerSettings

log = get_logger(__name__)

# Work → how many rows were taken care of; as many as were asked for means that there may be more.
Work = Callable[[], Awaitable[int]]
AFTER_FAILURE_SECONDS = 1.0
# A hint that comes so soon after the last turn waits for company.
GATHER_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Duty:
    """A source of due rows, and what is to be done with them."""

    source: DueSource
    work: Work


class Carrier(Protocol):
    """Whatever takes tickets to a worker."""

    def room(self) -> int | None:
        """How many tickets it takes now; None: as many as the fleet can use."""

    async def carry(self, tickets: Sequence[ledger.Ticket]) -> Sequence[ledger.Ticket]:
        """Take them; those that it could not take. One that is lost on the way is made anew after a few seconds."""


class Dispatcher:
    """Asks what is due, and has it done."""

    def __init__(
        self,
        *,
        database: Database,
        feed: Feed,
        duties: Sequence[Duty],
        settings: WorkerSettings,
        hinted: Work | None = None,
    ) -> None:
        self._database = database
        self._feed = feed
        self._duties = list(duties)
        # What a hint asks for; without it, a hint is a poll that comes early.
        self._hinted = hinted
        self._next_poll = 0.0
        self._last_turn = 0.0
        self._settings = settings
        self._woken = asyncio.Event()
        questions: list[Select[Any]] = [
            select(literal_column(f"'{duty.source.name}'").label("name")).where(duty.source.question.exists())
            for duty in duties
        ]
        self._question = compile_statement(union_all(*questions))

    def wake(self) -> None:
        """Have the next round begin at once."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled. A store that fails is asked again later."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    while await self._turn():
                        pass
                except Exception as error:
                    log.warning("dispatcher.failed", exc_info=error)
                    await asyncio.sleep(AFTER_FAILURE_SECONDS)
                await self._until_next()
        finally:
            listening.cancel()

    async def _turn(self) -> bool:
        """Do what a hint asks for at once; and when it is time for a poll, ask for everything."""
        self._woken.clear()
        self._last_turn = time.monotonic()
        if self._hinted is not None and self._last_turn < self._next_poll:
            return await self._hinted() >= self._settings.batch
        is_full = await self.round()
        # Not all workers at once: each poll comes up to a fifth earlier or later.
        self._next_poll = 0.0 if is_full else time.monotonic() + self._settings.poll_seconds * random.uniform(0.8, 1.2)
        return is_full

    async def round(self) -> bool:
        """Ask once, and do what is due. Whether there may be more at once."""
        values = {SHIFT: self._database.clock.shift}
        rows = await self._database.reader.fetch(self._question.sql, self._question.arguments(values))
        due = {row["name"] for row in rows}
        is_full = False
        for duty in self._duties:
            if duty.source.name in due:
                is_full |= await self._do(duty) >= self._settings.batch
        return is_full

    async def _do(self, duty: Duty) -> int:
        try:
            return await duty.work()
        except Exception as error:
            # One source that fails must not keep the others from their turn.
            log.warning("dispatcher.duty_failed", source=duty.source.name, exc_info=error)
            return 0

    async def _listen(self) -> None:
        async with self._feed.listen(WORK_IS_DUE) as hints:
            while True:
                await hints.wait()
                self.wake()

    async def _until_next(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_poll - time.monotonic())):
                await self._woken.wait()
        # Many hints in a row make one turn, not a turn each.
        await asyncio.sleep(max(0.0, self._last_turn + GATHER_SECONDS - time.monotonic()))


class Dispatching:
    """Marks due jobs as dispatched and hands their tickets to a carrier: no more than the fleet can soon use.

    The rest stays in the table, where priority, pausing and cancelling cost nothing.
    """

    def __init__(self, *, database: Database, carrier: Carrier, settings: WorkerSettings) -> None:
        self._database = database
        self._carrier = carrier
        self._settings = settings
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._is_held_back = False
        self._has_limited = False

    def asks_again_after(self, low_water: int) -> float:
        """After how many jobs that finish here dispatching is worth another try: some may wait for just that."""
        if self._has_limited:
            return 1
        return low_water if self._is_held_back else float("inf")

    async def __call__(self) -> int:
        """Dispatch what there is room for. How many."""
        room = self._carrier.room()
        bounds = _Bounds(
            lease=self._lease,
            limit=min(self._settings.batch if room is None else room, self._settings.batch),
            tickets_per_slot=self._settings.tickets_per_slot if room is None else None,
        )
        if bounds.limit <= 0:
            self._is_held_back = True
            return 0
        async with self._database.single() as single:
            found = await ledger.dispatch(single, **asdict(bounds))
        self._is_held_back, self._has_limited = found.is_held_back, found.has_limited
        count = await self._carry(found.tickets)
        if found.is_contended and count < bounds.limit:
            return count + await self()
        if found.has_limited:
            async with self._database.transaction() as tx:
                found = await ledger.dispatch_limited(tx, **asdict(bounds))
            count += await self._carry(found.tickets)
        return count

    async def _carry(self, tickets: Sequence[ledger.Ticket]) -> int:
        left = await self._carrier.carry(tickets) if tickets else []
        if left:
            async with self._database.transaction() as tx:
                await ledger.hand_back(tx, tickets=left)
        return len(tickets) - len(left)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How many jobs may be dispatched."""

    lease: timedelta
    limit: int
    tickets_per_slot: int | None
