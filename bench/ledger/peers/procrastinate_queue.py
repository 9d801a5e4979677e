"""Procrastinate: concurrency as many as slots, LISTEN for new jobs, a pool of 20 connections that are there from the
start and are not checked before each use, orjson instead of json. Jobs are fetched one by one: it has no way to fetch
more. Finished jobs are kept, its default.
"""

import orjson
import procrastinate
from psycopg_pool import AsyncConnectionPool

from bench.ledger.peers import SLOTS, Places

CONNECTIONS = 20


class Queue:
    """Procrastinate."""

    def __init__(self, places: Places) -> None:
        self.pool = AsyncConnectionPool(places.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False)
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=places.dsn, json_dumps=orjson.dumps, json_loads=orjson.loads
            )
        )

        async def nothing() -> None:
            """The job."""

        self.nothing = self.app.task(name="nothing")(nothing)

    async def open(self) -> None:
        await self.pool.open(wait=True)
        await self.app.open_async(self.pool)
        async with self.pool.connection() as connection:
            found = await (await connection.execute("SELECT to_regclass('procrastinate_jobs')")).fetchone()
        if found[0] is None:
            await self.app.schema_manager.apply_schema_async()

    async def close(self) -> None:
        await self.app.close_async()
        await self.pool.close()

    async def clear(self) -> None:
        async with self.pool.connection() as connection:
            await connection.execute("TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_workers CASCADE")

    async def enqueue(self) -> None:
        await self.nothing.defer_async()

    async def enqueue_many(self, count: int) -> None:
        await self.nothing.batch_defer_async(*[{} for _ in range(count)])

    async def left(self) -> int:
        async with self.pool.connection() as connection:
            answer = await connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'")
            return int((await answer.fetchone())[0])

    async def work(self) -> None:
        await self.open()
        await self.app.run_worker_async(concurrency=SLOTS, install_signal_handlers=False)
