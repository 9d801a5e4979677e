"""Progress and logs: how many a second are stored and published, and how long after being told one is stored.

The first with handlers that tell as fast as they are let; the second with the same handlers at a third of the goal's
rate, since what waits in a queue that is full says how long the queue is. Postgres keeps when each transaction
committed (track_commit_timestamp), and an event says when it was told.
"""

import time
from collections.abc import Callable

from bench.ledger.field import Field
from bench.ledger.goals import Row, at_least, below
from bench.ledger.kinds import Tells
from bench.ledger.peers import OURS
from bench.ledger.working import until_done, working
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE

PACED = 5_000
TOLD = "type IN ('LOG', 'PROGRESS')"
# The one statement that stores events of running jobs names the lines' places.
FLUSH = "line.place"


async def measure(field: Field, say: Callable[[str], None]) -> list[Row]:
    """Round by round, both ways."""
    rate = Row("durable published progress events", "events/s", at_least(15_000))
    append = Row(f"told → stored, at {PACED:,} events/s, p50", "ms", below(10))
    flushes = Row("flushes for each event, at full speed", "flushes")
    heard = Row("hints for each flush, at full speed", "commands")
    for number in range(field.sizes.rounds):
        events, seconds, flushed, hints = await _flood(field)
        rate.values.append(events / seconds)
        flushes.values.append(flushed / events)
        heard.values.append(hints / flushed)
        append.values.append(await _paced(field))
        say(f"round {number + 1}: {rate.values[-1]:,.0f} events/s, told → stored {append.values[-1]:.2f} ms")
    return [rate, append, flushes, heard]


async def _flood(field: Field) -> tuple[int, float, int, int]:
    counting, ours = field.counting(OURS), field.ours
    await _tellers(field, Tells(field.sizes.lines))
    async with working(OURS, field.places[OURS]) as worker:
        await counting.begin()
        began = worker.go()
        await until_done(ours.left, what="the tellers")
        seconds = time.monotonic() - began
        events = await ours.connection.fetchval(f"SELECT count(*) FROM job_events WHERE {TOLD}")
        statements, commands = await counting.statements(), await counting.commands()
    flushes = sum(calls for query, calls in statements.items() if FLUSH in query)
    return int(events), seconds, max(1, flushes), commands["publish"]


async def _paced(field: Field) -> float:
    a_second = PACED / field.sizes.tellers
    await _tellers(field, Tells(int(a_second * field.sizes.seconds / 2), pause_seconds=1 / a_second))
    async with working(OURS, field.places[OURS]) as worker:
        worker.go()
        await until_done(field.ours.left, what="the slow tellers")
    took = await field.ours.connection.fetchval(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY pg_xact_commit_timestamp(xmin) - at)"
        f" FROM job_events WHERE {TOLD}"
    )
    return float(took.total_seconds() * 1_000)


async def _tellers(field: Field, work: Tells) -> None:
    await field.ours.clear()
    async with field.ours.database.transaction() as tx:
        for _ in range(field.sizes.tellers):
            await ledger.enqueue(tx, work=work, actor_id=None)
        tx.hint(WORK_IS_DUE)
    await field.settle(OURS)
