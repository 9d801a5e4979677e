"""Listening to hints so that a busy machine makes no difference."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from db.feed import Feed, Listener, family_of
from tests.support.facts import PATIENCE_SECONDS


@asynccontextmanager
async def listening(feed: Feed, *topics: str) -> AsyncIterator[Listener]:
    """A listener that is subscribed by now, and has taken what it hears for having come late."""
    async with feed.listen(*topics) as hints:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not feed._subscribed.issuperset(map(family_of, topics)):
                await asyncio.sleep(0.01)
        await hints.wait(0)
        yield hints


async def heard(hints: Listener, topics: Collection[str]) -> frozenset[str]:
    """What is heard until all of these have come: hints of several families come one after the other."""
    so_far: frozenset[str] = frozenset()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not so_far.issuperset(topics):
            so_far |= await hints.wait()
    return so_far
