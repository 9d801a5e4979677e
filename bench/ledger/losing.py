"""What losing Redis costs, and what a worker costs that has nothing to do."""

import asyncio
import time
from collections.abc import Callable

from bench.ledger.field import Field
from bench.ledger.goals import Row, below
from bench.ledger.kinds import Starts
from bench.ledger.peers import OURS
from bench.ledger.working import until_done, working
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE

# Long enough for the queue to be there still when Redis is emptied.
JOB_SECONDS = 0.02
SETTLED_SECONDS = 4.0


async def flushing(field: Field, say: Callable[[str], None]) -> list[Row]:
    """FLUSHALL with the queue full. Flowing again: the longest time after it in which no handler began."""
    count = field.sizes.jobs
    lost = Row(f"FLUSHALL with {count:,} queued: lost", "jobs", below(1))
    pause = Row("FLUSHALL: flowing again after", "s", below(5))
    whole = Row("FLUSHALL: all done after", "s")
    for number in range(field.sizes.rounds):
        await field.ours.clear()
        async with field.ours.database.transaction() as tx:
            for each in range(count):
                await ledger.enqueue(tx, work=Starts(each, JOB_SECONDS), actor_id=None)
            tx.hint(WORK_IS_DUE)
        await field.settle(OURS)
        async with working(OURS, field.places[OURS]) as worker:
            worker.go()
            await worker.until_told("started", count // 10)
            await field.redis.flushall()
            flushed = time.monotonic()
            await until_done(field.ours.left, what="the jobs after FLUSHALL")
            whole.values.append(time.monotonic() - flushed)
            after = sorted(at for at in worker.told.values() if at > flushed)
            gaps = [later - earlier for earlier, later in zip([flushed, *after], after, strict=False)]
            pause.values.append(max(gaps, default=0.0))
            lost.values.append(float(count - len(worker.told)))
        say(f"round {number + 1}: lost {lost.values[-1]:.0f}, longest pause {pause.values[-1]:.2f} s")
    return [lost, pause, whole]


async def idling(field: Field, say: Callable[[str], None]) -> list[Row]:
    """Commands and statements of a worker without work."""
    commands = Row("idle worker: Redis commands", "/s", below(20))
    statements = Row("idle worker: SQL statements", "/s", below(5))
    await field.ours.clear()
    counting = field.counting(OURS)
    async with working(OURS, field.places[OURS]) as worker:
        worker.go()
        await asyncio.sleep(SETTLED_SECONDS)
        for _ in range(field.sizes.rounds):
            await counting.begin()
            began = time.monotonic()
            await asyncio.sleep(field.sizes.seconds)
            seconds = time.monotonic() - began
            commands.values.append((await counting.commands()).total() / seconds)
            statements.values.append((await counting.statements()).total() / seconds)
            say(f"idle: {commands.values[-1]:.1f} commands/s, {statements.values[-1]:.1f} statements/s")
    return [commands, statements]
