"""Kinds of work for the tests of the ledger. Their effects are rows of a table that `make_effects` makes."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import text

from db.errors import Code, refuse
from db.ledger.commands import Asked, enqueue, enqueue_many
from db.ledger.jobs import Work
from db.session import Database
from jobs.attempt import Attempt, Cancelled, Declared, Snooze


async def make_effects(database: Database) -> None:
    """The table that the handlers below write to."""
    async with database.transaction() as tx:
        await tx.execute(text("CREATE TABLE effects (job_id uuid, step integer, attempt integer)"))


async def effects_of(database: Database, job_id: UUID) -> list[int]:
    """The steps of a job whose effects have been committed, in order; twice where it happened twice."""
    rows = await database.reader.fetch("SELECT step FROM effects WHERE job_id = $1 ORDER BY step", [job_id])
    return [row["step"] for row in rows]


@dataclass(frozen=True)
class Empty(Work):
    """Does nothing."""

    kind: ClassVar[str] = "test.empty"


async def empty(attempt: Attempt, work: Empty) -> Mapping[str, Any] | None:
    return None


@dataclass(frozen=True)
class Steps(Work):
    """Writes so many effects, one in each transaction and the last with its completion; begins where it left off."""

    kind: ClassVar[str] = "test.steps"
    steps: int
    pause_seconds: float = 0.0


async def steps(attempt: Attempt, work: Steps) -> Mapping[str, Any] | None:
    async with attempt.transaction() as tx:
        found = await tx.execute(text("SELECT count(*) FROM effects WHERE job_id = :id"), {"id": attempt.job_id})
        first = int(found.scalar_one())
    for step in range(first, work.steps - 1):
        async with attempt.transaction() as tx:
            await tx.execute(
                text("INSERT INTO effects VALUES (:id, :step, :attempt)"),
                {"id": attempt.job_id, "step": step, "attempt": attempt.number},
            )
        await attempt.progress(done=step + 1, total=work.steps, step="Writing")
        await asyncio.sleep(work.pause_seconds)
    async with attempt.completing() as end:
        await end.tx.execute(
            text("INSERT INTO effects VALUES (:id, :step, :attempt)"),
            {"id": attempt.job_id, "step": work.steps - 1, "attempt": attempt.number},
        )
        end.result = {"first": first, "attempt": attempt.number}
    return None


@dataclass(frozen=True)
class Fails(Work):
    """Fails so many times, then completes."""

    kind: ClassVar[str] = "test.fails"
    times: int = 1_000


async def fails(attempt: Attempt, work: Fails) -> Mapping[str, Any] | None:
    if attempt.number <= work.times:
        raise RuntimeError("the password is swordfish")
    return {"attempt": attempt.number}


@dataclass(frozen=True)
class Refuses(Work):
    """Is refused by a rule, having written something that must not stay."""

    kind: ClassVar[str] = "test.refuses"


async def refuses(attempt: Attempt, work: Refuses) -> Mapping[str, Any] | None:
    async with attempt.completing() as end:
        await end.tx.execute(text("INSERT INTO effects VALUES (:id, 0, 0)"), {"id": attempt.job_id})
        raise refuse(Code.EMPTY_TASKS, "Nothing to do for 2 learners.", "planId", learners=2)


@dataclass(frozen=True)
class Snoozes(Work):
    """Waits for something until its third attempt."""

    kind: ClassVar[str] = "test.snoozes"


async def snoozes(attempt: Attempt, work: Snoozes) -> Mapping[str, Any] | None:
    if attempt.number < 3:
        raise Snooze(60, "Waits for the store.")
    return None


@dataclass(frozen=True)
class Waits(Work):
    """Waits until it is stopped: at safe points where it is polite, in one long await where it is not."""

    kind: ClassVar[str] = "test.waits"
    timeout_seconds: ClassVar[int] = 60
    is_polite: bool = True


async def waits(attempt: Attempt, work: Waits) -> Mapping[str, Any] | None:
    while work.is_polite:
        await attempt.checkpoint()
        await asyncio.sleep(0.01)
    await asyncio.sleep(60)
    return None


@dataclass(frozen=True)
class Brief(Waits):
    """Waits for longer than it may."""

    kind: ClassVar[str] = "test.brief"
    timeout_seconds: ClassVar[int] = 1
    max_attempts: ClassVar[int] = 1


@dataclass(frozen=True)
class Deaf(Work):
    """Swallows every interruption, and tries to write when it is at last done."""

    kind: ClassVar[str] = "test.deaf"
    seconds: float = 1.0


async def deaf(attempt: Attempt, work: Deaf) -> Mapping[str, Any] | None:
    until = time.monotonic() + work.seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(until - time.monotonic())
        except asyncio.CancelledError:
            continue
    async with attempt.completing() as end:
        await end.tx.execute(
            text("INSERT INTO effects VALUES (:id, 0, :n)"), {"id": attempt.job_id, "n": attempt.number}
        )
    return None


@dataclass(frozen=True)
class Blocks(Work):
    """Keeps the event loop of its worker busy for so long, then completes."""

    kind: ClassVar[str] = "test.blocks"
    seconds: float = 3.0


async def blocks(attempt: Attempt, work: Blocks) -> Mapping[str, Any] | None:
    until = time.monotonic() + work.seconds
    while time.monotonic() < until:
        pass
    return None


@dataclass(frozen=True)
class Superseded(Work):
    """Finds that nobody needs it any more."""

    kind: ClassVar[str] = "test.superseded"


async def superseded(attempt: Attempt, work: Superseded) -> Mapping[str, Any] | None:
    raise Cancelled("A newer request supersedes this one.")


@dataclass(frozen=True)
class Talks(Work):
    """Tells so many lines of log and of progress."""

    kind: ClassVar[str] = "test.talks"
    lines: int = 10
    progress: int = 0
    pause_seconds: float = 0.0


async def talks(attempt: Attempt, work: Talks) -> Mapping[str, Any] | None:
    for number in range(work.lines):
        await attempt.log(f"line {number}", data={"number": number})
    for done in range(work.progress):
        await attempt.progress(done=done + 1, total=work.progress, step=f"step {done + 1}")
        await asyncio.sleep(work.pause_seconds)
    return None


@dataclass(frozen=True)
class Unique(Empty):
    """At most one of a name."""

    kind: ClassVar[str] = "test.unique"
    name: str = "one"

    def unique_key(self) -> str:
        return self.name


@dataclass(frozen=True)
class Keyed(Steps):
    """Steps that share a limit with all others of the same key."""

    kind: ClassVar[str] = "test.keyed"
    steps: int = 1
    key: str | None = None

    def concurrency_key(self) -> str | None:
        return self.key


@dataclass(frozen=True)
class Poison(Work):
    """Kills its process."""

    kind: ClassVar[str] = "test.poison"


async def poison(attempt: Attempt, work: Poison) -> Mapping[str, Any] | None:
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


@dataclass(frozen=True)
class Crowd(Keyed):
    """Writes down how many of it run at this moment, in all and of its key: see `make_crowd`."""

    kind: ClassVar[str] = "test.crowd"


async def make_crowd(database: Database) -> None:
    """The tables that the handler below writes to."""
    async with database.transaction() as tx:
        await tx.execute(text("CREATE TABLE inside (job_id uuid, key text)"))
        await tx.execute(text("CREATE TABLE crowds (job_id uuid, of_all integer, of_key integer)"))


async def crowd(attempt: Attempt, work: Crowd) -> Mapping[str, Any] | None:
    me = {"id": attempt.job_id, "key": work.key}
    async with attempt.transaction() as tx:
        await tx.execute(text("INSERT INTO inside VALUES (:id, :key)"), me)
    await asyncio.sleep(0.02)
    async with attempt.transaction() as tx:
        await tx.execute(
            text("INSERT INTO crowds SELECT :id, count(*), count(*) FILTER (WHERE key = :key) FROM inside"), me
        )
    async with attempt.completing() as end:
        await end.tx.execute(text("DELETE FROM inside WHERE job_id = :id"), {"id": attempt.job_id})
    return None


@dataclass(frozen=True)
class Asks(Work):
    """Asks for other work: one piece by itself, and two together."""

    kind: ClassVar[str] = "test.asks"


async def asks(attempt: Attempt, work: Asks) -> Mapping[str, Any] | None:
    async with attempt.completing() as end:
        await enqueue(end.tx, work=Empty(), actor_id=None)
        await enqueue_many(end.tx, asked=[Asked(Empty()), Asked(Empty())], actor_id=None)
    return None


KINDS: Mapping[str, Declared] = {
    Asks.kind: Declared(Asks, asks),
    Empty.kind: Declared(Empty, empty),
    Steps.kind: Declared(Steps, steps),
    Fails.kind: Declared(Fails, fails),
    Refuses.kind: Declared(Refuses, refuses),
    Snoozes.kind: Declared(Snoozes, snoozes),
    Waits.kind: Declared(Waits, waits),
    Brief.kind: Declared(Brief, waits),
    Deaf.kind: Declared(Deaf, deaf),
    Blocks.kind: Declared(Blocks, blocks),
    Superseded.kind: Declared(Superseded, superseded),
    Talks.kind: Declared(Talks, talks),
    Unique.kind: Declared(Unique, empty),
    Keyed.kind: Declared(Keyed, steps),
    Poison.kind: Declared(Poison, poison),
    Crowd.kind: Declared(Crowd, crowd),
}
