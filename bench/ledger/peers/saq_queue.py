"""SAQ on Postgres: concurrency as many as slots, a pool of 20 connections that are there from the start and are not
checked before each use, orjson instead of json, no timeout (which saves a timer). Finished jobs are kept for 10
minutes, its default.
"""

from typing import Any

import orjson
from psycopg_pool import AsyncConnectionPool
from saq import Worker
from saq.queue.postgres import PostgresQueue

from bench.ledger.peers import SLOTS, Places

CONNECTIONS = 20


async def nothing(ctx: dict[str, Any]) -> None:
    """The job."""


class Queue:
    """SAQ."""

    def __init__(self, places: Places) -> None:
        self.pool = AsyncConnectionPool(
            places.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False, kwargs={"autocommit": True}
        )
        self.queue = PostgresQueue(
            pool=self.pool, dump=orjson.dumps, load=orjson.loads, min_size=CONNECTIONS, max_size=CONNECTIONS
        )

    async def open(self) -> None:
        await self.pool.open(wait=True)
        await self.queue.connect()

    async def close(self) -> None:
        await self.queue.disconnect()
        await self.pool.close()

    async def clear(self) -> None:
        async with self.pool.connection() as connection:
            await connection.execute("TRUNCATE saq_jobs, saq_stats")

    async def enqueue(self) -> None:
        await self.queue.enqueue("nothing", timeout=0)

    async def enqueue_many(self, count: int) -> None:
        for _ in range(count):
            await self.queue.enqueue("nothing", timeout=0)

    async def left(self) -> int:
        async with self.pool.connection() as connection:
            answer = await connection.execute("SELECT count(*) FROM saq_jobs WHERE status <> 'complete'")
            return int((await answer.fetchone())[0])

    async def work(self) -> None:
        await self.open()
        await Worker(self.queue, functions=[("nothing", nothing)], concurrency=SLOTS).start()
