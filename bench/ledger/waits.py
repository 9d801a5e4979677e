"""How long a person waits: from a commit to the handler's first line, and from a request to cancel to its last."""

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import quantiles
from uuid import UUID

from bench.ledger.field import Field
from bench.ledger.goals import Row, below
from bench.ledger.kinds import Polite, Starts
from bench.ledger.peers import OURS
from bench.ledger.working import working
from db.ledger import commands as ledger
from db.ledger.jobs import Work

A_SECOND = 100
# Enough for everything to be connected and compiled.
WARM_UP = 100
AT_ONCE = 20
APART_SECONDS = 0.02


async def starting(field: Field, say: Callable[[str], None]) -> list[Row]:
    """100 jobs a second, asked for at their time whether or not those before have begun."""
    rows = [
        Row("commit → handler starts at 100/s, p50", "ms", below(5)),
        Row("commit → handler starts at 100/s, p99", "ms", below(25)),
    ]
    await field.ours.clear()
    async with working(OURS, field.places[OURS]) as worker:
        worker.go()
        first = 0
        for number in range(-1, field.sizes.rounds):
            count = WARM_UP if number < 0 else int(A_SECOND * field.sizes.seconds)
            if number >= 0:
                await field.settle(OURS)
            committed = await _arrive(field, range(first, first + count))
            first += count
            await worker.until_told("started", first)
            took = sorted((worker.told["started", each] - at) * 1_000 for each, at in committed.items())
            if number >= 0:
                _take(rows, took)
                say(f"round {number + 1}: p50 {rows[0].values[-1]:.2f} ms, p99 {rows[1].values[-1]:.2f} ms")
    return rows


async def _arrive(field: Field, numbers: Sequence[int]) -> dict[int, float]:
    committed: dict[int, float] = {}

    async def one(number: int) -> None:
        await _ask(field, Starts(number))
        committed[number] = time.monotonic()

    began = time.monotonic()
    tasks = []
    for place, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, began + place / A_SECOND - time.monotonic()))
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    return committed


async def cancelling(field: Field, say: Callable[[str], None]) -> list[Row]:
    """Handlers that look every millisecond; from the commit of the request until one of them raises."""
    rows = [
        Row("cancel seen by a running handler, p50", "ms", below(10)),
        Row("cancel seen by a running handler, p99", "ms", below(50)),
    ]
    await field.ours.clear()
    async with working(OURS, field.places[OURS]) as worker:
        worker.go()
        first = 0
        for number in range(field.sizes.rounds):
            took: list[float] = []
            for _ in range(field.sizes.cancels // AT_ONCE):
                jobs = {each: await _ask(field, Polite(each)) for each in range(first, first + AT_ONCE)}
                first += AT_ONCE
                await worker.until_told("started", first)
                asked = {each: await _cancel(field, job_id) for each, job_id in jobs.items()}
                await worker.until_told("stopped", first)
                took += [(worker.told["stopped", each] - at) * 1_000 for each, at in asked.items()]
            _take(rows, took)
            say(f"round {number + 1}: p50 {rows[0].values[-1]:.2f} ms, p99 {rows[1].values[-1]:.2f} ms")
    return rows


async def _ask(field: Field, work: Work) -> UUID:
    async with field.ours.database.transaction() as tx:
        return (await ledger.enqueue(tx, work=work, actor_id=None)).job_id


async def _cancel(field: Field, job_id: UUID) -> float:
    await asyncio.sleep(APART_SECONDS)
    async with field.ours.database.transaction() as tx:
        await ledger.request_cancel(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    return time.monotonic()


def _take(rows: Sequence[Row], took: Sequence[float]) -> None:
    cuts = quantiles(took, n=100)
    rows[0].values.append(cuts[49])
    rows[1].values.append(cuts[98])
