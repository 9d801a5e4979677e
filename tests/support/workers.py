"""Real worker processes for tests: started, stopped, killed, frozen. Those that are left end with the test."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from db.session import Database

T = TypeVar("T")

# Leases of a fifth of the real ones: the same rules in a fifth of the time.
FAST = {
    "WORKER_HEARTBEAT_SECONDS": "0.3",
    "WORKER_DEADLINE_SECONDS": "1.2",
    "WORKER_LEASE_SECONDS": "1.6",
    "WORKER_POLL_SECONDS": "0.2",
    "WORKER_UNCLAIMED_SECONDS": "1",
    "WORKER_CANCEL_GRACE_SECONDS": "0.5",
    "WORKER_ABANDON_SECONDS": "2",
    "WORKER_DRAIN_SECONDS": "5",
}


@dataclass
class Fleet:
    """The worker processes of one test."""

    database_url: str
    redis_url: str
    directory: Path
    # For all of them, beside WORKER_….
    environment: Mapping[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *, module: str = "tests.support.worker", **settings: str) -> subprocess.Popen[bytes]:
        """Start a worker with the kinds of tests/support/kinds.py; `settings` are WORKER_… of the environment."""
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("DATABASE_", "REDIS_", "WORKER_"))
            },
            **FAST,
            **self.environment,
            **{f"WORKER_{name.upper()}": value for name, value in settings.items()},
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "WORKER_NAME": f"w{len(self.started) + 1}",
        }
        with self.log.open("ab") as out:
            process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=out, stderr=out)
        self.started.append(process)
        return process

    @property
    def log(self) -> Path:
        """What all of them log."""
        return self.directory / "workers.log"

    def end(self) -> None:
        """Kill what is left."""
        for process in self.started:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            process.wait()


@contextmanager
def fleet(
    *, database_url: str, redis_url: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Fleet]:
    """Workers that end with the block."""
    workers = Fleet(database_url, redis_url, directory, environment or {})
    try:
        yield workers
    finally:
        workers.end()


async def until(look: Callable[[], Awaitable[T | None]], *, seconds: float = 45.0, what: str = "") -> T:
    """Look again and again until there is something. Raises AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or look}")
        await asyncio.sleep(0.02)


async def until_workers(database: Database, count: int) -> None:
    """Wait until so many workers have said that they live."""

    async def enough() -> bool:
        rows = await database.reader.fetch("SELECT count(*) AS n FROM workers")
        return bool(rows[0]["n"] >= count)

    await until(enough, what=f"{count} workers")


async def until_state(database: Database, job_id: UUID, *states: str, seconds: float = 45.0) -> str:
    """Wait until the job is in one of these states; which."""

    async def there() -> str | None:
        rows = await database.reader.fetch("SELECT state FROM jobs WHERE id = $1", [job_id])
        state: str = rows[0]["state"]
        return state if state in states else None

    return await until(there, seconds=seconds, what=f"{job_id} {states}")


async def until_waiting(database: Database, count: int = 1) -> None:
    """Wait until so many transactions wait for a lock."""

    async def waiting() -> bool:
        rows = await database.reader.fetch(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(rows[0]["n"] >= count)

    await until(waiting)
