"""What is done to jobs because time has passed: queued when their time comes, rescued, recalled, taken away.

Any number of workers sweep at once. What ends a job settles its subject too, in a transaction of its own that locks the
subject first.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from db import endings
from db.errors import Code
from db.ledger import commands as ledger
from db.ledger.commands import Ending, Stranded, Ticket
from db.ledger.rules import TERMINAL, WORK_IS_DUE, JobError, Verdict, decide_crash, decide_fault, decide_stop
from db.session import Database, Tx
from db.telemetry import get_logger
from jobs import metrics
from jobs.settings import WorkerSettings

log = get_logger(__name__)

WEEKS_AHEAD = 4
# Of these tickets, those that lie where workers will pick them up.
StillWaiting = Callable[[Sequence[Ticket]], Awaitable[Sequence[Ticket]]]


class Sweeper:
    """The ledger's own duties."""

    def __init__(
        self,
        *,
        database: Database,
        settings: WorkerSettings,
        still_waiting: StillWaiting | None = None,
        may_rescue: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._may_rescue = may_rescue
        self._still_waiting = still_waiting
        self._batch = settings.batch
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._unclaimed = timedelta(seconds=settings.unclaimed_seconds)
        self._abandon = timedelta(seconds=settings.abandon_seconds)

    @property
    def duties(self) -> dict[str, Callable[[], Awaitable[int]]]:
        """What to do for each of the ledger's sources, but dispatching."""
        return {
            "jobs.lost": self.rescue,
            "jobs.deaf": self.abandon,
            "jobs.overdue": self.time_out,
            "jobs.unclaimed": self.recall,
            "jobs.scheduled": self.promote,
        }

    async def promote(self) -> int:
        """Queue the scheduled jobs whose time has come."""
        async with self._database.transaction() as tx:
            promoted = await ledger.promote(tx, now=tx.now, limit=self._batch)
            if promoted:
                tx.hint(WORK_IS_DUE)
        return promoted

    async def recall(self) -> int:
        """Queue again what was dispatched and never claimed: its ticket is lost, or stuck with a dead worker.

        One that still waits to be picked up is left where it is: all slots are taken.
        """
        async with self._database.transaction() as tx:
            found = await ledger.unclaimed(tx, now=tx.now, since=self._unclaimed, limit=self._batch)
        if not found:
            return 0
        waiting = set(await self._still_waiting(found)) if self._still_waiting is not None else set()
        async with self._database.transaction() as tx:
            if waiting:
                await ledger.spare(tx, tickets=[ticket for ticket in found if ticket in waiting], now=tx.now)
            recalled = await ledger.recall(tx, tickets=[ticket for ticket in found if ticket not in waiting])
            if recalled:
                tx.hint(WORK_IS_DUE)
        metrics.recalled(recalled)
        if recalled:
            log.warning("jobs.recalled", count=recalled)
        return recalled

    async def rescue(self) -> int:
        """Take the jobs of workers that have not been seen for a lease: they run again elsewhere.

        Not where the database has been away from ourselves too: then nobody could be seen, and each gets a lease to
        come back and say what it holds. An outage is no crash of the jobs that ran.
        """
        if not self._may_rescue():
            return 0
        async with self._database.transaction() as tx:
            found = await ledger.lost(tx, now=tx.now, lease=self._lease, limit=self._batch)
            doomed = await self._give_back(tx, found)
        metrics.rescued(found, doomed)
        for job in doomed:
            await self._end(job, _crashed(job))
        if found:
            log.warning("jobs.rescued", count=len(found), ended=len(doomed))
        return len(found)

    async def abandon(self) -> int:
        """End the jobs that were asked to stop and did not: they are cancelled, whatever their handlers do."""
        async with self._database.transaction() as tx:
            found = await ledger.deaf(tx, now=tx.now, patience=self._abandon, limit=self._batch)
        for job in found:
            await self._end(job, decide_stop(reason="Cancelled; its handler did not answer."))
        return len(found)

    async def time_out(self) -> int:
        """Take the jobs that are so far past their time that their own worker cannot have stopped them."""
        async with self._database.transaction() as tx:
            found = await ledger.overdue(tx, now=tx.now, patience=self._abandon, limit=self._batch)
        for job in found:
            await self._end(job, _timed_out(job))
        return len(found)

    async def keep_house(self) -> None:
        """Make the partitions of the weeks to come: by every worker, so that a queue that is paused keeps none away."""
        async with self._database.transaction() as tx:
            await ledger.keep_house(tx, now=tx.now, weeks_ahead=WEEKS_AHEAD)

    async def _give_back(self, tx: Tx, found: Sequence[Stranded]) -> list[Stranded]:
        """Queue again those that may run again, together. The others: they end, each with its subject."""
        verdicts = {job.job_id: _crashed(job) for job in found}
        back = [
            Ending(job_id=job.job_id, fence=job.fence, verdict=verdicts[job.job_id], is_taken_away=True)
            for job in found
            if verdicts[job.job_id].state not in TERMINAL
        ]
        if back:
            await ledger.end_attempts(tx, endings=back)
            tx.hint(WORK_IS_DUE)
        return [job for job in found if verdicts[job.job_id].state in TERMINAL]

    async def _end(self, job: Stranded, verdict: Verdict) -> None:
        try:
            is_written = await self._write_end(job, verdict)
        except Exception:
            # The next sweep tries again; one subject that cannot be settled must not keep the others.
            log.exception("job.not_taken_away", job_id=str(job.job_id), kind=job.kind)
            return
        if is_written:
            metrics.taken_away(job, verdict)
            log.warning("job.taken_away", job_id=str(job.job_id), state=verdict.state, message=verdict.message)

    async def _write_end(self, job: Stranded, verdict: Verdict) -> bool:
        ending = Ending(job_id=job.job_id, fence=job.fence, verdict=verdict, is_taken_away=True)
        async with self._database.transaction() as tx:
            tx.hint(WORK_IS_DUE)
            return await endings.end_attempt(tx, ending=ending, kind=job.kind, subject_id=job.subject_id)


def _crashed(job: Stranded) -> Verdict:
    return decide_crash(crash_count=job.crash_count, is_cancel_requested=job.is_cancel_requested)


def _timed_out(job: Stranded) -> Verdict:
    return decide_fault(
        error=JobError(Code.TIMEOUT, "It took too long, and its worker could not stop it."),
        failures=job.failures,
        max_attempts=job.max_attempts,
        is_cancel_requested=job.is_cancel_requested,
        jitter=random.random(),
    )
