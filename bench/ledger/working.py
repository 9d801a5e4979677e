"""Worker processes, as the measuring process sees them: one runs while it is measured, and is killed after."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.ledger.peers import Places

PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.01


class Stuck(Exception):
    """Something did not happen within two minutes: there is nothing to measure."""


async def until(look: Callable[[], Awaitable[bool]], *, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until it is so. Raises Stuck."""
    end = time.monotonic() + seconds
    while not await look():
        if time.monotonic() > end:
            raise Stuck(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


async def until_done(left: Callable[[], Awaitable[int]], *, what: str) -> None:
    """Wait until nothing is left. Raises Stuck."""

    async def done() -> bool:
        return await left() == 0

    await until(done, what=what)


@dataclass
class Working:
    """A worker process that has imported everything and waits for the word."""

    process: asyncio.subprocess.Process
    # What handlers told: when, by (what, number).
    told: dict[tuple[str, int], float] = field(default_factory=dict)

    def go(self) -> float:
        """Let it begin. When, by the clock that all processes share."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return time.monotonic()

    async def until_told(self, what: str, count: int) -> None:
        """Wait until so many have told this. Raises Stuck."""

        async def enough() -> bool:
            return sum(each == what for each, _ in self.told) >= count

        await until(enough, what=f"{count} × {what}")

    async def listen(self) -> None:
        """Keep what handlers tell."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            what, number, at = line.split()
            self.told[what.decode(), int(number)] = float(at)


@asynccontextmanager
async def working(name: str, places: Places, *, is_quiet: bool = True) -> AsyncIterator[Working]:
    """A worker of this queue, killed at the end of the block. What it logs is thrown away where it is to be quiet."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.ledger.worker",
        name,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if is_quiet else None,
        env={**os.environ, "BENCH_DSN": places.dsn, "BENCH_REDIS_URL": places.redis_url},
    )
    assert process.stdout is not None
    worker = Working(process)
    if await process.stdout.readline() != b"ready\n":
        raise Stuck(f"the worker of {name} did not start")
    listening = asyncio.create_task(worker.listen())
    try:
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        listening.cancel()
