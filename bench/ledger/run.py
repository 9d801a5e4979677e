"""Runs the measurements one after the other, and shows the table."""

import argparse
import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.ledger import asking, losing, telling, throughput, waits
from bench.ledger.field import SMALL, Field, Sizes, laid_out
from bench.ledger.goals import Row, as_json, at_least, show
from bench.ledger.installing import run_with_peers
from bench.ledger.peers import OURS, PEERS
from bench.ledger.working import Stuck
from bench.stores import stores

Measure = Callable[[Field, Callable[[str], None]], Awaitable[list[Row]]]

MEASURES: dict[str, Measure] = {
    "throughput": throughput.measure,
    "asking": asking.measure,
    "starting": waits.starting,
    "telling": telling.measure,
    "cancelling": waits.cancelling,
    "flushing": losing.flushing,
    "idling": losing.idling,
}
FANOUT = "bench.fanout"


def say(line: str) -> None:
    """Progress, which is no part of the answer."""
    print(line, file=sys.stderr, flush=True)


async def fanout(sizes: Sizes) -> list[Row]:
    """The subscribers' row, where its measurement is there."""
    missing = Row("fan-out to 1,000 WebSocket subscribers", "frames/s", at_least(20_000), note="python -m bench fanout")
    if importlib.util.find_spec(FANOUT) is None:
        return [missing]
    rows: Callable[[int], Awaitable[list[Row]]] | None = getattr(importlib.import_module(FANOUT), "rows", None)
    return [missing] if rows is None else await rows(sizes.rounds)


async def measure(names: Sequence[str], sizes: Sizes, queues: Sequence[str]) -> list[Row]:
    """The rows of these measurements."""
    found: list[Row] = []
    with stores(is_counting=True) as (postgres, valkey):
        async with laid_out(queues, postgres, valkey, sizes) as field:
            for name in names:
                if name == "fanout":
                    found += await fanout(sizes)
                    continue
                say(f"— {name}")
                try:
                    found += await MEASURES[name](field, say)
                except Stuck as error:
                    found.append(Row(name, "", note=str(error)))
    return found


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m bench ledger", description=__doc__)
    every = [*MEASURES, "fanout"]
    parser.add_argument(
        "names", nargs="*", metavar="measurement", help=f"of {', '.join(every)}; all where none is named"
    )
    parser.add_argument("--peers", action="store_true", help="install the other queues first, into .venv-bench")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--small", action="store_true", help="a few of everything, to see that it works")
    parser.add_argument("--rounds", type=int, help="how many rounds; 5 is the least that says something")
    parser.add_argument("--queues", help=f"only these, comma-separated, of {', '.join(PEERS)}")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(every):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    if chosen.peers:
        run_with_peers(Path(sys.executable), [word for word in arguments if word != "--peers"])
    sizes = SMALL if chosen.small else Sizes()
    if chosen.rounds:
        sizes = replace(sizes, rounds=chosen.rounds)
    queues = [OURS, "arq", *(chosen.queues.split(",") if chosen.queues is not None else PEERS)]
    rows = asyncio.run(measure(chosen.names or every, sizes, list(dict.fromkeys(filter(None, queues)))))
    if chosen.json:
        print(as_json(rows))
    else:
        show(rows, title=f"The ledger: {sizes.rounds} rounds")
