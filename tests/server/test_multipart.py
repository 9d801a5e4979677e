"""Subscriptions as multipart bodies, as Apollo Client reads them."""

import pytest

from tests.server.support.serving import Running
from tests.server.support.stage import Stage
from tests.server.support.streams import streamed

APOLLO = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"
TICKS = "subscription($to: Int!) { ticks(to: $to) { text } }"


async def test_each_event_is_a_part_that_can_be_read_at_once(server: Running, stage: Stage, token: str) -> None:
    async with streamed(server, "subscription { news }", accept=APOLLO, token=token) as stream:
        assert stream.response.headers["content-type"] == 'multipart/mixed;boundary="graphql";subscriptionSpec="1.0"'
        stage.news.put_nowait("one")
        assert await stream.part() == {"payload": {"data": {"news": "one for Mia Member"}, "extensions": {"cost": 1}}}
        stage.news.put_nowait(None)
        assert await stream.part() == {"payload": None}
        assert await stream.rest() == b"--\r\n"


async def test_the_body_byte_for_byte(server: Running, stage: Stage) -> None:
    async with streamed(server, TICKS, accept=APOLLO, to=1) as stream:
        assert await stream.rest() == (
            b"\r\n--graphql\r\ncontent-type: application/json\r\n\r\n"
            b'{"payload":{"data":{"ticks":{"text":"tick 1"}},"extensions":{"cost":2}}}\r\n'
            b'--graphql\r\ncontent-type: application/json\r\n\r\n{"payload":null}\r\n--graphql--\r\n'
        )


@pytest.mark.parametrize(("query", "code"), [("subscription { nothing }", "UNAUTHENTICATED"), ("{", "BAD_USER_INPUT")])
async def test_errors_keep_their_codes(server: Running, query: str, code: str) -> None:
    async with streamed(server, query, accept=APOLLO) as stream:
        if query == "{":
            # Nobody can know that this was to be a stream.
            body = await stream.rest()
            assert b'"code":"BAD_USER_INPUT"' in body
        else:
            assert (await stream.part())["payload"]["errors"][0]["extensions"]["code"] == code
            assert await stream.part() == {"payload": None}


@pytest.mark.edge(limits={"heartbeat_seconds": 0.05})
async def test_a_quiet_stream_has_heartbeats(server: Running, stage: Stage, token: str) -> None:
    async with streamed(server, "subscription { news }", accept=APOLLO, token=token) as stream:
        await stream.until(b"--graphql")
        beats = [await stream.until(b"\r\n--graphql") for _ in range(3)]
    assert beats == [b"\r\ncontent-type: application/json\r\n\r\n{}"] * 3


async def test_a_shutdown_breaks_off_so_that_the_client_connects_again(
    server: Running, stage: Stage, token: str
) -> None:
    async with streamed(server, "subscription { news }", accept=APOLLO, token=token) as stream:
        await stage.streaming.wait()
        server.server.should_exit = True
        assert b"--graphql--" not in await stream.rest()
