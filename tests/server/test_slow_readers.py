"""A client that asks and does not read: what waits for it is bounded, and it is let go. Whoever reads is not harmed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.frames import Frame, Opcode

from server.transports import websocket
from server.transports.frames import BoundedSocket
from server.transports.mailbox import Mailbox
from server.transports.outbox import Outbox
from tests.server.support.facts import until
from tests.server.support.serving import Running
from tests.server.support.sockets import Socket, socket_to
from tests.server.support.stage import Stage
from tests.support.facts import PATIENCE_SECONDS

BOUND = 64 * 1024
TOO_SLOW = (1013, "Too much waits for you: connect again")
SMALL = pytest.mark.edge(limits={"waiting_bytes": BOUND, "slow_reader_seconds": 0.5, "subscriptions_per_connection": 1})
# What the kernel keeps at either end is not ours: little, so that it is soon full.
KERNEL_BYTES = 16 * 1024


class Weighed(Outbox):
    """Remembers how much has waited at most, of all outboxes."""

    most = 0
    messages = 0

    def _add(self, id_: str, text: str) -> None:
        super()._add(id_, text)
        Weighed.most = max(Weighed.most, self.bytes_waiting)
        Weighed.messages = max(Weighed.messages, len(self._messages))


@pytest.fixture(autouse=True)
def weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    Weighed.most = Weighed.messages = 0
    monkeypatch.setattr(websocket, "Outbox", Weighed)
    # Until the test has seen what it waits for, and reads.
    monkeypatch.setattr(websocket, "LAST_WORD_SECONDS", PATIENCE_SECONDS)


@asynccontextmanager
async def unread(server: Running) -> AsyncIterator[Socket]:
    """A client that reads no further than a message before it is asked for the next one."""
    for each in server.server.servers:
        for listener in each.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
    own.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
    async with socket_to(server, sock=own, max_queue=1, max_size=None, compression=None, close_timeout=0.1) as client:
        yield client


async def ping(client: Socket) -> None:
    await client.send("ping", payload={"much": "x" * 15_000})


async def ask_too_much(client: Socket) -> None:
    await client.subscribe("i" * 256, "{ hello }")


def for_ever(act: Callable[[Socket], Awaitable[None]], client: Socket) -> "asyncio.Task[None]":
    async def run() -> None:
        while True:
            await act(client)
            await asyncio.sleep(0)

    return asyncio.create_task(run())


def bounded_socket(server: Running) -> BoundedSocket:
    """The server's end of the one connection."""
    (connection,) = server.server.server_state.connections
    assert isinstance(connection, BoundedSocket)
    return connection


@SMALL
@pytest.mark.parametrize("act", [ping, ask_too_much])
async def test_who_asks_on_and_reads_nothing_fills_a_bounded_outbox_and_is_let_go(
    server: Running, stage: Stage, act: Callable[[Socket], Awaitable[None]]
) -> None:
    async with unread(server) as client:
        await client.init()
        await client.subscribe("1", "{ gate }")
        await stage.entered.wait()
        asking = for_ever(act, client)
        await asyncio.wait_for(stage.cancelled.wait(), PATIENCE_SECONDS)
        asking.cancel()
        assert await client.closed() == TOO_SLOW
    # It has been full; and the message after which nothing more was taken is all that is above.
    assert Weighed.most >= BOUND or Weighed.messages >= 256
    assert Weighed.most < BOUND + 20_000
    assert Weighed.messages <= 256


@SMALL
async def test_who_reads_nothing_keeps_no_connection(
    server: Running, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "LAST_WORD_SECONDS", 0.1)
    async with unread(server) as client:
        await client.init()
        bounded_socket(server).close_timeout = 0.1
        asking = for_ever(ping, client)
        await until(lambda: not server.server.server_state.connections)
        asking.cancel()
        await asyncio.wait([asking])


@pytest.mark.edge(limits={"waiting_bytes": BOUND, "waiting_events": 256, "slow_reader_seconds": 0.5})
async def test_all_events_of_a_socket_together_are_bounded(server: Running, stage: Stage) -> None:
    async with unread(server) as client:
        await client.init()
        for id_ in "abc":
            await client.subscribe(id_, "subscription { flood }")
        await asyncio.wait_for(stage.closed.wait(), PATIENCE_SECONDS)
        assert await client.closed() == TOO_SLOW
    assert BOUND <= Weighed.most < BOUND + 25_000


@pytest.mark.edge(limits={"waiting_events": 8, "slow_reader_seconds": 600})
async def test_who_does_not_read_events_is_heard_all_the_same(server: Running, stage: Stage) -> None:
    async with unread(server) as client:
        await client.init()
        await client.subscribe("1", "subscription { flood }")
        await until(lambda: Weighed.messages >= 8)
        await ping(client)
        await client.send("complete", "1")
        await asyncio.wait_for(stage.closed.wait(), PATIENCE_SECONDS)


async def test_a_streamed_answer_is_bounded_in_events_and_in_bytes() -> None:
    mailbox = Mailbox(3, 1_000, patience_seconds=0.01)
    for frames, last in (((b"x" * 999, b"y"), b""), ((b"1", b"2", b"3"), b"end")):
        assert [await mailbox.put(frame) for frame in (*frames, b"more")] == [True] * len(frames) + [False]
        if last:
            mailbox.close(last)
        assert await mailbox.take() == (b"".join(frames) + last, len(frames))
    assert await mailbox.take() is None


@pytest.mark.edge(limits={"waiting_events": 2, "waiting_bytes": 1024})
async def test_who_pings_often_and_reads_gets_every_answer_in_order(server: Running) -> None:
    async with socket_to(server) as client:
        await client.init()

        async def ask() -> None:
            for number in range(2_000):
                await client.send("ping", payload={"number": number, "much": "x" * 1_000})

        asking = asyncio.create_task(ask())
        got = [(await client.receive())["payload"]["number"] for _ in range(2_000)]
        await asking
    assert got == list(range(2_000))
    assert Weighed.messages <= 2


async def test_pings_beneath_the_messages_fill_nothing_and_the_last_of_them_is_answered(
    server: Running, stage: Stage
) -> None:
    async with unread(server) as client:
        await client.init()
        await client.subscribe("1", "subscription { flood }")
        connection = bounded_socket(server)
        # Nothing more goes out to a client that has stopped reading.
        await until(lambda: not connection.writable.is_set())
        frames = Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 10_000
        for _ in range(10):
            client.connection.transport.write(frames)
            await client.connection.ping()
        last = asyncio.ensure_future(await client.connection.ping(b"last"))
        # The server takes one thing after the other: what comes after them has been taken, so they have.
        await client.subscribe("2", "{ gate }")
        await asyncio.wait_for(stage.entered.wait(), PATIENCE_SECONDS)
        assert connection.transport.get_write_buffer_size() < 256 * 1024
        assert not last.done()
        reading = asyncio.create_task(client.closed())
        await asyncio.wait_for(last, PATIENCE_SECONDS)
        reading.cancel()
        await asyncio.wait([reading])
