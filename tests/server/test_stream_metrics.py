"""What is counted of streams: how many are open, what they are sent, and why they end, over every transport."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from db.accounts.rules import Role
from db.session import Database
from resolvers.watching import FellBehind
from server import metrics
from tests.server.support.facts import revoke_all, until
from tests.server.support.serving import Running, token_of
from tests.server.support.sockets import socket_to
from tests.server.support.stage import Stage
from tests.server.support.streams import streamed
from tests.support.people import admin

ACCEPT = {"sse": "text/event-stream", "multipart": "multipart/mixed;subscriptionSpec=1.0"}
TRANSPORTS = ["sse", "multipart", "websocket"]
REASONS = ["ok", "error", "gone", "slow", "signed out", "draining"]
NEWS = "subscription { news }"


def counted(transport: str) -> dict[str, float]:
    """What is counted of a transport's streams."""
    found = {"open": REGISTRY.get_sample_value("holdfast_streams", {"transport": transport})}
    for reason in REASONS:
        labels = {"transport": transport, "reason": reason}
        found[reason] = REGISTRY.get_sample_value("holdfast_streams_ended_total", labels)
    return {name: value for name, value in found.items() if value}


def events() -> float:
    return REGISTRY.get_sample_value("holdfast_stream_events_total") or 0


@pytest.fixture(autouse=True)
def from_nothing() -> None:
    metrics.STREAMS.clear()
    metrics.ENDED.clear()


@asynccontextmanager
async def following(server: Running, transport: str, query: str, token: str | None = None) -> AsyncIterator[None]:
    """A client that subscribes and reads nothing but what its library reads."""
    if transport == "websocket":
        async with socket_to(server) as socket:
            await socket.init(token)
            await socket.subscribe("1", query)
            yield
    else:
        async with streamed(server, query, accept=ACCEPT[transport], token=token):
            yield


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_events_that_are_sent_and_nothing_else_are_counted_and_so_is_the_end(
    server: Running, stage: Stage, transport: str
) -> None:
    before = events()
    async with following(server, transport, "subscription { ticks(to: 3) { seq } }"):
        await until(lambda: counted(transport) == {"ok": 1})
        await until(lambda: events() == before + 3)
    async with following(server, transport, "subscription { nothing }"):
        await until(lambda: counted(transport) == {"ok": 1, "error": 1})
    assert events() == before + 3


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("reason", REASONS)
async def test_a_stream_ends_for_one_reason(
    server: Running, stage: Stage, database: Database, transport: str, reason: str
) -> None:
    boss = await admin(database)
    token = await token_of(database, boss, roles=(Role.ADMIN,))
    async with following(server, transport, NEWS, token):
        await stage.streaming.wait()
        assert counted(transport) == {"open": 1}
        match reason:
            case "ok":
                stage.news.put_nowait(None)
            case "error":
                stage.news.put_nowait(RuntimeError("a bug"))
            case "slow":
                stage.news.put_nowait(FellBehind())
            case "signed out":
                await revoke_all(database, boss)
            case "draining":
                server.edge.drain()
        if reason != "gone":
            await until(lambda: counted(transport) == {reason: 1})
    await until(lambda: counted(transport) == {reason: 1})


async def test_an_operation_that_its_client_completes_has_gone(server: Running, stage: Stage, token: str) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", NEWS)
        await stage.streaming.wait()
        await socket.send("complete", "1")
        await until(lambda: counted("websocket") == {"gone": 1})
