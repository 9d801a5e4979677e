"""Streams of one thing: as it is, then its newest state after every change, coalesced.

Hints make them quick; a version that is read again every now and then makes them right, also where Redis lost a hint.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from db.errors import Outage, TimedOut
from db.session import STORE_ERRORS
from resolvers.context import Context

V = TypeVar("V")

# What a store that is away, or too slow, raises. Streams ask again: what they show is still there afterwards.
AWAY = (Outage, TimedOut, *STORE_ERRORS)
LEAST_GAP_SECONDS = 0.5
POLL_SECONDS = 1.5


class FellBehind(Exception):
    """More waits for a subscriber than is kept for one: it is to connect again."""


async def watch(
    context: Context, version: Callable[[], Awaitable[V]], *, topics: Callable[[V], Sequence[str]]
) -> AsyncIterator[V]:
    """Yield the version at once, then whenever it has changed, at most twice a second; never ends by itself.

    `topics` names what to listen to at a version; where a change names others, those are listened to instead.
    """
    seen: list[V] = []
    current = await version()
    while True:
        listened = topics(current)
        async with context.feed.listen(*listened) as listener:
            # Listen first, then read: a change between the two is in what is read, or is hinted at.
            while topics(current := await version()) == listened:
                if seen != [current]:
                    seen = [current]
                    yield current
                    await asyncio.sleep(LEAST_GAP_SECONDS)
                await listener.wait(POLL_SECONDS)
