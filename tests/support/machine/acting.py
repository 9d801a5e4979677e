"""Who acts on the ledger, and how an action gives up, stays open, or dies before its commit."""

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError

from db.errors import Refused
from db.feed import Feed
from db.ledger.commands import Ticket, WorkerCard
from db.session import Database, sqlstate
from db.settings import DatabaseSettings, RedisSettings
from jobs.attempt import Attempt, Journal
from jobs.dispatcher import Dispatching
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from jobs.worker.bus import Bus
from tests.support.kinds import make_effects
from tests.support.machine.watch import Watch

T = TypeVar("T")

# lock_not_available, deadlock_detected: somebody else was first.
GIVEN_UP = frozenset({"55P03", "40P01"})


@dataclass
class Logical:
    """A worker without a process: what it has in its hands, and what it believes to run."""

    card: WorkerCard
    journal: Journal
    hand: list[Ticket] = field(default_factory=list)
    runs: list[Attempt] = field(default_factory=list)


class Acting:
    """The stores, and all who act on them."""

    def __init__(self, database: Database, feed: Feed, redis_url: str) -> None:
        self.database = database
        self.settings = WorkerSettings(poll_seconds=60)
        self.sweeper = Sweeper(database=database, settings=self.settings)
        self.bus = Bus(
            redis=RedisSettings(url=redis_url),
            feed=feed,
            settings=self.settings,
            take=self._never,
            run=self._never,
            free_slots=lambda: self.wanted,
        )
        self.picker: Any = self.bus._arq_worker()
        self.dispatching = Dispatching(database=database, carrier=self.bus, settings=self.settings)
        self.wanted = 0
        self.old: list[Ticket] = []
        self.ghosts: list[Attempt] = []
        self.pending: list[tuple[AsyncExitStack, Callable[[], None]]] = []
        self.workers: list[Logical] = []
        self.watch = Watch(database)

    @classmethod
    async def open(cls, database_url: str, redis_url: str) -> Self:
        """Connect; the database is the machine's own."""
        feed = Feed.open(RedisSettings(url=redis_url))
        # Who has to wait gives up soon: nobody goes on meanwhile.
        settings = DatabaseSettings(url=database_url, lock_timeout_ms=40)
        database = await Database.open(settings, feed=feed)
        await make_effects(database)
        return cls(database, feed, redis_url)

    async def close(self) -> None:
        """Let the connections go."""
        await self.bus.close()
        if isinstance(self.database.feed, Feed):
            await self.database.feed.close()
        await self.database.close()

    async def attempted(self, action: Awaitable[T]) -> T | None:
        """The outcome; None where somebody else's lock, or a rule, was in the way."""
        try:
            return await action
        except (DBAPIError, asyncpg.PostgresError) as error:
            if sqlstate(error) not in GIVEN_UP:
                raise
        except Refused:
            pass
        return None

    # ------------------------------------------------------------------------------------------- within

    def _forget(self, attempt: Attempt) -> None:
        for worker in self.workers:
            if attempt in worker.runs:
                worker.runs.remove(attempt)
                self.ghosts.append(attempt)

    async def _finish(self, stack: AsyncExitStack, then: Callable[[], None], commits: int) -> None:
        if commits == 2 and len(self.pending) < 3:
            self.pending.append((stack, then))
        elif commits:
            await stack.aclose()
            then()
        else:
            await self._roll_back(stack)

    async def _roll_back(self, stack: AsyncExitStack) -> None:
        # As where the process dies before its commit.
        with contextlib.suppress(_RolledBack):
            await stack.__aexit__(_RolledBack, _RolledBack(), None)

    async def _never(self, _: object) -> Any:
        raise AssertionError("the bus is never away here")


class _RolledBack(Exception):
    """The process dies before its commit."""
