"""The ledger with everybody who acts on it, for the state machine that lets them act in any order, and at once.

Each action is one thing that a process does: it asks, dispatches, claims, tells, ends, dies, sweeps. What it needs it
picks by number from what is there, so that the same numbers do the same again. An action that has to wait for somebody
else's lock gives up after a moment, as if its statement had been cut off.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from db import endings
from db.ledger import commands as ledger
from db.ledger.commands import WorkerCard, retaining, scheduling
from db.ledger.jobs import Work
from db.session import Tx
from jobs.attempt import Journal
from tests.support.drain import drain
from tests.support.ledger import execute
from tests.support.machine.acting import Logical
from tests.support.machine.kinds import ALL, COMMON, KINDS, TICKS, WORKS
from tests.support.machine.working import Working

Action = tuple[Any, ...]
TABLES = (
    "jobs, job_events, job_attempts, workers, queues, schedules, schedule_ticks, leaders, idempotency_keys, effects"
)


class World(Working):
    """All of them."""

    async def begin(self) -> None:
        """Empty stores, and everybody new."""
        await execute(self.database, f"TRUNCATE {TABLES}")
        await self.flushall()
        self.database.clock.shift = timedelta(0)
        self.watch.forget()
        self.old, self.ghosts, self.pending = [], [], []
        self.epochs = [0, 0]
        self.workers = [
            Logical(WorkerCard(uuid4(), f"w{number}", ("default",), kinds, 3), Journal(self.database))
            for number, kinds in enumerate((COMMON, COMMON, ALL))
        ]
        for worker in range(len(self.workers)):
            await self.beat(worker)

    def act(self, action: Action) -> Coroutine[Any, Any, None]:
        """An action by its name, with what it takes."""
        name, *values = action
        done: Coroutine[Any, Any, None] = getattr(self, name)(*values)
        return done

    async def at_once(self, *actions: Awaitable[object]) -> None:
        """Do these at the same time."""
        await asyncio.gather(*actions)

    # ------------------------------------------------------------------------------------------- asking

    async def enqueue(self, work: int, delay: int, commits: int) -> None:
        """Ask for work: at once or later, and commit, roll back, or leave the transaction open."""
        stack = AsyncExitStack()
        tx = await stack.enter_async_context(self.database.transaction())
        asked = await self.attempted(self._enqueue(tx, WORKS[work % len(WORKS)], delay))
        if asked is None:
            await self._roll_back(stack)
            return
        made = [asked.job_id] if asked.created else []
        await self._finish(stack, lambda: self.watch.exists(*made), commits)

    async def _enqueue(self, tx: Tx, work: Work, delay: int) -> ledger.Enqueued:
        at = tx.now + timedelta(seconds=delay) if delay else None
        return await ledger.enqueue(tx, work=work, actor_id=None, scheduled_at=at)

    async def enqueue_many(self, works: Sequence[int]) -> None:
        """Ask for several in one statement; some of them may have the same unique key."""
        made = await self.attempted(self._enqueue_many([WORKS[work] for work in works]))
        self.watch.exists(*(made or ()))

    async def _enqueue_many(self, works: Sequence[Work]) -> list[UUID]:
        async with self.database.transaction() as tx:
            answers = await ledger.enqueue_many(tx, asked=[ledger.Asked(work) for work in works], actor_id=None)
        assert len(answers) == len(works)
        return [answer.job_id for answer in answers if answer.created]

    async def cancel(self, which: int) -> None:
        """A person cancels some job."""
        await self.attempted(self._cancel(which))

    async def _cancel(self, which: int) -> None:
        if (job_id := self.watch.pick(which)) is not None:
            async with self.database.transaction() as tx:
                await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)

    async def retry(self, which: int) -> None:
        """A person has some job done again."""
        made = await self.attempted(self._retry(which))
        if made is not None:
            self.watch.exists(made)

    async def _retry(self, which: int) -> UUID | None:
        if (job_id := self.watch.pick(which)) is None:
            return None
        async with self.database.transaction() as tx:
            return await endings.retry_job(tx, job_id=job_id, actor_id=None, now=tx.now)

    async def queue(self, name: str, what: int) -> None:
        """An operator pauses, resumes or limits a queue."""
        await self.attempted(self._queue(name, what % 5))

    async def _queue(self, name: str, what: int) -> None:
        async with self.database.transaction() as tx:
            if what == 4:
                await ledger.pause_queue(tx, name=name, actor_id=None, reason=None, now=tx.now)
            elif what == 0:
                await ledger.resume_queue(tx, name=name)
            else:
                total, per_key = ((None, 1), (2, 1), (1, None))[what - 1]
                await ledger.limit_queue(tx, name=name, max_running=total, max_running_per_key=per_key)

    # ------------------------------------------------------------------------------------------- time

    async def sweep(self, which: int, seconds: int) -> None:
        """One of a dispatcher's duties, after some time."""
        await self.pass_time(seconds)
        duties = list(self.sweeper.duties.values())
        await self.attempted(duties[which % len(duties)]())

    async def pass_time(self, seconds: int) -> None:
        """The clock goes on."""
        self.database.clock.shift += timedelta(seconds=seconds)

    async def lead(self, leader: int) -> None:
        """One of two schedulers takes the lead; the other does not hear of it."""
        async with self.database.transaction() as tx:
            await scheduling.declare_schedules(tx, recurring=[TICKS], now=tx.now)
            self.epochs[leader] = await scheduling.take_lead(
                tx, worker_id=self.workers[leader].card.id, worker_name=str(leader), now=tx.now
            )

    async def tick(self, leader: int) -> None:
        """One of two schedulers makes the tick that is due, if it may."""
        async with self.database.transaction() as tx:
            made = await scheduling.tick(tx, recurring=TICKS, epoch=self.epochs[leader], now=tx.now)
        if made is not None:
            self.watch.exists(made)

    async def retain(self, minutes: int) -> None:
        """What ended so long ago is forgotten."""
        async with self.database.transaction() as tx:
            before = tx.now - timedelta(minutes=minutes)
            self.watch.may_forget(before)
            await retaining.forget_jobs(
                tx, before=before, after=retaining.FROM_THE_FIRST, limit=20, is_shown=endings.is_shown
            )

    async def finish(self, which: int, commits: int) -> None:
        """One of the open transactions is committed, or its process dies."""
        if self.pending:
            stack, then = self.pending.pop(which % len(self.pending))
            await self._finish(stack, then, commits % 2)

    # ------------------------------------------------------------------------------------------- the end

    async def settle(self) -> None:
        """No more faults: everything that is due is done, whatever happened before."""
        while self.pending:
            await self.finish(0, len(self.pending))
        for name in ("default", "tight"):
            await self.queue(name, 0)
        for worker in range(len(self.workers)):
            await self.die(worker)
        for _ in range(20):
            self.database.clock.shift += timedelta(minutes=11)
            for duty in self.sweeper.duties.values():
                await duty()
            await execute(self.database, "DELETE FROM workers")
            await drain(self.database, kinds=KINDS)
            await self.watch.look()
            if self.watch.is_over():
                return
        raise AssertionError(f"still not over: {self.watch.alive()}")
