"""Ending tasks of asyncio for good."""

import asyncio
from collections.abc import Iterable
from typing import Any

# How often a task that is to end is told so again.
CANCEL_AGAIN_SECONDS = 0.5


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel these tasks until they have ended. What they raised on the way is of no interest any more.

    redis-py swallows a cancellation that comes while it connects or waits under a timeout, and so does asyncio.wait_for
    of Python 3.11 at the moment it is done (ours use asyncio.timeout instead): once is not always enough.
    """
    left = list(tasks)
    while running := [task for task in left if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*left, return_exceptions=True)
