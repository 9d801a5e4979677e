"""The one loop over everything that falls due.

Every worker runs it. One statement asks all sources at once whether there is something to do; then each source that has
something is worked on. Leases and SKIP LOCKED let any number of workers do so at the same time. A hint brings the next
round forward; without one it comes by itself.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import Select, literal_column, select, union_all

from db.clock import SHIFT
from db.feed import Feed
from db.leases import DueSource
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE
from db.reading.plan import compile_statement
from db.session import Database
from db.telemetry import get_logger
from jobs.settings import WorkerSettings

log = get_logger(__name__)

# Work → how many rows were taken care of; as many as were asked for means that there may be more.
Work = Callable[[], Awaitable[int]]
AFTER_FAILURE_SECONDS = 1.0


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

    def __init__(self, *, database: Database, feed: Feed, duties: Sequence[Duty], settings: WorkerSettings) -> None:
        self._database = database
        self._feed = feed
        self._duties = list(duties)
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
                    while await self.round():
                        pass
                except Exception as error:
                    log.warning("dispatcher.failed", exc_info=error)
                    await asyncio.sleep(AFTER_FAILURE_SECONDS)
                await self._until_next()
        finally:
            listening.cancel()

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
        # Not all workers at once: each poll comes up to a fifth earlier or later.
        seconds = self._settings.poll_seconds * random.uniform(0.8, 1.2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()


class Dispatching:
    """Marks due jobs as dispatched and hands their tickets to a carrier: no more than the fleet can soon use.

    The rest stays in the table, where priority, pausing and cancelling cost nothing.
    """

    def __init__(self, *, database: Database, carrier: Carrier, settings: WorkerSettings) -> None:
        self._database = database
        self._carrier = carrier
        self._settings = settings
        self._lease = timedelta(seconds=settings.lease_seconds)
        self.is_held_back = False

    async def __call__(self) -> int:
        """Dispatch what there is room for. How many."""
        async with self._database.transaction() as tx:
            room = self._carrier.room()
            if room is None:
                room = await ledger.room(
                    tx, now=tx.now, lease=self._lease, tickets_per_slot=self._settings.tickets_per_slot
                )
            limit = min(room, self._settings.batch)
            tickets = await ledger.dispatch(tx, now=tx.now, limit=limit) if limit > 0 else []
        # There may be more jobs than room: whoever finishes some asks again.
        self.is_held_back = len(tickets) == limit
        left = await self._carrier.carry(tickets) if tickets else []
        if left:
            async with self._database.transaction() as tx:
                await ledger.hand_back(tx, tickets=left)
        return len(tickets) - len(left)
