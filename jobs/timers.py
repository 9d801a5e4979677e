"""What is done to tasks because time has passed: holds end at their instant.

Any number of workers sweep at once. What is due is found without a lock; then each timer has a transaction of its own,
which locks what is free, asks again, and leaves the rest to the next sweep. One that fails is put off and shows why; it
never keeps the others.
"""

import asyncio
import random
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from db.session import Database, is_retryable
from db.tasks import commands as tasks
from db.tasks.queries import due_timers
from db.tasks.rules import Due
from db.telemetry import get_logger
from jobs.settings import WorkerSettings

log = get_logger(__name__)

# What is due is read without a lock, and other workers read the same: whatever they end after that costs a transaction
# here in vain. So a list is short, and is read anew at once where there is more.
MOST_AT_A_TIME = 100
# A timer's transaction mostly waits for the database. More of them at once would only take connections from the jobs.
AT_ONCE = 4


class Timers:
    """The duty of the source `tasks.timers`."""

    def __init__(self, *, database: Database, settings: WorkerSettings) -> None:
        self._database = database
        self._batch = settings.batch
        self._limit = min(settings.batch, MOST_AT_A_TIME)

    async def __call__(self) -> int:
        """Work on the timers that are due, the oldest first. How many; as many as a batch: there may be more."""
        blocked: set[UUID] = set()
        while True:
            due = await due_timers(self._database.reader, limit=self._limit, beside=blocked)
            is_full = len(due) == self._limit
            done = await self._work_on_all(due)
            if done or not is_full:
                return self._batch if is_full else done
            # Somebody has locked whatever is oldest, a plan that goes live for one: it keeps nobody else waiting.
            blocked |= {timer.tree for timer in due}

    async def _work_on_all(self, due: list[Due]) -> int:
        # Workers that sweep at the same time find the same ones: each begins somewhere else.
        random.shuffle(due)
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(timer: Due) -> bool:
            async with turns:
                return await self._work_on(timer)

        return sum(await asyncio.gather(*[in_turn(timer) for timer in due]))

    async def _work_on(self, timer: Due) -> bool:
        """Whether the timer is over, or was put off; it is due still where somebody else has it, or nobody could."""
        try:
            async with self._database.transaction() as tx:
                return await tasks.expire_hold(tx, due=timer, now=tx.now)
        except Exception as error:
            if is_retryable(error):
                log.warning("timer.tried_again", hold_id=str(timer.hold_id), exc_info=error)
                return False
            return await self._put_off(timer, error)

    async def _put_off(self, timer: Due, error: Exception) -> bool:
        try:
            async with self._database.transaction() as tx:
                again_at = await tasks.note_failure(tx, hold_id=timer.hold_id, error=_told(error), now=tx.now)
        except Exception as second:
            # The database is away: the timer is as due as it was, for whoever sweeps next.
            log.warning("timer.not_put_off", hold_id=str(timer.hold_id), exc_info=second)
            return False
        # Where the database has refused, its words say all; anything else is a bug, whose place is wanted.
        is_refused = isinstance(error, DBAPIError)
        told = {"hold_id": str(timer.hold_id), "again_at": str(again_at), "error": _told(error)}
        log.error("timer.failed", **told, exc_info=None if is_refused else error)
        return True


def _told(error: Exception) -> str:
    # What the driver said, without the statement that SQLAlchemy puts around it.
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(error).__name__}: {cause}"
