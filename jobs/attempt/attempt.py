"""One attempt at a job, as its handler sees it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from db.ledger.commands import Claimed, Ending, Line, end_attempts, hold, note
from db.ledger.rules import AttemptOutcome, JobState, LogLevel, Verdict
from db.session import Database, Tx
from jobs.attempt.journal import Notes, plain_json
from jobs.attempt.signals import Cancelled, LeaseLost, Stop

COMPLETED = Verdict(JobState.COMPLETED, AttemptOutcome.COMPLETED, "Completed.")


@dataclass(slots=True)
class Completing:
    """The last transaction of a job: write with `tx`, and give the result where there is one."""

    tx: Tx
    result: Mapping[str, Any] | None = None


class Attempt:
    """One run of a job by one worker: the way to tell how far it is, and to write only while the job is ours."""

    def __init__(self, *, claimed: Claimed, database: Database, notes: Notes) -> None:
        self.job_id = claimed.job_id
        self.actor_id = claimed.actor_id
        self.number = claimed.number
        self.subject_id = claimed.subject_id
        self.claimed = claimed
        self.notes = notes
        self.is_completed = False
        self.stop: Stop | None = None
        self.stop_reason: str | None = None
        self._database = database

    async def progress(self, *, done: int | None = None, total: int | None = None, step: str | None = None) -> None:
        """Tell how far the job is: units done, units in all, and what it does now, in words. What is left out stays.

        A place where the job may stop: raises Cancelled when it was asked to.
        """
        self.notes.progress(done=done, total=total, step=step)
        await self.checkpoint()

    async def log(
        self, message: str, *, level: LogLevel = LogLevel.INFO, data: Mapping[str, Any] | None = None
    ) -> None:
        """Add a line to the job's log, for people. `data` is JSON. Never raises because of a request to stop."""
        self.notes.log(message, level=level, data=data)
        if not self.notes.has_room.is_set():
            await self.notes.has_room.wait()

    async def checkpoint(self) -> None:
        """Let others run, and stop here where the job was asked to.

        Raises Cancelled when somebody cancelled the job, LeaseLost when it is not ours any more.
        """
        await asyncio.sleep(0)
        self._raise_if_stopped()

    def idempotency_key(self, step: str) -> str:
        """The key under which an effect outside our database is asked for: the same in every attempt at this job."""
        return f"{self.job_id}:{step}"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A transaction that commits only while the job is ours.

        Raises Cancelled before it begins, and LeaseLost at its end, rolled back, where the job was taken away.
        """
        self._raise_if_stopped()
        async with self._database.transaction() as tx:
            yield tx
            await tx.flush()
            # Last, so that the row is locked for no longer than the commit takes: whoever takes the job away waits for
            # our commit, or we find that it is gone.
            if not await hold(tx, job_id=self.job_id, fence=self.claimed.fence):
                self.stop = Stop.LOST
                raise LeaseLost

    @asynccontextmanager
    async def completing(self) -> AsyncIterator[Completing]:
        """The job's last transaction: what is written in it and COMPLETED are true together, once, or not at all.

        Raises Cancelled before it begins, and LeaseLost at its end, rolled back, where the job was taken away. A
        request to cancel that comes after it began comes too late.
        """
        self._raise_if_stopped()
        async with AsyncExitStack() as until_committed:
            async with self._database.transaction() as tx:
                end = Completing(tx)
                yield end
                await tx.flush()
                lines = await until_committed.enter_async_context(self.notes.taken())
                if not await self._complete(tx, lines=lines, result=end.result):
                    self.stop = Stop.LOST
                    raise LeaseLost
            self.is_completed = True

    async def _complete(self, tx: Tx, *, lines: Sequence[Line], result: Mapping[str, Any] | None) -> bool:
        if lines:
            await note(tx, lines={(self.job_id, self.claimed.fence): lines})
        ending = Ending(
            job_id=self.job_id,
            fence=self.claimed.fence,
            verdict=COMPLETED,
            result=plain_json(result),
            step=self.notes.step,
            done=self.notes.done,
            total=self.notes.total,
        )
        return self.job_id in await end_attempts(tx, endings=[ending])

    def _raise_if_stopped(self) -> None:
        match self.stop:
            case Stop.CANCEL:
                raise Cancelled
            case Stop.LOST:
                raise LeaseLost
            case _:
                return
