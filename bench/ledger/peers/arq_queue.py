"""ARQ as it is released: max_jobs as many as slots, keep_result 0, a poll every 5 ms instead of every 500, and a read
of twice the slots (what runs stands in the same list; every further entry is looked at one by one). Its jobs are
lost with Redis, and nothing remembers one that is done.
"""

from typing import Any

from arq.connections import ArqRedis
from arq.worker import Worker
from redis.asyncio import ConnectionPool

from bench.ledger.peers import SLOTS, Places

POLL_SECONDS = 0.005
READ_LIMIT = 2 * SLOTS
TOGETHER = 1_000


async def nothing(ctx: dict[Any, Any]) -> None:
    """The job."""


class Queue:
    """Stock ARQ."""

    def __init__(self, places: Places) -> None:
        self.redis = ArqRedis(ConnectionPool.from_url(places.redis_url))

    async def open(self) -> None:
        await self.redis.ping()

    async def close(self) -> None:
        await self.redis.aclose(close_connection_pool=True)

    async def clear(self) -> None:
        await self.redis.flushdb()

    async def enqueue(self) -> None:
        await self.redis.enqueue_job("nothing")

    async def enqueue_many(self, count: int) -> None:
        for _ in range(count):
            await self.redis.enqueue_job("nothing")

    async def left(self) -> int:
        return int(await self.redis.zcard("arq:queue"))

    async def work(self) -> None:
        worker = Worker(
            functions=[nothing],
            redis_pool=self.redis,
            handle_signals=False,
            max_jobs=SLOTS,
            keep_result=0,
            poll_delay=POLL_SECONDS,
            queue_read_limit=READ_LIMIT,
            log_results=False,
        )
        await worker.main()
