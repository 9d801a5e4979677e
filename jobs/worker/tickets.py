"""ARQ's worker, with a loop of its own over ARQ's queue.

ARQ's own loop claims one job at a time in three round trips, polls, and keeps books of tries and results. The ledger
keeps better books, so a ticket needs none of that: it is taken off the list in one command together with as many others
as there are free slots. A worker that dies with tickets in its hand loses hints, not jobs: they are recalled.

Both loops understand each other's queue, so workers of both kinds can share one. `WORKER_STOCK_ARQ` chooses ARQ's.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from arq.constants import job_key_prefix
from arq.worker import Worker

from db.ledger.commands import Ticket
from db.telemetry import get_logger

log = get_logger(__name__)


def name_of(ticket: Ticket) -> str:
    """The ticket as ARQ's job id."""
    return f"{ticket.job_id}:{ticket.fence}"


def ticket_of(name: bytes) -> Ticket | None:
    """The ticket of ARQ's job id; None where it is not one of ours."""
    try:
        job_id, _, fence = name.decode().partition(":")
        return Ticket(UUID(job_id), int(fence))
    except ValueError:
        return None


class TicketWorker(Worker):
    """Takes tickets off ARQ's list, many at a time, woken by hints and free slots."""

    def __init__(
        self,
        *arguments: Any,
        take: Callable[[Sequence[Ticket]], Awaitable[None]],
        free_slots: Callable[[], int],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.woken = asyncio.Event()
        self._take = take
        self._free_slots = free_slots
        # The messages of tickets that have been taken: nobody reads them any more.
        self._spent: list[str] = []

    async def main(self) -> None:
        """Take what is there, then wait for a hint, a free slot or the next poll."""
        while True:
            self.woken.clear()
            while tickets := await self._pick():
                await self._take(tickets)
            await self.heart_beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_delay_s):
                    await self.woken.wait()

    async def _pick(self) -> list[Ticket]:
        """Take as many tickets off the list as there are free slots: what is popped by us is seen by nobody else."""
        free = self._free_slots() if self.allow_pick_jobs else 0
        if free <= 0:
            return []
        async with self.pool.pipeline(transaction=False) as pipe:
            pipe.zpopmin(self.queue_name, free)
            if spent := self._spent:
                pipe.delete(*spent)
            popped, *_ = await pipe.execute()
        names = [name for name, _ in popped]
        self._spent = [job_key_prefix + name.decode(errors="replace") for name in names]
        tickets = [ticket for name in names if (ticket := ticket_of(name)) is not None]
        if len(tickets) < len(names):
            log.warning("bus.not_ours", count=len(names) - len(tickets))
        return tickets
