"""The steady stream of jobs, and what must be true of all of them in the end."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from db.errors import Outage, TimedOut
from db.ledger.jobs import Work
from db.ledger.rules import TERMINAL, JobState
from db.session import STORE_ERRORS, Database
from tests.support.kinds import Empty, Fails, Keyed, Steps, Talks, Unique
from tests.support.ledger import ask

T = TypeVar("T")
# What a store that is being restarted answers.
AWAY = (Outage, TimedOut, *STORE_ERRORS)
WORKS: list[Callable[[random.Random], Work]] = [
    lambda _: Empty(),
    lambda chance: Steps(chance.randint(2, 5), 0.02),
    lambda chance: Steps(chance.randint(2, 5), 0.02),
    lambda _: Steps(8, 0.1),
    lambda chance: Keyed(steps=2, key=chance.choice("abc")),
    lambda _: Talks(5, 5, 0.01),
    lambda _: Fails(1),
    lambda chance: Unique(chance.choice("xyz")),
]
_ALL = "SELECT * FROM jobs"
_EVENTS = "SELECT job_id, count(*) AS n, min(seq) AS first, max(seq) AS last FROM job_events GROUP BY job_id"
_EFFECTS = "SELECT job_id, array_agg(step ORDER BY step) AS steps FROM effects GROUP BY job_id"
_OPEN = "SELECT count(*) AS n FROM job_attempts JOIN jobs ON id = job_id WHERE outcome IS NULL"


async def again(act: Callable[[], Awaitable[T]], *, seconds: float = 40.0) -> T:
    """Do it, and again while the stores are away."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await act()
        except AWAY:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.05)


@dataclass
class Stream:
    """Asks for jobs as long as it runs, so many at a time under way."""

    database: Database
    chance: random.Random
    live: int = 25
    acknowledged: set[UUID] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            alive = await again(self.alive)
            for _ in range(self.live - alive):
                await self.ask(self.chance.choice(WORKS)(self.chance))
            await asyncio.sleep(0.05)

    async def ask(self, work: Work) -> UUID:
        """Ask for one. It may exist twice where an answer was lost, as for any caller without an idempotency key."""
        job_id = await again(lambda: ask(self.database, work))
        self.acknowledged.add(job_id)
        return job_id

    async def alive(self) -> int:
        """How many have not ended."""
        rows = await self.database.reader.fetch("SELECT count(*) AS n FROM jobs WHERE finished_at IS NULL")
        return int(rows[0]["n"])

    async def check(self) -> Counter[str]:
        """What is wrong raises AssertionError; how the jobs ended. Called when all of them have."""
        jobs = {row["id"]: row for row in await self._all(_ALL)}
        events = {row["job_id"]: row for row in await self._all(_EVENTS)}
        effects = {row["job_id"]: row["steps"] for row in await self._all(_EFFECTS)}
        lost = self.acknowledged - jobs.keys()
        assert not lost, f"{len(lost)} jobs are lost: {lost}"
        for job_id, row in jobs.items():
            told = events[job_id]
            assert (told["n"], told["first"], told["last"]) == (row["last_seq"], 1, row["last_seq"]), f"{job_id}: a gap"
            self._ended_as_it_may(row)
            self._effects_are_there_once(row, effects.get(job_id, []))
        (open_attempts,) = await self._all(_OPEN)
        assert open_attempts["n"] == 0, "attempts without an end"
        return Counter(row["state"] for row in jobs.values())

    async def _all(self, sql: str) -> list[Any]:
        return list(await again(lambda: self.database.reader.fetch(sql)))

    def _ended_as_it_may(self, row: Any) -> None:
        state = JobState(row["state"])
        assert state in TERMINAL, f"{row['id']} has not ended: {dict(row)}"
        if state is JobState.CANCELLED:
            assert row["cancel_requested_at"] is not None, f"{row['id']}: nobody cancelled it"
        if state is JobState.FAILED:
            assert row["failures"] == row["max_attempts"], f"{row['id']}: failed too early: {dict(row)}"
        if state is JobState.QUARANTINED:
            assert row["crash_count"] == 3, f"{row['id']}: put aside too early: {dict(row)}"

    def _effects_are_there_once(self, row: Any, steps: list[int]) -> None:
        if row["kind"] not in (Steps.kind, Keyed.kind):
            return
        wanted = list(range(row["args"]["steps"]))
        if row["state"] == JobState.COMPLETED:
            assert steps == wanted, f"{row['id']}: {steps} instead of {wanted}"
        else:
            assert steps == wanted[: len(steps)], f"{row['id']}: {steps}"
            assert len(steps) < len(wanted), f"{row['id']}: all of its effects, and it is not completed"
