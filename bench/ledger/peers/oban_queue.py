"""Oban for Python: one queue whose limit is the slots, its usual 5 ms between fetches, a pool of 10 connections that
are there from the start. Completed jobs are kept, as ours are.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from oban import Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from bench.ledger.peers import SLOTS, Places

CONNECTIONS = 10


@worker(queue="default")
class Nothing:
    """The job."""

    # The decorator adds it.
    new: ClassVar[Callable[[], Any]]

    async def process(self, job: object) -> None:
        """Do it."""


class Queue:
    """Oban."""

    def __init__(self, places: Places) -> None:
        self.pool = AsyncConnectionPool(places.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False)
        self.oban = Oban(pool=self.pool)

    async def open(self) -> None:
        await self.pool.open(wait=True)
        async with self.pool.connection() as connection:
            found = await (await connection.execute("SELECT to_regclass('oban_jobs')")).fetchone()
        if found[0] is None:
            await install(self.pool)
        await self.oban.start()

    async def close(self) -> None:
        await self.oban.stop()
        await self.pool.close()

    async def clear(self) -> None:
        async with self.pool.connection() as connection:
            await connection.execute("TRUNCATE oban_jobs, oban_leaders, oban_producers")

    async def enqueue(self) -> None:
        await self.oban.enqueue(Nothing.new())

    async def enqueue_many(self, count: int) -> None:
        await self.oban.enqueue_many(Nothing.new() for _ in range(count))

    async def left(self) -> int:
        async with self.pool.connection() as connection:
            answer = await connection.execute("SELECT count(*) FROM oban_jobs WHERE state <> 'completed'")
            return int((await answer.fetchone())[0])

    async def work(self) -> None:
        await self.pool.open(wait=True)
        async with Oban(pool=self.pool, queues={"default": SLOTS}):
            await asyncio.Event().wait()
