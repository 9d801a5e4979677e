"""graphql-sse in distinct mode: events, cursors, heartbeats and ends."""

import asyncio
import json

import httpx
import pytest

from db.accounts.rules import Role
from db.session import Database
from resolvers.watching import FellBehind
from tests.server.support.facts import revoke_all, until
from tests.server.support.serving import Running, token_of
from tests.server.support.stage import Stage
from tests.server.support.streams import streamed
from tests.support.facts import PATIENCE_SECONDS
from tests.support.people import admin

EVENTS = "text/event-stream"
TICKS = "subscription($to: Int!, $after: Int) { ticks(to: $to, after: $after) { text } }"
NEWS = "subscription { news }"


async def test_events_carry_their_cursor_whatever_is_selected_and_the_stream_says_complete(
    server: Running, stage: Stage
) -> None:
    async with streamed(server, TICKS, accept=EVENTS, to=2) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.response.headers["x-accel-buffering"] == "no"
        assert "no-transform" in stream.response.headers["cache-control"]
        body = await stream.rest()
    assert body == (
        b":\n\n"
        b'id: 1\nevent: next\ndata: {"data":{"ticks":{"text":"tick 1"}},"extensions":{"cost":2}}\n\n'
        b'id: 2\nevent: next\ndata: {"data":{"ticks":{"text":"tick 2"}},"extensions":{"cost":2}}\n\n'
        b"event: complete\ndata:\n\n"
    )


@pytest.mark.parametrize(("header", "seen"), [("7", 7), ("x", 2), ("", 2), ("-1", 2)])
async def test_last_event_id_counts_as_after(server: Running, stage: Stage, header: str, seen: int) -> None:
    headers = {"last-event-id": header}
    async with streamed(server, TICKS, accept=EVENTS, to=9, after=2, headers=headers) as stream:
        assert (await stream.event())["id"] == str(seen + 1)
    assert stage.after == [seen]


async def test_an_event_source_may_ask_by_get(server: Running, stage: Stage) -> None:
    params = {"query": TICKS, "variables": json.dumps({"to": 1})}
    answer = await server.client.get("/graphql", params=params, headers={"accept": EVENTS})
    assert answer.text.endswith("event: complete\ndata:\n\n")


async def test_the_first_streaming_type_in_accept_decides(server: Running, stage: Stage) -> None:
    urql = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"
    async with streamed(server, TICKS, accept=urql, to=1) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    both = "multipart/mixed;subscriptionSpec=1.0, text/event-stream"
    async with streamed(server, TICKS, accept=both, to=1) as stream:
        assert stream.response.headers["content-type"].startswith("multipart/mixed")


async def test_a_query_asked_for_as_events_is_one_event(server: Running) -> None:
    async with streamed(server, "{ hello }", accept=EVENTS) as stream:
        assert (await stream.event())["data"]["data"] == {"hello": "Hello, world!"}
        assert (await stream.event())["event"] == "complete"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "BAD_USER_INPUT"),
        ("subscription { nope }", "BAD_USER_INPUT"),
        ("subscription { nothing }", "UNAUTHENTICATED"),
        ("subscription($n: Int!) { ticks(to: $n) { seq } }", "BAD_USER_INPUT"),
    ],
)
async def test_what_cannot_start_is_one_event_with_its_errors_and_the_end(
    server: Running, query: str, code: str
) -> None:
    async with streamed(server, query, accept=EVENTS) as stream:
        assert stream.response.status_code == 200
        event = await stream.event()
        assert event["event"] == "next"
        assert [error["extensions"]["code"] for error in event["data"]["errors"]] == [code]
        assert (await stream.event())["event"] == "complete"


async def test_a_wrong_token_is_told_as_an_event_so_that_nobody_retries(server: Running) -> None:
    async with streamed(server, NEWS, accept=EVENTS, token="wrong") as stream:
        assert stream.response.status_code == 200
        assert (await stream.event())["data"]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert (await stream.event())["event"] == "complete"


@pytest.mark.edge(limits={"heartbeat_seconds": 0.05})
async def test_a_quiet_stream_has_heartbeats(server: Running, stage: Stage, token: str) -> None:
    async with streamed(server, NEWS, accept=EVENTS, token=token) as stream:
        assert [await stream.until(b"\n\n") for _ in range(4)] == [b":"] * 4


async def test_a_client_that_leaves_ends_the_stream_at_its_source(server: Running, stage: Stage, token: str) -> None:
    async with streamed(server, NEWS, accept=EVENTS, token=token):
        await stage.streaming.wait()
        assert server.edge.streams.per_viewer.taken == 1
    await stage.closed.wait()
    await until(lambda: server.edge.streams.per_viewer.taken == 0)


async def test_a_revoked_token_ends_the_stream(server: Running, stage: Stage, database: Database) -> None:
    boss = await admin(database)
    token = await token_of(database, boss, roles=(Role.ADMIN,))
    async with streamed(server, NEWS, accept=EVENTS, token=token) as stream:
        await stage.streaming.wait()
        await revoke_all(database, boss)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await stream.event())["data"]["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
            assert (await stream.event())["event"] == "complete"
    await stage.closed.wait()


@pytest.mark.edge(limits={"waiting_events": 8, "slow_reader_seconds": 0.2})
async def test_a_reader_too_slow_gets_no_complete_and_connects_again(server: Running, stage: Stage) -> None:
    async with streamed(server, "subscription { flood }", accept=EVENTS) as stream:
        # Nothing is read until the source has been closed, because too much was waiting.
        await stage.closed.wait()
        try:
            body = await stream.rest()
        except httpx.RemoteProtocolError:
            body = b""
    assert b"event: complete" not in body
    assert server.edge.streams.per_viewer.taken == 0


async def test_a_source_that_its_reader_falls_behind_says_no_complete(
    server: Running, stage: Stage, token: str
) -> None:
    async with streamed(server, NEWS, accept=EVENTS, token=token) as stream:
        stage.news.put_nowait(FellBehind())
        assert await stream.rest() == b":\n\n"


@pytest.mark.edge(limits={"waiting_events": 8})
async def test_a_burst_waits_for_room_and_reaches_a_client_that_reads(server: Running, stage: Stage) -> None:
    async with streamed(server, TICKS, accept=EVENTS, to=1_000) as stream:
        seen = [(await stream.event()).get("id") for _ in range(1_001)]
    assert seen == [*(str(number) for number in range(1, 1_001)), None]


async def test_a_shutdown_ends_streams_without_complete(server: Running, stage: Stage, token: str) -> None:
    async with streamed(server, NEWS, accept=EVENTS, token=token) as stream:
        await stage.streaming.wait()
        server.server.should_exit = True
        assert await stream.rest() == b":\n\n"
    await stage.closed.wait()


@pytest.mark.edge(limits={"subscriptions_per_viewer": 1})
async def test_limits_are_told_as_an_event(server: Running, stage: Stage, token: str) -> None:
    async with streamed(server, NEWS, accept=EVENTS, token=token):
        await stage.streaming.wait()
        async with streamed(server, NEWS, accept=EVENTS, token=token) as second:
            assert (await second.event())["data"]["errors"][0]["extensions"] == {
                "code": "LIMIT_EXCEEDED",
                "limit": "subscriptionsPerViewer",
                "allowed": 1,
                "asked": 2,
            }
            assert (await second.event())["event"] == "complete"
