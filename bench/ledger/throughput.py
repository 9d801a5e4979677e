"""Jobs from asking to completed, ours and the peers' in turn, in an order that is drawn anew for each round."""

import asyncio
import random
import time
from collections.abc import Callable

from bench.ledger.field import Field
from bench.ledger.goals import Goal, Row, at_least, below
from bench.ledger.peers import CLIENTS, OURS, Queue
from bench.ledger.working import Stuck, until, until_done, working

GOALS = {"arq": at_least(1.3), "oban": at_least(1.0), "saq": at_least(2.5), "procrastinate": at_least(3.5)}

# name → jobs a second, of one round
Rates = dict[str, float]


async def measure(field: Field, say: Callable[[str], None]) -> list[Row]:
    """Both ways, and what our worker asked of the stores meanwhile."""
    before: list[Rates] = []
    together: list[Rates] = []
    counts = [
        Row("Redis commands for each job, at load", "commands", below(10 + 1e-9)),
        Row("SQL statements for each job after enqueue, at load", "statements", below(0.5 + 1e-9)),
    ]
    for number in range(field.sizes.rounds):
        names = random.sample(sorted(field.queues), len(field.queues))
        before.append({})
        together.append({})
        for name in names:
            try:
                before[-1][name], together[-1][name] = await _both(field, name, counts)
            except Stuck as error:
                field.missing[name] = str(error)
                del field.queues[name]
            else:
                rates = f"{before[-1][name]:8,.0f} jobs/s, {together[-1][name]:8,.0f} jobs/s while asked for"
                say(f"round {number + 1}: {name:14} {rates}")
    return [
        *_ratios(field, "enqueued beforehand", before),
        *_ratios(field, "enqueued meanwhile", together),
        *_rates(field, "enqueued beforehand", before),
        *_rates(field, "enqueued meanwhile", together),
        *counts,
    ]


async def _both(field: Field, name: str, counts: list[Row]) -> tuple[float, float]:
    queue, sizes = field.queues[name], field.sizes
    await queue.clear()
    await queue.enqueue_many(sizes.jobs)
    await field.settle(name)
    counting = field.counting(name)
    async with working(name, field.places[name]) as worker:
        await counting.begin()
        worker.go()
        beforehand = await _rate(queue, sizes.jobs)
        if name == OURS:
            for row, found in zip(counts, [await counting.commands(), await counting.statements()], strict=True):
                row.values.append(found.total() / sizes.jobs)
        began = time.monotonic()
        each = sizes.jobs_together // CLIENTS

        async def client() -> None:
            for _ in range(each):
                await queue.enqueue()

        await asyncio.gather(*[client() for _ in range(CLIENTS)])
        await until_done(queue.left, what=f"{name} works while it is asked")
        return beforehand, each * CLIENTS / (time.monotonic() - began)


async def _rate(queue: Queue, jobs: int) -> float:
    """Jobs a second from the first ones done to the last: how long a worker takes to connect is no part of it."""

    async def begun() -> bool:
        return await queue.left() < jobs

    await until(begun, what="the first job done")
    left, began = await queue.left(), time.monotonic()
    await until_done(queue.left, what=f"{jobs} jobs done")
    return left / (time.monotonic() - began)


def _ratios(field: Field, how: str, rounds: list[Rates]) -> list[Row]:
    names = [name for name in (*GOALS, "pgqueuer") if name in field.queues or name in field.missing]
    rows = []
    for name in names:
        goal: Goal | None = GOALS.get(name)
        row = Row(f"durable jobs, {how}: ours / {name}", "×", goal, note=field.missing.get(name, ""))
        row.values = [rates[OURS] / rates[name] for rates in rounds if OURS in rates and name in rates]
        if name == "arq":
            row.note = row.note or "arq keeps nothing"
        rows.append(row)
    return rows


def _rates(field: Field, how: str, rounds: list[Rates]) -> list[Row]:
    return [
        Row(f"{name}, {how}", "jobs/s", values=[rates[name] for rates in rounds if name in rates])
        for name in field.queues
    ]
