"""graphql-transport-ws: the protocol, word for word, and how connections end."""

import asyncio
from typing import Any

import pytest
import websockets

from db.accounts.models import User
from db.accounts.rules import Role, Viewer
from db.session import Database
from resolvers.watching import FellBehind
from tests.server.support.facts import revoke_all, until
from tests.server.support.serving import Running, token_of
from tests.server.support.sockets import socket_to
from tests.server.support.stage import Stage
from tests.support.facts import PATIENCE_SECONDS
from tests.support.people import admin, person


async def test_a_subscription_yields_its_events_in_order_and_completes(server: Running, stage: Stage) -> None:
    async with socket_to(server) as socket:
        assert socket.connection.subprotocol == "graphql-transport-ws"
        await socket.init()
        await socket.subscribe("1", "subscription($to: Int!) { ticks(to: $to) { seq text } }", to=2)
        got = [await socket.receive() for _ in range(3)]
    assert got == [
        {
            "id": "1",
            "type": "next",
            "payload": {"data": {"ticks": {"seq": seq, "text": f"tick {seq}"}}, "extensions": {"cost": 3}},
        }
        for seq in (1, 2)
    ] + [{"id": "1", "type": "complete"}]


async def test_queries_and_mutations_run_over_a_socket_too(server: Running, stage: Stage, token: str) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("q", "{ me }")
        assert await socket.receive() == {
            "id": "q",
            "type": "next",
            "payload": {"data": {"me": "Mia Member"}, "extensions": {"cost": 1}},
        }
        assert await socket.receive() == {"id": "q", "type": "complete"}
        await socket.subscribe("m", 'mutation { note(text: "by socket") }')
        assert (await socket.receive())["payload"]["data"] == {"note": 1}
    assert stage.notes == ["by socket"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "BAD_USER_INPUT"),
        ("{ nope }", "BAD_USER_INPUT"),
        ("subscription { nothing }", "UNAUTHENTICATED"),
    ],
)
async def test_what_cannot_start_is_one_error_message(server: Running, query: str, code: str) -> None:
    async with socket_to(server) as socket:
        await socket.init()
        await socket.subscribe("1", query)
        message = await socket.receive()
        assert (message["type"], message["id"]) == ("error", "1")
        assert [error["extensions"]["code"] for error in message["payload"]] == [code]
        # The connection goes on, and the id is free again.
        await socket.subscribe("1", "{ hello }")
        assert (await socket.receive())["payload"]["data"] == {"hello": "Hello, world!"}


async def test_a_fault_in_a_stream_is_masked_and_ends_it(server: Running, stage: Stage, token: str) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        stage.news.put_nowait("one")
        assert (await socket.receive())["payload"]["data"] == {"news": "one for Mia Member"}
        stage.news.put_nowait(RuntimeError("hunter2"))
        message = await socket.receive()
    assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "INTERNAL")
    assert "hunter2" not in str(message)


async def test_pings_are_answered_with_what_they_carry(server: Running) -> None:
    async with socket_to(server) as socket:
        await socket.send("ping", payload={"at": 1})
        assert await socket.receive() == {"type": "pong", "payload": {"at": 1}}
        await socket.send("ping")
        assert await socket.receive() == {"type": "pong"}


async def test_complete_ends_a_stream_at_its_source(server: Running, stage: Stage, token: str) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        await stage.streaming.wait()
        await socket.send("complete", "1")
        await stage.closed.wait()
        # Completed by the client: nothing more is said of it.
        await socket.send("ping")
        assert await socket.receive() == {"type": "pong"}


async def test_a_client_that_leaves_ends_its_operations(server: Running, stage: Stage, token: str) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        await socket.subscribe("2", "{ gate }")
        await stage.streaming.wait()
        await stage.entered.wait()
    await stage.closed.wait()
    await stage.cancelled.wait()
    await until(lambda: server.edge.streams.per_address.taken == 0)
    assert server.edge.streams.per_viewer.taken == 0


async def test_an_operation_that_is_ended_while_it_begins_leaves_nothing_behind(server: Running, token: str) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        for _ in range(2):
            await socket.subscribe("1", "subscription { news }")
        assert (await socket.closed())[0] == 4409
    await until(lambda: server.edge.streams.per_address.taken == 0)
    assert server.edge.streams.per_viewer.taken == 0


BREACHES: list[tuple[list[Any], int, str]] = [
    ([b"binary"], 4400, "Messages must be text."),
    (["no json"], 4400, "A message must be JSON."),
    (['"x"'], 4400, "A message must be an object with a `type`."),
    (["[" * 100_000], 4400, "A message must be JSON."),
    (['{"type": "connection_init", "payload": 1}'], 4400, "A message's `payload` must be an object."),
    (['{"type": "start"}'], 4400, "There is no message of type 'start'."),
    (
        ['{"type": "subscribe", "id": "1", "payload": {"query": "{ hello }"}}'],
        4401,
        "Unauthorized: send connection_init first",
    ),
    (['{"type": "connection_init"}', '{"type": "connection_init"}'], 4429, "Too many initialisation requests"),
    (
        ['{"type": "connection_init"}', '{"type": "subscribe", "payload": {}}'],
        4400,
        "A `subscribe` message needs an `id` of 1 to 256 characters.",
    ),
    (
        ['{"type": "connection_init"}', '{"type": "subscribe", "id": "1"}'],
        4400,
        "A `subscribe` message needs a `payload`.",
    ),
    (
        ['{"type": "connection_init"}', *['{"type": "subscribe", "id": "1", "payload": {"query": "{ gate }"}}'] * 2],
        4409,
        "Subscriber for 1 already exists",
    ),
]


@pytest.mark.parametrize(("messages", "code", "reason"), BREACHES)
async def test_a_breach_of_the_protocol_closes_the_socket(
    server: Running, stage: Stage, messages: list[Any], code: int, reason: str
) -> None:
    async with socket_to(server) as socket:
        for message in messages:
            await socket.connection.send(message)
        assert await socket.closed() == (code, reason)


@pytest.mark.parametrize("protocol", [None, "graphql-ws", "soap"])
async def test_other_subprotocols_are_refused(server: Running, protocol: str | None) -> None:
    async with socket_to(server, protocol=protocol) as socket:
        assert await socket.closed() == (4406, "Speak graphql-transport-ws.")


async def test_a_wrong_token_is_refused_for_good(server: Running) -> None:
    async with socket_to(server) as socket:
        await socket.send("connection_init", payload={"Authorization": "Bearer wrong"})
        code, reason = await socket.closed()
    assert code == 4401
    assert reason.startswith("UNAUTHENTICATED: The token is wrong")


@pytest.mark.parametrize("name", ["token", "Authorization", "authorization"])
async def test_the_token_may_come_as_token_or_as_an_authorization_header_would(
    server: Running, token: str, name: str
) -> None:
    async with socket_to(server) as socket:
        value = token if name == "token" else f"Bearer {token}"
        await socket.send("connection_init", payload={name: value})
        assert await socket.receive() == {"type": "connection_ack"}


async def test_a_program_may_send_the_token_with_the_handshake(server: Running, token: str) -> None:
    async with socket_to(server, additional_headers={"authorization": f"Bearer {token}"}) as socket:
        await socket.init()
        await socket.subscribe("1", "{ me }")
        assert (await socket.receive())["payload"]["data"] == {"me": "Mia Member"}


async def test_a_revoked_token_ends_its_streams_and_then_the_socket(
    server: Running, stage: Stage, database: Database
) -> None:
    boss = await admin(database)
    token = await token_of(database, boss, roles=(Role.ADMIN,))
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        await stage.streaming.wait()
        await revoke_all(database, boss)
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await socket.receive()
            assert (message["type"], message["id"]) == ("error", "1")
            assert message["payload"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
            assert (await socket.closed())[0] == 4401
        await stage.closed.wait()


@pytest.mark.edge(limits={"identity_check_seconds": 0.05})
async def test_an_event_is_made_with_the_viewer_of_now(server: Running, database: Database, stage: Stage) -> None:
    viewer = await person(database, "Old Name")
    token = await token_of(database, viewer)
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        stage.news.put_nowait("first")
        assert (await socket.receive())["payload"]["data"] == {"news": "first for Old Name"}
        await _rename(database, viewer, "New Name")
        await until(lambda: [s.viewer.name for s in server.edge.sessions.open] == ["New Name"])
        stage.news.put_nowait("second")
        assert (await socket.receive())["payload"]["data"] == {"news": "second for New Name"}


@pytest.mark.edge(limits={"init_seconds": 0.05})
async def test_who_does_not_introduce_themselves_is_let_go(server: Running, stage: Stage) -> None:
    async with socket_to(server) as socket:
        assert await socket.closed() == (4408, "Connection initialisation timeout")


@pytest.mark.edge(limits={"ping_seconds": 0.1})
async def test_the_server_pings_and_lets_go_of_who_does_not_answer(server: Running, stage: Stage) -> None:
    async with socket_to(server) as socket:
        await socket.init()
        assert await socket.receive() == {"type": "ping"}
        await socket.send("pong")
        assert await socket.receive() == {"type": "ping"}
        assert await socket.closed() == (4499, "No answer to ping")


@pytest.mark.edge(limits={"ping_seconds": 0.1, "idle_seconds": 0.2})
async def test_a_socket_without_work_is_closed_in_the_end(server: Running, stage: Stage) -> None:
    async with socket_to(server) as socket:
        await socket.init()
        assert await socket.receive() == {"type": "ping"}
        await socket.send("pong")
        assert await socket.closed() == (1000, "Idle")


@pytest.mark.edge(limits={"waiting_events": 8, "slow_reader_seconds": 0.2})
async def test_a_reader_too_slow_for_its_buffer_is_told_to_connect_again(server: Running, stage: Stage) -> None:
    async with socket_to(server, max_queue=1, max_size=None) as socket:
        await socket.init()
        await socket.subscribe("1", "subscription { flood }")
        # Nothing is read until the source has been closed, because too much was waiting.
        await stage.closed.wait()
        assert await socket.closed() == (1013, "Too much waits for you: connect again")


async def test_a_source_that_its_reader_falls_behind_has_the_socket_closed_for_another_try(
    server: Running, stage: Stage, token: str
) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        stage.news.put_nowait(FellBehind())
        assert await socket.closed() == (1013, "Too much waits for you: connect again")


@pytest.mark.edge(limits={"waiting_events": 8})
async def test_a_burst_waits_for_room_and_reaches_a_client_that_reads(server: Running, stage: Stage) -> None:
    async with socket_to(server) as socket:
        await socket.init()
        await socket.subscribe("1", "subscription { ticks(to: 1000) { seq } }")
        got = [await socket.receive() for _ in range(1_001)]
    assert [message["payload"]["data"]["ticks"]["seq"] for message in got[:-1]] == list(range(1, 1_001))
    assert got[-1]["type"] == "complete"


async def test_a_shutdown_closes_sockets_with_a_code_that_clients_retry(
    server: Running, stage: Stage, token: str
) -> None:
    async with socket_to(server) as socket:
        await socket.init(token)
        await socket.subscribe("1", "subscription { news }")
        await stage.streaming.wait()
        server.server.should_exit = True
        assert (await socket.closed())[0] == 1012
    await stage.closed.wait()


@pytest.mark.edge(limits={"subscriptions_per_viewer": 2, "subscriptions_per_connection": 3, "sockets_per_address": 2})
async def test_limits_of_connection_viewer_and_address(server: Running, stage: Stage, token: str) -> None:
    news = "subscription { news }"
    async with socket_to(server) as first, socket_to(server) as second:
        await first.init(token)
        await second.init(token)
        for id_ in ("1", "2"):
            await first.subscribe(id_, news)
        await until(lambda: server.edge.streams.per_viewer.taken == 2)
        await second.subscribe("3", news)
        assert (await second.receive())["payload"][0]["extensions"] == {
            "code": "LIMIT_EXCEEDED",
            "limit": "subscriptionsPerViewer",
            "allowed": 2,
            "asked": 3,
        }
        await first.subscribe("g", "{ gate }")
        await first.subscribe("h", "{ hello }")
        refused = await first.receive()
        assert refused["payload"][0]["extensions"]["limit"] == "subscriptionsPerConnection"
        with pytest.raises(websockets.InvalidStatus) as third:
            async with socket_to(server):
                pass
        assert third.value.response.status_code == 429
        assert b'"limit":"socketsPerAddress"' in (third.value.response.body or b"").replace(b" ", b"")


async def _rename(database: Database, viewer: Viewer, name: str) -> None:
    async with database.transaction() as tx:
        user = await tx.get(User, viewer.user_id)
        assert user is not None
        user.name = name
