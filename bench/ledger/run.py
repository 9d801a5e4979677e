"""Runs the measurements one after the other, and shows the table."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.ledger import asking, losing, subscribing, telling, throughput, waits
from bench.ledger.field import SMALL, Field, Sizes, laid_out
from bench.ledger.goals import Row, as_json, show
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
    "fanout": subscribing.measure,
}


def say(line: str) -> None:
    """Progress, which is no part of the answer."""
    print(line, file=sys.stderr, flush=True)


async def measure(names: Sequence[str], sizes: Sizes, queues: Sequence[str]) -> list[Row]:
    """The rows of these measurements."""
    found: list[Row] = []
    with stores(is_counting=True) as (postgres, valkey):
        async with laid_out(queues, postgres, valkey, sizes) as field:
            for name in names:
                say(f"— {name}")
                try:
                    found += await MEASURES[name](field, say)
                except Stuck as error:
                    found.append(Row(name, "", note=str(error)))
    return found


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m bench ledger", description=__doc__)
    every = list(MEASURES)
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
