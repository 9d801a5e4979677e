"""What a small request costs: our view against Strawberry's stock one, in turn, in one process.

    python -m bench.view [rounds]

Both serve the same schema through Starlette; requests go straight into the application, so neither pays for a network.
Ours is measured twice: as it serves (an address's rate limit asked of Valkey on the way), and without any store.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
import strawberry
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope
from strawberry.asgi import GraphQL

from db.settings import DatabaseSettings, RedisSettings
from server.edge import Edge, EdgeSettings
from server.jwt import JwtSettings
from server.lifespan import Settings, opened
from server.limits import LimitSettings
from server.rates import Rates
from server.routes import application

PER_ROUND = 300


@strawberry.type
class Item:
    """One of a list."""

    id: strawberry.ID
    name: str
    count: int


@strawberry.type
class Query:
    """Something small and something less small."""

    @strawberry.field
    def hello(self) -> str:
        """A word."""
        return "world"

    @strawberry.field
    async def items(self) -> list[Item]:
        """Fifty of three fields."""
        return [Item(id=strawberry.ID(str(n)), name=f"item {n}", count=n) for n in range(50)]


SCHEMA = strawberry.Schema(Query)
QUERIES = {"{ hello }": b"world", "{ items { id name count } }": b"item 49"}


def scope_for(body: bytes, state: dict[str, Any]) -> Scope:
    """A POST as uvicorn hands it over."""
    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": dict(state),
    }


async def ask(app: ASGIApp, body: bytes, expected: bytes, state: dict[str, Any]) -> None:
    """One request; checks the answer."""
    sent: list[Message] = []
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if pending:
            return pending.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope_for(body, state), receive, send)
    if sent[0]["status"] != 200 or expected not in sent[1]["body"]:
        raise AssertionError(sent)


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    """Microseconds for each of a round's requests."""
    started = time.perf_counter()
    for _ in range(PER_ROUND):
        await work()
    return (time.perf_counter() - started) / PER_ROUND * 1e6


async def main(rounds: int) -> None:
    """Measure and tell."""
    settings = Settings(
        edge=EdgeSettings(log_requests=False),
        limits=LimitSettings(address_burst=10**9, address_requests_per_second=10**9),
        jwt=JwtSettings(),
        database=DatabaseSettings(),
        redis=RedisSettings(),
    )
    stock = Starlette(routes=[Route("/graphql", GraphQL(SCHEMA, graphql_ide=None))])
    ours = application(settings, SCHEMA)
    async with opened(settings, SCHEMA) as edge, opened(settings, SCHEMA) as bare:
        bare.rates = Rates(None, settings.limits)
        await measure(rounds, stock, ours, edge, bare)


async def measure(rounds: int, stock: ASGIApp, ours: ASGIApp, edge: Edge, bare: Edge) -> None:
    """Each in turn, round by round; the medians."""
    ways: dict[str, tuple[ASGIApp, dict[str, Any]]] = {
        "stock": (stock, {}),
        "ours": (ours, {"edge": edge}),
        "ours, no store": (ours, {"edge": bare}),
    }
    for query, expected in QUERIES.items():
        body = orjson.dumps({"query": query})
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (app, state) in ways.items():
                found[name].append(await timed(partial(ask, app, body, expected, state)))
        medians = {name: statistics.median(values) for name, values in found.items()}
        print(query)
        for name, microseconds in medians.items():
            print(f"  {name:15} {microseconds:8.0f} µs  {microseconds / medians['stock']:.2f} of stock")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
