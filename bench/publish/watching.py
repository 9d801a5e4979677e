"""What goes on beside a publication: how long its transactions are, how much memory it takes, how long saving takes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.world import BenchWorld

LOOK_SECONDS = 0.05
# Saving another plan is to be timed, not to be the load.
SAVE_SECONDS = 0.25
KIB_A_MIB = 1024


@dataclass
class Seen:
    """What was seen beside one publication."""

    longest_transaction: float = 0.0
    update_ms: list[float] = field(default_factory=list)
    worker_mib: float = 0.0
    backend_mib: float = 0.0


@asynccontextmanager
async def meanwhile(work: Callable[[], Awaitable[None]], *, every: float) -> AsyncIterator[None]:
    """Repeat something beside the block."""

    async def again() -> None:
        while True:
            await work()
            await asyncio.sleep(every)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def memory_mib(pid: int) -> float:
    """Memory of one process that is its own, in MiB: pages shared with others (Postgres' buffers) do not count."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(facts.get("RssAnon", "0 kB").split()[0]) / KIB_A_MIB


@asynccontextmanager
async def watched(world: BenchWorld, watcher: Any, worker: int) -> AsyncIterator[Seen]:
    """Look at everything beside the block, and save another plan again and again."""
    seen = Seen()

    async def look() -> None:
        rows = await watcher.fetch(
            "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start) AS age FROM pg_stat_activity"
            " WHERE application_name = 'holdfast-worker' OR application_name = 'holdfast'"
        )
        for row in rows:
            seen.longest_transaction = max(seen.longest_transaction, float(row["age"] or 0))
            seen.backend_mib = max(seen.backend_mib, memory_mib(row["pid"]))
        seen.worker_mib = max(seen.worker_mib, memory_mib(worker))

    async def update() -> None:
        began = time.perf_counter()
        await world.update(world.other_plan_id)
        seen.update_ms.append((time.perf_counter() - began) * 1000)

    async with meanwhile(look, every=LOOK_SECONDS), meanwhile(update, every=SAVE_SECONDS):
        yield seen
