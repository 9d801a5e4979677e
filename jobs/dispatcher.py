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
from typing import Any, Protocol, TypeVar

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

T = TypeVar("T")
# Work → how many rows were taken care of; as many as were asked for means that there may be more.
Work = Callable[[], Awaitable[int]]
AFTER_FAILURE_SECONDS = 1.0
# A hint that comes so soon after the last turn waits for company.
GATHER_SECONDS = 0.002
# Where others were at the same jobs, the next turn comes at once, then after twice this, doubling.
CONTENDED_SECONDS = 0.002


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
        self._hinted = hinted
        # Without `hinted`, a hint is a poll that comes early.
        self._early = asyncio.Event()
        self._settings = settings
        self._woken = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._doing: dict[str, asyncio.Task[None]] = {}
        questions: list[Select[Any]] = [
            select(literal_column(f"'{duty.source.name}'").label("name")).where(duty.source.question.exists())
            for duty in duties
        ]
        self._question = compile_statement(union_all(*questions))

    def wake(self) -> None:
        """Have the next round begin at once."""
        self._woken.set()

    def wake_in(self, seconds: float) -> None:
        """Have the next round begin after so many seconds at the latest."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self.wake)

    async def run(self) -> None:
        """Work until cancelled. What hints ask for never waits for a round, which may have hundreds of rows to do."""
        loops = [self._listen(), self._poll(), self._answer_hints()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, *self._doing.values()):
                task.cancel()

    async def _poll(self) -> None:
        while True:
            await self._survived(self._begin_due)
            # Not all workers at once: each poll comes up to a fifth earlier or later.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_seconds * random.uniform(0.8, 1.2)):
                    await self._early.wait()
            self._early.clear()

    async def _answer_hints(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._hinted is None:
                self._early.set()
                continue
            began = time.monotonic()
            while (await self._survived(self._hinted) or 0) >= self._settings.batch:
                pass
            # Many hints in a row make one turn, not a turn each.
            await asyncio.sleep(max(0.0, began + GATHER_SECONDS - time.monotonic()))

    async def _survived(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """What the work came to. A store that fails is asked again later."""
        try:
            return await work()
        except Exception as error:
            log.warning("dispatcher.failed", exc_info=error)
            await asyncio.sleep(AFTER_FAILURE_SECONDS)
            return None

    async def round(self) -> bool:
        """Ask once, and do what is due. Whether there may be more at once."""
        due = await self._due()
        done = await asyncio.gather(*[self._do(duty) for duty in due])
        return any(count >= self._settings.batch for count in done)

    async def _begin_due(self) -> None:
        """Ask once, and begin what is due: each duty by itself, so that one that waits for a lock delays no other."""
        for duty in await self._due():
            doing = self._doing.get(duty.source.name)
            if doing is None or doing.done():
                self._doing[duty.source.name] = asyncio.create_task(self._do_all(duty))

    async def _due(self) -> list[Duty]:
        values = {SHIFT: self._database.clock.shift}
        rows = await self._database.reader.fetch(self._question.sql, self._question.arguments(values))
        names = {row["name"] for row in rows}
        return [duty for duty in self._duties if duty.source.name in names]

    async def _do_all(self, duty: Duty) -> None:
        while await self._do(duty) >= self._settings.batch:
            pass

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


class Dispatching:
    """Marks due jobs as dispatched and hands their tickets to a carrier: no more than the fleet can soon use.

    The rest stays in the table, where priority, pausing and cancelling cost nothing.
    """

    def __init__(
        self,
        *,
        database: Database,
        carrier: Carrier,
        settings: WorkerSettings,
        ask_again: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._carrier = carrier
        self._settings = settings
        # Has us called again after so many seconds.
        self._ask_again = ask_again
        self._contended_turns = 0
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._is_held_back = False
        self._has_limited = False
        # A hint and a poll at the same time would only be in each other's way.
        self._dispatching = asyncio.Lock()

    def asks_again_after(self, low_water: int) -> float:
        """After how many jobs that finish here dispatching is worth another try: some may wait for just that."""
        if self._has_limited:
            return 1
        return low_water if self._is_held_back else float("inf")

    async def __call__(self) -> int:
        """Dispatch what there is room for. How many."""
        async with self._dispatching:
            return await self._dispatch()

    async def _dispatch(self) -> int:
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
        is_contended = found.is_contended
        if found.has_limited:
            async with self._database.transaction() as tx:
                found = await ledger.dispatch_limited(tx, **asdict(bounds))
            count += await self._carry(found.tickets)
            is_contended = is_contended or found.is_contended
        self._look_again_if(is_contended)
        return count

    def _look_again_if(self, is_contended: bool) -> None:
        # Another dispatcher is done in a moment. Somebody who holds a lock and does nothing is not: ask less and less.
        self._contended_turns = self._contended_turns + 1 if is_contended else 0
        if is_contended:
            wait = CONTENDED_SECONDS * (2.0 ** min(self._contended_turns, 20) - 2.0)
            self._ask_again(min(wait, self._settings.poll_seconds))

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
