"""PgQueuer: as many concurrent tasks as slots, and batches of half of them, the most that it allows; a pool of asyncpg
connections; statistics are not aggregated. Completed jobs leave the queue's table for its log.
"""

from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.ledger.peers import SLOTS, Places

CONNECTIONS = 20


async def nothing(_job: Job) -> None:
    """The job."""


class Queue:
    """PgQueuer."""

    def __init__(self, places: Places) -> None:
        self._dsn = places.dsn
        self.pool: asyncpg.Pool[asyncpg.Record]
        self.driver: AsyncpgPoolDriver
        self.queries: Queries

    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(self._dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
        self.driver = AsyncpgPoolDriver(self.pool)
        self.queries = Queries(self.driver)
        if await self.pool.fetchval("SELECT to_regclass('pgqueuer')") is None:
            await self.queries.install()

    async def close(self) -> None:
        await self.pool.close()

    async def clear(self) -> None:
        await self.pool.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics")

    async def enqueue(self) -> None:
        await self.queries.enqueue("nothing", None)

    async def enqueue_many(self, count: int) -> None:
        await self.queries.enqueue(["nothing"] * count, [None] * count, [0] * count)

    async def left(self) -> int:
        return int(await self.pool.fetchval("SELECT count(*) FROM pgqueuer"))

    async def work(self) -> None:
        await self.open()
        worker = PgQueuer(self.driver)

        worker.entrypoint("nothing")(nothing)
        await worker.run(batch_size=SLOTS // 2, max_concurrent_tasks=SLOTS, log_aggregation_interval=timedelta(0))
