"""The queues that are compared, ours among them: each as its documentation says it is fast.

A queue is one module with one class `Queue`. Its docstring says how it is tuned. One object asks for jobs in the
measuring process; another one, in a process of its own, works (bench/ledger/worker.py). All get the same number of
slots and the same job, which does nothing; all run on uvloop and log warnings only, and none is asked to keep results.
"""

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

# How many jobs a worker runs at once.
SLOTS = 100
# Who asks for jobs one by one does so with as many clients as a web server may have under way.
CLIENTS = 10

OURS = "ours"
PEERS = ("arq", "oban", "saq", "procrastinate", "pgqueuer")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a queue keeps its jobs: a database and a Valkey of its own."""

    dsn: str
    redis_url: str


class Queue(Protocol):
    """What is measured of each."""

    def __init__(self, places: Places) -> None: ...

    async def open(self) -> None:
        """Make the tables where they are not there, and connect."""

    async def close(self) -> None:
        """Let the connections go."""

    async def clear(self) -> None:
        """Forget every job."""

    async def enqueue(self) -> None:
        """Ask for one job, durably where the queue can."""

    async def enqueue_many(self, count: int) -> None:
        """Ask for many jobs in the way that is fastest."""

    async def left(self) -> int:
        """How many jobs have not been completed, as far as is written down."""

    async def work(self) -> None:
        """Be the worker, until the process ends."""


class Missing(Exception):
    """A peer that is not installed."""


def load(name: str, places: Places) -> Queue:
    """The queue of this name. Raises Missing."""
    try:
        module = importlib.import_module(f"{__name__}.{name}_queue")
    except ImportError as error:
        raise Missing(f"not installed ({error.name})") from error
    return cast("Queue", module.Queue(places))
