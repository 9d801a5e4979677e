"""The faults: each leaves behind what it broke as a fleet in good order would find it, restarted or let go."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import redis

from db import endings
from db.errors import Refused
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.commands import Ticket
from db.settings import DatabaseSettings, RedisSettings
from jobs.settings import WorkerSettings
from jobs.worker.bus import Bus
from tests.soak.stream import Stream, again
from tests.support.stores import Stores
from tests.support.workers import FAST, Fleet

Fault = Callable[[], Awaitable[None]]
# So long a worker is frozen: past its lease.
FROZEN_SECONDS = 1.3 * float(FAST["WORKER_LEASE_SECONDS"])
MOST_CONNECTIONS = 500


class Faults:
    """What can go wrong, by name, and how often it is drawn."""

    def __init__(self, *, stores: Stores, fleet: Fleet, stream: Stream, chance: random.Random, workers: int) -> None:
        self._stores = stores
        self._fleet = fleet
        self._stream = stream
        self._chance = chance
        self.workers: list[subprocess.Popen[bytes]] = [self._start() for _ in range(workers)]
        self._dsn = DatabaseSettings(url=stores.database_url).driver_dsn
        self.known: dict[str, tuple[int, Fault]] = {
            "kill a worker": (12, self.kill),
            "kill all workers": (3, self.kill_all),
            "freeze a worker past its lease": (5, self.freeze),
            "stop a worker in order": (8, self.terminate),
            "cut a connection to Postgres": (12, self.cut_one),
            "cut all connections to Postgres": (6, self.cut_all),
            "restart Postgres": (4, self.restart_postgres),
            "kill Postgres": (2, self.kill_postgres),
            "FLUSHALL": (12, self.flushall),
            "kill Valkey and start it": (5, self.restart_valkey),
            "freeze Valkey": (2, self.freeze_valkey),
            "restart both stores": (2, self.restart_both),
            "use up all connections": (1, self.use_up_connections),
            "lock jobs and sit idle": (8, self.sit_idle),
            "push old tickets again": (12, self.duplicate),
            "cancel jobs": (10, self.cancel),
            "pause and resume": (6, self.pause),
        }

    def draw(self) -> str:
        """The next fault."""
        return self._chance.choices(list(self.known), [weight for weight, _ in self.known.values()])[0]

    async def inject(self, name: str) -> None:
        """Let it happen, and put back what is needed to go on."""
        await self.known[name][1]()
        for number, process in enumerate(self.workers):
            # A worker that found Postgres away at its start has given up: whoever runs it starts it again.
            if process.poll() is not None:
                self.workers[number] = self._start()

    def names(self) -> set[str]:
        """The workers that there are."""
        return {f"w{self._fleet.started.index(process) + 1}" for process in self.workers}

    # ------------------------------------------------------------------------------------------- workers

    def _start(self) -> "subprocess.Popen[bytes]":
        return self._fleet.start(slots="5", log_level="WARNING")

    async def kill(self) -> None:
        """kill -9 of one."""
        process = self._chance.choice(self.workers)
        process.kill()
        await asyncio.to_thread(process.wait)

    async def kill_all(self) -> None:
        """kill -9 of all at the same moment."""
        for process in self.workers:
            process.kill()
        for process in self.workers:
            await asyncio.to_thread(process.wait)

    async def freeze(self) -> None:
        """SIGSTOP until others have taken its jobs, then SIGCONT: it goes on as if nothing had happened."""
        process = self._chance.choice(self.workers)
        os.kill(process.pid, signal.SIGSTOP)
        await asyncio.sleep(FROZEN_SECONDS)
        os.kill(process.pid, signal.SIGCONT)

    async def terminate(self) -> None:
        """SIGTERM: it drains and goes, and its place is taken."""
        process = self._chance.choice(self.workers)
        process.terminate()
        code = await asyncio.to_thread(process.wait, 30)
        assert code in (0, 1, -signal.SIGTERM), f"a worker that was told to go ended with {code}"

    # ------------------------------------------------------------------------------------------- Postgres

    async def _cut(self, limit: int) -> None:
        async def cut() -> None:
            connection = await asyncpg.connect(self._dsn)
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.fetch(
                    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname ="
                    " current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT $1) AS some",
                    limit,
                )
                await connection.close()

        await again(cut)

    async def cut_one(self) -> None:
        """One backend ends."""
        await self._cut(1)

    async def cut_all(self) -> None:
        """All backends end."""
        await self._cut(1_000)

    async def restart_postgres(self) -> None:
        """Clients are disconnected, the server is away for a moment."""
        self._stores.stop_postgres()
        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
        self._stores.start_postgres()

    async def kill_postgres(self) -> None:
        """kill -9 of the server: what had been committed is there after its recovery."""
        self._stores.stop_postgres(signal.SIGKILL)
        self._stores.start_postgres()

    async def use_up_connections(self) -> None:
        """Nobody gets a new connection for a while."""
        held: list[asyncpg.Connection[asyncpg.Record]] = []
        try:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                while len(held) < MOST_CONNECTIONS:
                    held.append(await asyncpg.connect(self._dsn))
            await asyncio.sleep(1.0)
        finally:
            for connection in held:
                connection.terminate()

    async def sit_idle(self) -> None:
        """Somebody has locked some live jobs, and does nothing for a while."""

        async def sit() -> None:
            connection = await asyncpg.connect(self._dsn)
            try:
                async with connection.transaction():
                    await connection.fetch(
                        "SELECT FROM jobs WHERE finished_at IS NULL ORDER BY random() LIMIT 5 FOR UPDATE SKIP LOCKED"
                    )
                    await asyncio.sleep(self._chance.uniform(0.2, 1.5))
            finally:
                connection.terminate()

        await again(sit)

    # ------------------------------------------------------------------------------------------- Valkey

    async def flushall(self) -> None:
        """Valkey forgets everything."""
        with redis.Redis.from_url(self._stores.redis_url) as client:
            client.flushall()

    async def restart_valkey(self) -> None:
        """It dies without a word, and comes back empty."""
        self._stores.kill_valkey()
        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
        self._stores.start_valkey()

    async def freeze_valkey(self) -> None:
        """It answers nothing for a while."""
        self._stores.freeze_valkey()
        await asyncio.sleep(1.5)
        self._stores.thaw_valkey()

    async def restart_both(self) -> None:
        """Both are away at the same time."""
        self._stores.kill_valkey()
        self._stores.stop_postgres()
        await asyncio.sleep(self._chance.uniform(0.0, 1.0))
        self._stores.start_postgres()
        self._stores.start_valkey()

    async def duplicate(self) -> None:
        """Tickets that were used long ago, and ones that are in date, come once more."""
        rows = await again(
            lambda: self._stream.database.reader.fetch(
                "SELECT id, greatest(0, fence - floor(random() * 3)::integer) AS fence FROM jobs"
                " ORDER BY random() LIMIT 30"
            )
        )
        settings = RedisSettings(url=self._stores.redis_url)
        feed = Feed.open(settings)
        bus = Bus(redis=settings, feed=feed, settings=WorkerSettings(), take=_never, run=_never, free_slots=lambda: 0)
        await bus.carry([Ticket(row["id"], row["fence"]) for row in rows])
        await bus.close()
        await feed.close()

    # ------------------------------------------------------------------------------------------- people

    async def cancel(self) -> None:
        """Some live jobs are cancelled."""
        rows = await again(
            lambda: self._stream.database.reader.fetch(
                "SELECT id FROM jobs WHERE finished_at IS NULL ORDER BY random() LIMIT 3"
            )
        )
        for row in rows:
            with contextlib.suppress(Refused):
                await again(lambda job_id=row["id"]: self._cancel(job_id))  # type: ignore[misc]  # default argument

    async def _cancel(self, job_id: UUID) -> None:
        async with self._stream.database.transaction() as tx:
            await endings.cancel_job(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)

    async def pause(self) -> None:
        """The queue is paused for a moment, and limited now and then."""
        limit = self._chance.choice([None, 3])

        async def change(paused: bool) -> None:
            async with self._stream.database.transaction() as tx:
                if paused:
                    await ledger.pause_queue(tx, name="default", actor_id=None, reason=None, now=tx.now)
                    await ledger.limit_queue(tx, name="default", max_running=limit, max_running_per_key=1)
                else:
                    await ledger.resume_queue(tx, name="default")

        await again(lambda: change(True))
        await asyncio.sleep(self._chance.uniform(0.1, 0.5))
        await again(lambda: change(False))


async def _never(_: object) -> Any:
    raise AssertionError("this bus only carries")
