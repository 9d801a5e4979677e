"""One worker process: `python -m bench.ledger.worker NAME`, told where by BENCH_DSN and BENCH_REDIS_URL.

It imports everything, says `ready`, and begins when it is told to: what is timed is work, not Python's start.
"""

import asyncio
import os
import sys

import uvloop

from bench.ledger.peers import Places, load


async def work(name: str) -> None:
    """Wait for the word, then work until killed."""
    places = Places(os.environ["BENCH_DSN"], os.environ["BENCH_REDIS_URL"])
    queue = load(name, places)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await queue.work()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
