"""What workers do: they take tickets, claim, tell, write, end, and die."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

from db.ledger import commands as ledger
from db.ledger.commands import Ending, Ticket
from db.ledger.rules import (
    LogLevel,
    Verdict,
    decide_release,
)
from jobs.attempt import COMPLETED, Attempt, Journal, LeaseLost
from tests.support.ledger import execute
from tests.support.machine.acting import Acting, Logical
from tests.support.machine.kinds import EFFECT, VERDICTS, Plain, once


class Working(Acting):
    """The workers' part."""

    # ------------------------------------------------------------------------------------------- carrying

    async def dispatch(self) -> None:
        """A dispatcher's turn, with the tickets it pushes."""
        await self.attempted(self.dispatching())

    async def pop(self, worker: int, count: int) -> None:
        """A worker takes tickets off the list."""
        self.wanted = count
        tickets = await self.picker._pick()
        self.workers[worker].hand += tickets
        self.old += tickets

    async def drop(self, worker: int) -> None:
        """The tickets in a worker's hand are lost."""
        self.workers[worker].hand.clear()

    async def duplicate(self, which: int) -> None:
        """A ticket comes again, however old it is."""
        if self.old:
            await self.bus._push([self.old[which % len(self.old)]])

    async def flushall(self) -> None:
        """Redis forgets everything."""
        await self.bus._pool.flushall()

    # ------------------------------------------------------------------------------------------- running

    async def claim(self, worker: int, count: int) -> None:
        """A worker claims jobs of the tickets in its hand, and gets itself some where it has none."""
        one = self.workers[worker]
        if not one.hand:
            await self.pop(worker, count)
        tickets, one.hand = one.hand[:count], one.hand[count:]
        await self._claim(one, tickets)

    async def start(self, worker: int, count: int) -> None:
        """From the table into a worker's hands, without anybody in between."""
        await self.dispatch()
        await self.pop(worker, count)
        await self.claim(worker, count)

    async def claim_old(self, worker: int, which: int) -> None:
        """A worker claims with a ticket that was used or lost long ago."""
        if self.old:
            await self._claim(self.workers[worker], [self.old[which % len(self.old)]])

    async def _claim(self, one: Logical, tickets: Sequence[Ticket]) -> None:
        if not tickets:
            return
        async with self.database.single() as single:
            claimed = await ledger.claim(
                single, tickets=tickets, worker_id=one.card.id, worker_name=one.card.name, kinds=one.card.kinds
            )
        for job in claimed:
            notes = one.journal.open(job_id=job.job_id, fence=job.fence, progress=job.progress)
            one.runs.append(Attempt(claimed=job, database=self.database, notes=notes))

    async def beat(self, worker: int) -> None:
        """A heartbeat, and what the worker does about the answer."""
        one = self.workers[worker]
        held = {attempt.job_id: attempt.claimed.fence for attempt in one.runs}
        async with self.database.transaction() as tx:
            await ledger.beat(tx, card=one.card, is_draining=False, now=tx.now)
            answer = await ledger.standing(tx, worker_id=one.card.id, held=held)
        lost = [attempt for attempt in one.runs if (attempt.job_id, attempt.claimed.fence) in answer.lost]
        self.ghosts += lost
        one.runs = [attempt for attempt in one.runs if attempt not in lost]
        for job_id, fence in answer.unknown:
            verdict = decide_release(is_cancel_requested=False)
            await self.attempted(self._end([Ending(job_id, fence, verdict, is_taken_away=True)]))

    async def _running(self, worker: int, which: int) -> Attempt | None:
        """One of the worker's own, or another's where it has none; where nobody has any, somebody begins."""
        if not any(one.runs for one in self.workers):
            await self.start(worker, 3)
        runs = self.workers[worker].runs or [attempt for one in self.workers for attempt in one.runs]
        return runs[which % len(runs)] if runs else None

    async def tell(self, worker: int, which: int, lines: int) -> None:
        """A running job, or one that was lost, tells something."""
        if (attempt := await self._running(worker, which)) is not None:
            await self.attempted(self._tell(attempt, lines))

    async def _tell(self, attempt: Attempt, lines: int) -> None:
        for number in range(lines):
            attempt.notes.progress(done=number + 1, total=lines + 1, step=None)
            attempt.notes.log(f"attempt {attempt.number}", level=LogLevel.INFO, data=None)
        journal = attempt.notes._journal
        await journal.flush()
        # Lines of a job that is locked are written by a task of their own; here nothing goes on behind our back.
        await asyncio.gather(*journal._patient)

    async def batch(self, worker: int, which: int) -> None:
        """A handler's transaction in the middle of its work: it commits only while the job is its own."""
        attempt = await self._running(worker, which)
        if attempt is not None:
            await self.attempted(self._batch(attempt))

    async def _batch(self, attempt: Attempt) -> None:
        attempt.stop = None
        try:
            async with attempt.transaction() as tx:
                await tx.execute(EFFECT, {"id": attempt.job_id, "step": 1, "attempt": attempt.number})
        except LeaseLost:
            return
        self.watch.wrote(attempt.job_id, attempt.number)

    async def complete(self, worker: int, which: int) -> None:
        """A handler's last transaction, with its effect."""
        attempt = await self._running(worker, which)
        if attempt is not None and await self.attempted(self._complete(attempt)):
            self._forget(attempt)

    async def _complete(self, attempt: Attempt) -> bool:
        attempt.stop = None
        try:
            await once(attempt, Plain())
        except LeaseLost:
            return False
        return True

    async def complete_slowly(self, worker: int, which: int, commits: int) -> None:
        """The same, with a pause before the commit in which others act; or it never comes to the commit."""
        attempt = await self._running(worker, which)
        if attempt is None:
            return
        stack = AsyncExitStack()
        tx = await stack.enter_async_context(self.database.transaction())
        await tx.execute(EFFECT, {"id": attempt.job_id, "step": 0, "attempt": attempt.number})
        ended = await self.attempted(ledger.end_attempts(tx, endings=[_ending(attempt, COMPLETED)]))
        if not ended:
            await self._roll_back(stack)
            return
        await self._finish(stack, lambda: self._forget(attempt), commits)

    async def end(self, worker: int, which: int, how: int) -> None:
        """An attempt ends in some other way: a fault, a refusal, a snooze, a stop, a release."""
        attempt = await self._running(worker, which)
        if attempt is None:
            return
        ending = _ending(attempt, VERDICTS[how % len(VERDICTS)](attempt))
        if await self.attempted(self._end([ending], alone=bool(how % 2))):
            self._forget(attempt)

    async def _end(self, ended: Sequence[Ending], *, alone: bool = False) -> bool:
        if alone:
            async with self.database.single() as single:
                return bool(await ledger.end_attempts(single, endings=ended))
        async with self.database.transaction() as tx:
            return bool(await ledger.end_attempts(tx, endings=ended))

    async def die(self, worker: int) -> None:
        """A worker is killed. Somebody will notice when its lease is over; what it ran may still try to write."""
        one = self.workers[worker]
        self.ghosts += one.runs
        fresh = replace(one.card, id=uuid4())
        self.workers[worker] = Logical(fresh, Journal(self.database))
        await self.beat(worker)

    async def lose_sight(self, worker: int) -> None:
        """A worker has not been seen for long; it does not know, and goes on."""
        await execute(
            self.database,
            "UPDATE workers SET seen_at = seen_at - interval '1 minute' WHERE id = :id",
            id=self.workers[worker].card.id,
        )

    async def be_rescued(self, worker: int) -> None:
        """A worker has not been seen for long, and what it runs is given to others; it does not know yet."""
        await self.lose_sight(worker)
        await self.attempted(self.sweeper.rescue())

    async def write_late(self, which: int, what: int) -> None:
        """An attempt that has ended or was lost still writes, best of all while another one runs."""
        if not self.ghosts:
            await self.be_rescued(which % len(self.workers))
            await self.beat(which % len(self.workers))
        if not self.ghosts:
            return
        running = self.watch.running()
        haunting = [attempt for attempt in self.ghosts if attempt.job_id in running] or self.ghosts
        attempt = haunting[which % len(haunting)]
        match what % 4:
            case 0:
                await self.attempted(self._batch(attempt))
            case 1:
                await self.attempted(self._complete(attempt))
            case 2:
                await self.attempted(self._tell(attempt, 2))
            case 3:
                await self.attempted(self._end([_ending(attempt, VERDICTS[which % len(VERDICTS)](attempt))]))

    async def leave(self, worker: int) -> None:
        """A worker drains: it lets everything go, at no cost, and another one comes."""
        one = self.workers[worker]
        for attempt in list(one.runs):
            before = self.watch.costs(attempt.job_id)
            if await self.attempted(self._end([_ending(attempt, decide_release(is_cancel_requested=False))])):
                self.watch.expects(attempt.job_id, before)
                self._forget(attempt)
        self.ghosts += one.runs
        if not one.runs:
            async with self.database.transaction() as tx:
                await ledger.retire(tx, worker_id=one.card.id)
        self.workers[worker] = Logical(replace(one.card, id=uuid4()), Journal(self.database))
        await self.beat(worker)


def _ending(attempt: Attempt, verdict: Verdict) -> Ending:
    return Ending(attempt.job_id, attempt.claimed.fence, verdict)
