"""Recurring work: every worker declares it, and one of them, the leader, makes its ticks.

Leading only saves the others the work: the table makes one job of each tick, whoever ticks (`commands/scheduling.py`).
No process's own clock is asked: what is due, and in how many seconds the next one is, the database says.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import timedelta

from db.leases import Lead
from db.ledger.commands import WorkerCard, scheduling
from db.ledger.jobs import Recurring
from db.ledger.queries.schedules import upcoming_ticks
from db.session import STORE_ERRORS, Database
from db.settings import DatabaseSettings
from db.telemetry import get_logger
from jobs.attempt import Declared
from jobs.settings import WorkerSettings

log = get_logger(__name__)

# Any number does, as long as it is always the same.
SCHEDULER_LOCK = 4_815_162_343


class Scheduler:
    """One worker's part in it: it leads, or waits until it can."""

    def __init__(
        self,
        *,
        database: Database,
        database_settings: DatabaseSettings,
        card: WorkerCard,
        settings: WorkerSettings,
        kinds: Mapping[str, Declared],
    ) -> None:
        self._database = database
        self._database_settings = database_settings
        self._card = card
        self._lease_seconds = settings.lease_seconds
        # Often enough that Postgres does not take us for dead in between.
        self._poll_seconds = min(settings.schedule_poll_seconds, settings.lease_seconds / 4)
        self._recurring = {each.name: each for kind in kinds.values() for each in kind.work.recurring()}

    async def run(self) -> None:
        """Declare what recurs, then lead or wait to lead, until cancelled. A store that fails is asked again later."""
        is_declared = False
        while True:
            try:
                if not is_declared:
                    await self._declare()
                    is_declared = True
                await self._stand()
            except STORE_ERRORS as error:
                log.warning("schedules.failed", error=type(error).__name__)
            await self._pause()

    async def _stand(self) -> None:
        """Wait for the lead, and lead until the connection that holds it ends."""
        lead = await Lead.open(self._database_settings, number=SCHEDULER_LOCK, lease_seconds=self._lease_seconds)
        try:
            while not await lead.take():
                await self._pause()
            await self._lead(lead)
        finally:
            await lead.close()

    async def _lead(self, lead: Lead) -> None:
        # Whoever leads says what recurs: a worker of another version may have been started meanwhile.
        await self._declare()
        epoch = await self._take_lead()
        await self._stop_others()
        log.info("schedules.leading", worker=self._card.name, epoch=epoch)
        stopped_at = time.monotonic()
        while True:
            ticks = await upcoming_ticks(lead.connection, clock=self._database.clock)
            has_unknown = any(name not in self._recurring for name, seconds in ticks if seconds <= 0)
            if has_unknown and time.monotonic() - stopped_at > self._lease_seconds:
                # Whoever knew it when we took the lead may be gone.
                await self._stop_others()
                stopped_at = time.monotonic()
            for name, seconds in ticks:
                if seconds <= 0 and name in self._recurring:
                    await self.tick(self._recurring[name], epoch=epoch)
            waits = [seconds for _, seconds in ticks if seconds > 0]
            await asyncio.sleep(min([self._poll_seconds, *waits]))

    async def tick(self, recurring: Recurring, *, epoch: int) -> None:
        """Make the job of a tick that is due. One that cannot be made is tried again, and keeps no other waiting."""
        try:
            async with self._database.transaction() as tx:
                job_id = await scheduling.tick(tx, recurring=recurring, epoch=epoch, now=tx.now)
        except (*STORE_ERRORS, ValueError) as error:
            log.warning("schedules.tick_failed", schedule=recurring.name, error=str(error))
            return
        if job_id is not None:
            log.info("schedules.ticked", schedule=recurring.name, job_id=str(job_id))

    async def _declare(self) -> None:
        async with self._database.transaction() as tx:
            await scheduling.declare_schedules(tx, recurring=list(self._recurring.values()), now=tx.now)

    async def _take_lead(self) -> int:
        async with self._database.transaction() as tx:
            return await scheduling.take_lead(tx, worker_id=self._card.id, worker_name=self._card.name, now=tx.now)

    async def _stop_others(self) -> None:
        async with self._database.transaction() as tx:
            stopped = await scheduling.stop_schedules(
                tx,
                recurring=list(self._recurring.values()),
                kinds=self._card.kinds,
                lease=timedelta(seconds=self._lease_seconds),
                now=tx.now,
            )
        if stopped:
            log.info("schedules.stopped", schedules=sorted(stopped))

    async def _pause(self) -> None:
        # Twice as long as the leader does, and not all at once.
        await asyncio.sleep(self._poll_seconds * random.uniform(1.5, 2.5))
