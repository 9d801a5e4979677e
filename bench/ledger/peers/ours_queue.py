"""Ours: slots and nothing else; everything else is as in production."""

import asyncio

import asyncpg
from redis.asyncio import Redis

from bench.ledger.kinds import KINDS, Nothing
from bench.ledger.peers import SLOTS, Places
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from jobs.settings import WorkerSettings
from jobs.worker import run_worker
from server.migrations import upgrade

# One transaction for so many: what is asked for beforehand is not measured.
TOGETHER = 1_000
TABLES = "jobs, job_events, job_attempts, workers"


class Queue:
    """The ledger."""

    def __init__(self, places: Places) -> None:
        self.database_settings = DatabaseSettings(url=places.dsn, statement_timeout_ms=120_000)
        self.redis_settings = RedisSettings(url=places.redis_url)
        self.redis = Redis.from_url(places.redis_url)
        self._dsn = places.dsn
        self.feed: Feed
        self.database: Database
        self.connection: asyncpg.Connection[asyncpg.Record]

    async def open(self) -> None:
        await upgrade(self.database_settings.sqlalchemy_url)
        self.feed = Feed.open(self.redis_settings)
        self.database = await Database.open(self.database_settings, feed=self.feed)
        self.connection = await asyncpg.connect(self._dsn)

    async def close(self) -> None:
        await self.connection.close()
        await self.database.close()
        await self.feed.close()
        await self.redis.aclose()

    async def clear(self) -> None:
        await self.connection.execute(f"TRUNCATE {TABLES}")
        # A worker that was killed leaves tickets of jobs that are no more.
        await self.redis.flushdb()

    async def enqueue(self) -> None:
        async with self.database.transaction() as tx:
            await ledger.enqueue(tx, work=Nothing(), actor_id=None)

    async def enqueue_many(self, count: int) -> None:
        for first in range(0, count, TOGETHER):
            async with self.database.transaction() as tx:
                for _ in range(min(TOGETHER, count - first)):
                    await ledger.enqueue(tx, work=Nothing(), actor_id=None)
                tx.hint(WORK_IS_DUE)

    async def left(self) -> int:
        left = "SELECT /* measuring */ count(*) FROM jobs WHERE state <> 'completed'"
        return int(await self.connection.fetchval(left))

    async def work(self) -> None:
        await run_worker(
            database_settings=DatabaseSettings(url=self._dsn),
            redis_settings=self.redis_settings,
            settings=WorkerSettings(slots=SLOTS, log_level="WARNING"),
            kinds=KINDS,
            stop=asyncio.Event(),
        )
