"""A worker process with one kind of work, which comes again every second. `WORKER_CLOCK_OFF` puts its clock wrong."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import uvloop

from db.ledger.jobs import Recurring, Timetable, Work
from jobs.attempt import Attempt, Declared
from jobs.worker import run_worker

SCHEDULE = "test.steady"


@dataclass(frozen=True)
class Steady(Work):
    """Does nothing, every second."""

    kind: ClassVar[str] = SCHEDULE

    @classmethod
    def recurring(cls) -> Sequence[Recurring]:
        return [Recurring(SCHEDULE, Timetable("@every 1s"), cls())]


async def steady(attempt: Attempt, work: Steady) -> Mapping[str, Any] | None:
    return None


def put_the_clock_off(seconds: float) -> None:
    """Let everything here that asks the machine for the time get another one."""
    real = time.time
    time.time = lambda: real() + seconds
    real_ns = time.time_ns
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    put_the_clock_off(float(os.environ.get("WORKER_CLOCK_OFF", "0")))
    uvloop.run(run_worker(kinds={Steady.kind: Declared(Steady, steady)}))
