"""`python -m tests.soak --faults 1000 --seed 7`: one random fault after the other against a fleet of real workers.

After each fault a new job must be done within seconds; in the end, and every hundred faults, everything has ended, no
job is lost, no effect is there twice, and no story has a gap. The same seed draws the same faults.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from tests.soak.faults import Faults
from tests.soak.stream import Stream, again
from tests.support.kinds import Empty, make_effects
from tests.support.stores import Stores, own_stores
from tests.support.workers import Fleet, fleet

# After a fault a new job is done within this. The tests' leases are a sixth of the real ones.
RECOVERED_SECONDS = 20.0
# Starting a worker takes seconds where the machine is busy.
TAKEN_PART_SECONDS = 40.0
SETTLED_SECONDS = 120.0
CHECK_EVERY = 100
_BEGUN_SINCE = "SELECT DISTINCT worker_name FROM job_attempts WHERE started_at > $1"
out = Console()


@dataclass
class Figures:
    """What was seen."""

    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    checks: int = 0

    def table(self) -> Table:
        """By fault: how often, and how long until a new job was done."""
        table = Table("fault", "times", "recovered in (median)", "at most")
        for name, seconds in sorted(self.recoveries.items()):
            ordered = sorted(seconds)
            table.add_row(name, str(len(ordered)), f"{ordered[len(ordered) // 2]:.2f} s", f"{ordered[-1]:.2f} s")
        return table


class Soak:
    """One run."""

    def __init__(self, *, stores: Stores, workers: Fleet, database: Database, seed: int, count: int) -> None:
        self._database = database
        self._chance = random.Random(seed)
        self._count = count
        self.stream = Stream(database, random.Random(seed + 1))
        self.faults = Faults(stores=stores, fleet=workers, stream=self.stream, chance=self._chance, workers=count)
        self.figures = Figures()

    async def run(self, total: int, progress: Progress) -> None:
        """So many faults, and then nothing that is not over."""
        bar = progress.add_task("faults", total=total)
        await make_effects(self._database)
        asking = asyncio.create_task(self.stream.run())
        for number in range(1, total + 1):
            name = self.faults.draw()
            progress.update(bar, description=name)
            await self.faults.inject(name)
            self.figures.recoveries[name].append(await self._recovered(name))
            await self._all_take_part(name)
            if asking.done():
                asking.result()
            if number % CHECK_EVERY == 0 or number == total:
                progress.update(bar, description="looking at everything")
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asking
                await self._settled()
                ended = await self.stream.check()
                self.figures.checks += 1
                progress.console.print(f"{number} faults: {dict(ended)}")
                asking = asyncio.create_task(self.stream.run())
            progress.advance(bar)
        asking.cancel()

    async def _recovered(self, name: str) -> float:
        """How long until a job that is asked for now is done."""
        began = time.monotonic()
        job_id = await self.stream.ask(Empty())
        while time.monotonic() - began < RECOVERED_SECONDS:
            rows = await again(lambda: self._database.reader.fetch("SELECT state FROM jobs WHERE id = $1", [job_id]))
            if rows and rows[0]["state"] in ("completed", "cancelled", "failed", "quarantined"):
                return time.monotonic() - began
            await asyncio.sleep(0.01)
        raise AssertionError(f"after `{name}`, no job was done for {RECOVERED_SECONDS:g} s: {job_id}")

    async def _all_take_part(self, name: str) -> None:
        """Every worker begins some job: none of them only looks alive."""
        (row,) = await again(lambda: self._database.reader.fetch("SELECT clock_timestamp() AS now"))
        end = time.monotonic() + TAKEN_PART_SECONDS
        while True:
            rows = await again(lambda: self._database.reader.fetch(_BEGUN_SINCE, [row["now"]]))
            missing = self.faults.names() - {each["worker_name"] for each in rows}
            if not missing:
                return
            assert time.monotonic() < end, f"after `{name}`, {missing} began nothing for {TAKEN_PART_SECONDS:g} s"
            await asyncio.sleep(0.02)

    async def _settled(self) -> None:
        end = time.monotonic() + SETTLED_SECONDS
        while await again(self.stream.alive):
            assert time.monotonic() < end, "jobs are still under way long after the last fault"
            await asyncio.sleep(0.1)


async def soak(stores: Stores, workers: Fleet, *, faults: int, seed: int, fleet_size: int) -> None:
    """Run, and say what was seen. Raises AssertionError where something does not hold."""
    feed = Feed.open(RedisSettings(url=stores.redis_url))
    database = await Database.open(DatabaseSettings(url=stores.database_url), feed=feed)
    began = time.monotonic()
    run = Soak(stores=stores, workers=workers, database=database, seed=seed, count=fleet_size)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=out) as progress:
            await run.run(faults, progress)
    except AssertionError:
        await _show(database)
        raise
    finally:
        out.print(run.figures.table())
        await feed.close()
        await database.close()
    longest = max(max(seconds) for seconds in run.figures.recoveries.values())
    jobs, seconds = len(run.stream.acknowledged), time.monotonic() - began
    out.print(
        f"{faults} faults in {seconds:.0f} s, seed {seed}: {jobs} jobs, none lost, none twice, no gap;"
        f" slowest recovery {longest:.1f} s."
    )


# What helps to understand why something does not go on.
LOOKS = (
    "SELECT state, kind, count(*), min(scheduled_at) AS since FROM jobs WHERE finished_at IS NULL GROUP BY 1, 2",
    "SELECT * FROM jobs WHERE finished_at IS NULL ORDER BY id LIMIT 5",
    "SELECT name, slots, is_draining, clock_timestamp() - seen_at AS silent FROM workers ORDER BY seen_at",
    "SELECT * FROM queues",
    """SELECT pid, state, wait_event, clock_timestamp() - xact_start AS since, query FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()""",
)


async def _show(database: Database) -> None:
    for look in LOOKS:
        out.rule(look[:60])
        for row in await again(lambda look=look: database.reader.fetch(look)):  # type: ignore[misc]  # default argument
            out.print(dict(row))


def main(
    faults: Annotated[int, typer.Option(help="How many faults.")] = 1_000,
    seed: Annotated[int | None, typer.Option(help="Draws the same faults again; without it, a new one.")] = None,
    workers: Annotated[int, typer.Option(help="How many worker processes.")] = 3,
) -> None:
    """Let one random fault after the other happen to a fleet of workers, and see that nothing is lost or done twice."""
    # So that nothing is left of us where somebody ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = random.randrange(10**6) if seed is None else seed
    out.print(f"seed {seed}")
    with (
        own_stores() as stores,
        tempfile.TemporaryDirectory() as directory,
        fleet(database_url=stores.database_url, redis_url=stores.redis_url, directory=Path(directory)) as started,
    ):
        try:
            asyncio.run(soak(stores, started, faults=faults, seed=seed, fleet_size=workers))
        except BaseException as error:
            kept = Path(tempfile.mkdtemp(prefix="soak-")) / "workers.log"
            shutil.copy(started.log, kept)
            out.print(f"[red]{error!r}[/red]  (seed {seed}; the workers' log: {kept})")
            raise


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
