"""The subscribers' rows: bench/fanout.py with somewhat more than the goal's rate."""

from collections.abc import Callable
from statistics import quantiles

from bench.fanout import SUBSCRIBERS, main_async
from bench.ledger.field import Field
from bench.ledger.goals import Row, at_least, below

# Of each job in a second; every event goes to a hundred subscribers.
EVENTS = 24
MOST_ROUNDS = 3


async def measure(field: Field, say: Callable[[str], None]) -> list[Row]:
    """A server process, and a process with all subscribers."""
    offered = f"{EVENTS * SUBSCRIBERS:,} frames/s are asked for"
    frames = Row(f"fan-out to {SUBSCRIBERS:,} WebSocket subscribers", "frames/s", at_least(20_000), note=offered)
    late = Row("event → client, p99", "ms", below(100), note=offered)
    for number in range(min(MOST_ROUNDS, field.sizes.rounds)):
        name = f"bench_fanout_{number}"
        await field.connection.execute(f"CREATE DATABASE {name}")
        url = field.postgres.url(name)
        try:
            counted = await main_async(url, field.valkey.url(15), rate=EVENTS, seconds=max(2, int(field.sizes.seconds)))
        except RuntimeError as error:
            frames.note = late.note = str(error)
            continue
        frames.values.append(counted.frames / counted.seconds)
        late.values.append(quantiles(counted.from_commit, n=100)[98] * 1_000)
        say(f"round {number + 1}: {counted}")
    return [frames, late]
