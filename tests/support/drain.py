"""Runs every job that is due and ends every hold that is, in this process, with the real runner and the real timers: no
worker, no bus, no waiting.

`await drain(database)` returns when nothing is due any more. What is scheduled for later runs after the clock has been
moved: `database.clock.shift += timedelta(minutes=10)`.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

from db.ledger import commands as ledger
from db.session import Database
from jobs import registry
from jobs.attempt import Declared
from jobs.runner import Runner
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from jobs.timers import Timers

# However the clock is moved, the worker below lives.
EVER = timedelta(days=36_500)
# A handler that asks for more of its own kind for ever would never let the drain end.
MOST_ATTEMPTS = 1_000


def runner_for(
    database: Database, *, kinds: Mapping[str, Declared] | None = None, settings: WorkerSettings | None = None
) -> Runner:
    """A runner as a worker has it, under a worker's id of its own."""
    known = registry.load() if kinds is None else kinds
    settings = settings or WorkerSettings(cancel_grace_seconds=0.2)
    card = ledger.WorkerCard(id=uuid4(), name="test", queues=("default",), kinds=tuple(known), slots=settings.slots)
    return Runner(database=database, card=card, kinds=known, settings=settings)


async def drain(
    database: Database,
    *,
    kinds: Mapping[str, Declared] | None = None,
    settings: WorkerSettings | None = None,
    at_once: int = 10,
) -> int:
    """Run what is due until nothing is, up to `at_once` attempts at the same time. How many attempts of jobs were made.

    `kinds` replaces the handlers of jobs/handlers/.
    """
    runner = runner_for(database, kinds=kinds, settings=settings)
    sweeper = Sweeper(database=database, settings=settings or WorkerSettings())
    timers = Timers(database=database, settings=settings or WorkerSettings())
    journal = asyncio.create_task(runner.journal.run())
    attempts = 0
    try:
        async with database.transaction() as tx:
            await ledger.beat(tx, card=runner.card, is_draining=False, now=tx.now)
        while tickets := await _due(database, sweeper, at_once):
            attempts += sum(await asyncio.gather(*[runner.run(ticket) for ticket in tickets]))
            if attempts > MOST_ATTEMPTS:
                raise AssertionError(f"still not drained after {attempts} attempts")
        while await timers():
            pass
    finally:
        journal.cancel()
        async with database.transaction() as tx:
            await ledger.retire(tx, worker_id=runner.card.id)
    return attempts


async def _due(database: Database, sweeper: Sweeper, limit: int) -> list[ledger.Ticket]:
    await sweeper.promote()
    async with database.transaction() as tx:
        every = await ledger.dispatch(tx, lease=EVER, limit=limit)
        limited = await ledger.dispatch_limited(tx, lease=EVER, limit=limit)
        return [*every.tickets, *limited.tickets]
