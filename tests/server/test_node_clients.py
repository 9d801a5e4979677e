"""The npm clients that front ends use, against a real server: audits, sockets, event streams, multipart."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from typing import Any

import pytest

from resolvers.schema import schema as holdfast
from tests.server.support.facts import until
from tests.server.support.serving import Running, serving
from tests.server.support.stage import Stage
from tests.support.facts import ROOT

NODE = ROOT / "web" / "node"
SCRIPTS = ROOT / "tests" / "server" / "node"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not (ROOT / "web/node_modules/graphql-http").is_dir(), reason="the npm packages are missing: make web"
    ),
]

TICKS = [{"data": {"ticks": {"seq": n, "text": f"tick {n}"}}, "extensions": {"cost": 3}} for n in (1, 2, 3)]


async def start(script: str, *arguments: str) -> Process:
    """Start a script."""
    return await asyncio.create_subprocess_exec(NODE, SCRIPTS / script, *arguments, stdout=PIPE, stderr=PIPE)


async def line_of(process: Process) -> Any:
    """What a script says next."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = await process.stdout.readline()
    assert line, (await process.stderr.read()).decode()
    return json.loads(line)


async def run(script: str, *arguments: str) -> Any:
    """What a script finds."""
    process = await start(script, *arguments)
    found = await line_of(process)
    assert await process.wait() == 0
    return found


async def test_all_audits_of_graphql_http_pass(database_url: str, redis_url: str) -> None:
    async with serving(database_url, redis_url, schema=holdfast) as server:
        found = await run("audits.mjs", f"{server.url}/graphql")
    assert [audit for audit in found if audit["status"] != "ok"] == []
    assert len(found) == 61


SOCKET = "sockets.mjs"


async def test_graphql_ws_streams_queries_and_mutations(server: Running, stage: Stage, token: str) -> None:
    stream = await run(SOCKET, server.ws_url, token, "stream")
    assert (stream["result"], stream["connects"]) == ({"got": TICKS}, 1)
    query = await run(SOCKET, server.ws_url, token, "query")
    assert query["result"]["got"][0]["data"] == {"me": "Mia Member", "hello": "Hello, world!"}
    await run(SOCKET, server.ws_url, token, "mutation")
    assert stage.notes == ["from node"]
    many = await run(SOCKET, server.ws_url, token, "many")
    assert [[each["data"]["ticks"]["seq"] for each in one["got"]] for one in many["result"]] == [[1], [1, 2], [1, 2, 3]]
    assert many["connects"] == 1


async def test_graphql_ws_stops_a_stream_and_is_told_of_errors(server: Running, stage: Stage, token: str) -> None:
    early = await run(SOCKET, server.ws_url, token, "early")
    assert [event["data"]["ticks"]["seq"] for event in early["result"]["got"]] == [1, 2]
    invalid = await run(SOCKET, server.ws_url, token, "invalid")
    assert invalid["result"]["error"][0]["extensions"] == {"code": "BAD_USER_INPUT"}
    assert invalid["closes"] == []


async def test_graphql_ws_gives_up_at_once_on_a_wrong_token(server: Running, token: str) -> None:
    found = await run(SOCKET, server.ws_url, token, "wrong token")
    assert found["result"]["error"]["code"] == 4401
    assert (found["closes"], found["connects"]) == ([4401], 0)


@pytest.mark.parametrize("script", [SOCKET, "events.mjs"])
async def test_clients_connect_again_when_the_server_restarts_their_streams(
    server: Running, stage: Stage, token: str, script: str
) -> None:
    url = server.ws_url if script == SOCKET else f"{server.url}/graphql"
    process = await start(script, url, token, "restart")
    await stage.streaming.wait()
    stage.news.put_nowait("before")
    assert await line_of(process) == {"waiting": True}
    # As a shutdown does it, only that this server goes on.
    server.edge.drain()
    await stage.closed.wait()
    server.edge.streams.draining.clear()
    stage.news.put_nowait("after")
    found = await line_of(process)
    assert await process.wait() == 0
    assert [event["data"]["news"] for event in found["result"]["got"]] == [
        "before for Mia Member",
        "after for Mia Member",
    ]
    if script == SOCKET:
        assert found["closes"][0] == 1012
    await until(lambda: server.edge.streams.per_viewer.taken == 0)


async def test_graphql_sse_streams_queries_and_errors(server: Running, stage: Stage, token: str) -> None:
    url = f"{server.url}/graphql"
    stream = await run("events.mjs", url, token, "stream")
    assert (stream["result"], stream["connects"]) == ({"got": TICKS}, 1)
    query = await run("events.mjs", url, token, "query")
    assert query["result"]["got"][0]["data"] == {"me": "Mia Member", "hello": "Hello, world!"}
    cases = {"invalid": "BAD_USER_INPUT", "wrong token": "UNAUTHENTICATED", "nothing": "UNAUTHENTICATED"}
    for scenario, code in cases.items():
        found = await run("events.mjs", url, token, scenario)
        assert [event["errors"][0]["extensions"]["code"] for event in found["result"]["got"]] == [code]
        assert (found["result"].get("error"), found["connects"]) == (None, 1)
    early = await run("events.mjs", url, token, "early")
    assert len(early["result"]["got"]) == 2


async def test_apollo_client_queries_and_subscribes(server: Running, stage: Stage, token: str) -> None:
    url = f"{server.url}/graphql"
    assert (await run("apollo.mjs", url, token, "query"))["result"] == {"me": "Mia Member", "hello": "Hello, world!"}
    stream = (await run("apollo.mjs", url, token, "stream"))["result"]
    assert [event["data"]["ticks"]["text"] for event in stream["got"]] == ["tick 1", "tick 2", "tick 3"]
    assert "error" not in stream
    nothing = (await run("apollo.mjs", url, token, "nothing"))["result"]
    assert nothing["got"][0]["error"] == {"code": "UNAUTHENTICATED"}
