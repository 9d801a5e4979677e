"""Runs the jobs of the demo while it is loaded: no worker may be there yet, and the past is made in the past.

Where workers are at it already (the demo is loaded into a running deployment), jobs are left to them.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import exists, select

from db.ledger import commands as ledger
from db.ledger.models import Worker
from db.session import Database
from jobs import registry
from jobs.runner import Runner
from jobs.settings import WorkerSettings

AT_ONCE = 10
# The demo's clock is moved over months; the worker below lives all the while.
EVER = timedelta(days=36_500)


async def run_due_jobs(database: Database) -> None:
    """Run every job that is due, in this process, unless a live worker is there to do it."""
    kinds = registry.load()
    settings = WorkerSettings()
    card = ledger.WorkerCard(id=uuid4(), name="demo", queues=("default",), kinds=tuple(kinds), slots=settings.slots)
    async with database.transaction() as tx:
        alive = tx.now - timedelta(seconds=settings.lease_seconds)
        if (await tx.execute(select(exists().where(Worker.seen_at > alive)))).scalar():
            return
        await ledger.beat(tx, card=card, is_draining=False, now=tx.now)
    runner = Runner(database=database, card=card, kinds=kinds, settings=settings)
    journal = asyncio.create_task(runner.journal.run())
    try:
        while tickets := await _due(database):
            await asyncio.gather(*[runner.run(ticket) for ticket in tickets])
    finally:
        journal.cancel()
        async with database.transaction() as tx:
            await ledger.retire(tx, worker_id=card.id)


async def _due(database: Database) -> Sequence[ledger.Ticket]:
    async with database.transaction() as tx:
        return (await ledger.dispatch(tx, lease=EVER, limit=AT_ONCE)).tickets
