"""Subscriptions asked directly of the schema, read event by event."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from db.accounts.rules import Viewer
from db.feed import Feed
from db.session import Database
from resolvers.context import Context
from resolvers.errors import present
from resolvers.schema import schema
from tests.support.facts import PATIENCE_SECONDS


@dataclass
class Stream:
    """A running subscription."""

    results: Any
    seen: list[Any] = field(default_factory=list)

    async def next(self) -> Any:
        """The data of the next event. Raises StopAsyncIteration where the stream has ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await anext(self.results)
        assert not result.errors, result.errors
        (event,) = result.data.values()
        self.seen.append(event)
        return event

    async def rest(self) -> list[Any]:
        """Every event to the end."""
        events = []
        while True:
            try:
                events.append(await self.next())
            except StopAsyncIteration:
                return events

    async def refusal(self) -> dict[str, Any]:
        """The one error that ends the stream."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await anext(self.results)
        (error,) = result.errors
        shown: dict[str, Any] = present(error, request_id="test")
        return shown


@asynccontextmanager
async def stream(
    database: Database,
    feed: Feed,
    viewer: Viewer | None,
    query: str,
    *,
    last_event_id: int | None = None,
    **variables: Any,
) -> AsyncIterator[Stream]:
    """Subscribe as somebody; unsubscribes at the end of the block."""
    context = Context(database=database, feed=feed, request_id="test", viewer=viewer, last_event_id=last_event_id)
    results: Any = await schema.subscribe(query, variable_values=variables, context_value=context)
    try:
        yield Stream(results)
    finally:
        await results.aclose()
