"""What asking for a job costs whoever asks: a transaction with and without it, and ARQ's enqueue_job, in turn."""

import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles

from sqlalchemy import text

from bench.ledger.field import Field
from bench.ledger.goals import Row, at_least, below
from bench.ledger.kinds import Nothing
from db.ledger import commands as ledger

WRITE = text("INSERT INTO written (what) VALUES (:what)")


async def measure(field: Field, say: Callable[[str], None]) -> list[Row]:
    """One caller, so that what is timed is the call and not a queue of calls."""
    database, arq = field.ours.database, field.queues["arq"]
    await field.ours.clear()
    await arq.clear()
    async with database.transaction() as tx:
        await tx.execute(text("CREATE TABLE IF NOT EXISTS written (what text)"))

    async def mutation() -> None:
        async with database.transaction() as tx:
            await tx.execute(WRITE, {"what": "a business change"})

    async def mutation_with_job() -> None:
        async with database.transaction() as tx:
            await tx.execute(WRITE, {"what": "a business change"})
            await ledger.enqueue(tx, work=Nothing(), actor_id=None)

    ratio = Row("transactional enqueue: arq.enqueue_job / what the job adds to a transaction", "×", at_least(1.0))
    added = Row("p99 of a mutation's transaction: with a job − without", "ms", below(3.0))
    rows = [ratio, added, Row("added to the median", "ms"), Row("arq.enqueue_job, median", "ms")]
    ways: list[Callable[[], Awaitable[None]]] = [mutation, mutation_with_job, arq.enqueue]
    for number in range(field.sizes.rounds):
        await field.settle("ours")
        bare, with_job, theirs = await _in_turn(ways, field.sizes.calls)
        more = median(with_job) - median(bare)
        found = [median(theirs) / more, _p99(with_job) - _p99(bare), more, median(theirs)]
        for row, value in zip(rows, found, strict=True):
            row.values.append(value)
        say(f"round {number + 1}: a job adds {more:.3f} ms to a transaction, enqueue_job takes {median(theirs):.3f} ms")
    await field.ours.clear()
    await arq.clear()
    return rows


async def _in_turn(ways: list[Callable[[], Awaitable[None]]], calls: int) -> list[list[float]]:
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(calls):
        for way, found in zip(ways, took, strict=True):
            began = time.perf_counter()
            await way()
            found.append((time.perf_counter() - began) * 1_000)
    return took


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]
