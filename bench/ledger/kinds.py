"""The jobs that are measured. What a handler has to tell the measuring process it writes to its standard output."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from db.ledger.jobs import Work
from jobs.attempt import Attempt, Cancelled, Declared

TELL_TO = 1


def tell(what: str, number: int) -> None:
    """Say that it happens now, by the clock that all processes of a machine share."""
    os.write(TELL_TO, f"{what} {number} {time.monotonic():.6f}\n".encode())


@dataclass(frozen=True)
class Nothing(Work):
    """Does nothing."""

    kind: ClassVar[str] = "bench.nothing"


async def nothing(_attempt: Attempt, _work: Nothing) -> Mapping[str, Any] | None:
    return None


@dataclass(frozen=True)
class Starts(Work):
    """Tells that it starts, and takes so long."""

    kind: ClassVar[str] = "bench.starts"
    number: int
    seconds: float = 0.0


async def starts(_attempt: Attempt, work: Starts) -> Mapping[str, Any] | None:
    tell("started", work.number)
    await asyncio.sleep(work.seconds)
    return None


@dataclass(frozen=True)
class Tells(Work):
    """Writes so many lines to its log, with a pause after each, and its progress after every tenth."""

    kind: ClassVar[str] = "bench.tells"
    lines: int
    pause_seconds: float = 0.0


async def tells(attempt: Attempt, work: Tells) -> Mapping[str, Any] | None:
    for line in range(work.lines):
        await attempt.log(f"Line {line} of {work.lines}.")
        if line % 10 == 0:
            await attempt.progress(done=line, total=work.lines, step="Telling")
        if work.pause_seconds:
            await asyncio.sleep(work.pause_seconds)
    return None


@dataclass(frozen=True)
class Polite(Work):
    """Looks every millisecond whether it is to stop, until it is."""

    kind: ClassVar[str] = "bench.polite"
    number: int


async def polite(attempt: Attempt, work: Polite) -> Mapping[str, Any] | None:
    tell("started", work.number)
    try:
        while True:
            await attempt.checkpoint()
            await asyncio.sleep(0.001)
    except Cancelled:
        tell("stopped", work.number)
        raise


KINDS: Mapping[str, Declared] = {
    each.work.kind: each
    for each in (
        Declared(Nothing, nothing),
        Declared(Starts, starts),
        Declared(Tells, tells),
        Declared(Polite, polite),
    )
}
