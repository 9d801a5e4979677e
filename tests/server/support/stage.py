"""A small schema to try the transports with, apart from the domains, and what a test holds in its hand meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import strawberry
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from db.errors import AccessDenied, Code, Unauthenticated, refuse
from resolvers.context import Info

T = TypeVar("T")


@dataclass
class Stage:
    """What a running operation waits for and reports. One for each test, since the server runs in its loop."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    notes: list[str] = field(default_factory=list)
    after: list[int | None] = field(default_factory=list)
    news: "asyncio.Queue[Any]" = field(default_factory=asyncio.Queue)


STAGE: Stage = Stage()


def new_stage() -> Stage:
    """A fresh stage for the next test."""
    global STAGE  # noqa: PLW0603 - resolvers are made once, at import
    STAGE = Stage()
    return STAGE


@strawberry.type
class Item:
    """One of many; has many of its own."""

    id: strawberry.ID
    name: str

    @strawberry.field
    def items(self, first: int | None = None) -> "ItemConnection":
        """More of them."""
        return ItemConnection(nodes=_items(first))

    @strawberry.field
    def inner(self) -> "Item":
        """Another."""
        return self


@strawberry.type
class ItemConnection:
    """A page."""

    nodes: list[Item]


def _items(first: int | None) -> list[Item]:
    return [Item(id=strawberry.ID(str(number)), name=f"item {number}") for number in range(min(first or 20, 3))]


@strawberry.type
class Query:
    """Reads."""

    @strawberry.field
    def hello(self, name: str = "world") -> str:
        """A greeting."""
        return f"Hello, {name}!"

    @strawberry.field
    def me(self, info: Info) -> str | None:
        """Who asks."""
        return info.context.signed_in.name

    @strawberry.field
    async def gate(self) -> str:
        """Answers when the test says so."""
        STAGE.entered.set()
        try:
            await STAGE.go_on.wait()
        except asyncio.CancelledError:
            STAGE.cancelled.set()
            raise
        return "through"

    @strawberry.field
    def fault(self) -> str | None:
        """A bug."""
        raise RuntimeError("the password is hunter2")

    @strawberry.field
    def refused(self) -> str | None:
        """An expected no in a query."""
        raise refuse(Code.NOT_FOUND, "There is no such thing.", "id")

    @strawberry.field
    def forbidden(self) -> str | None:
        """Not for you."""
        raise AccessDenied("Only for an ADMIN.")

    @strawberry.field
    def items(self, first: int | None = None, after: str | None = None) -> ItemConnection:
        """A page of things."""
        return ItemConnection(nodes=_items(first))

    @strawberry.field
    def item(self) -> Item:
        """One."""
        return _items(1)[0]

    @strawberry.field
    def count(self, ids: list[strawberry.ID]) -> int:
        """How many ids there are."""
        return len(ids)

    @strawberry.field
    def echo(self, value: JSON | None = None) -> JSON | None:
        """The same."""
        return value


@strawberry.type
class Mutation:
    """Writes."""

    @strawberry.mutation
    def note(self, text: str) -> int:
        """Write something down."""
        STAGE.notes.append(text)
        return len(STAGE.notes)

    @strawberry.mutation
    def import_course(self, input: JSON) -> int:
        """May be large."""
        STAGE.notes.append("imported")
        return len(str(input))


@strawberry.type
class Tick:
    """An event with a cursor."""

    seq: int
    text: str


@strawberry.type
class Subscription:
    """Streams."""

    @strawberry.subscription
    async def ticks(self, info: Info, to: int, after: int | None = None) -> AsyncIterator[Tick]:
        """Numbers up to `to`, and the end."""
        if info.context.last_event_id is not None:
            after = info.context.last_event_id
        STAGE.after.append(after)
        for seq in range((after or 0) + 1, to + 1):
            yield Tick(seq=seq, text=f"tick {seq}")

    @strawberry.subscription
    async def news(self, info: Info) -> AsyncIterator[str]:
        """What the test puts in; an exception is raised. Needs a viewer."""
        info.context.signed_in  # noqa: B018 - raises
        STAGE.streaming.set()
        try:
            while True:
                news = await STAGE.news.get()
                if isinstance(news, Exception):
                    raise news
                if news is None:
                    return
                yield f"{news} for {info.context.signed_in.name}"
        finally:
            STAGE.closed.set()

    @strawberry.subscription
    async def flood(self) -> AsyncIterator[str]:
        """More than anybody reads."""
        try:
            while True:
                yield "x" * 20_000
                await asyncio.sleep(0)
        finally:
            STAGE.closed.set()

    @strawberry.subscription
    async def nothing(self) -> AsyncIterator[str]:
        """Cannot start."""
        for reason in ["Sign in first."]:
            raise Unauthenticated(reason)
        yield ""


schema = strawberry.Schema(Query, Mutation, Subscription, config=StrawberryConfig())
