"""What every request gets: its line in the log, without secrets, and headers."""

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.server.support.facts import until
from tests.server.support.serving import Running
from tests.server.support.sockets import socket_to
from tests.server.support.stage import Stage

LOGGED = {"log_requests": True}


def of_requests(lines: list[Any]) -> list[Any]:
    """The lines about requests and sockets."""
    return [line for line in lines if line["event"] in {"request", "socket"}]


@pytest.mark.edge(edge=LOGGED)
async def test_a_request_leaves_one_line_with_its_id_and_no_secret(server: Running, token: str) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await server.post("query Secret { hello }", token=token, headers={"x-request-id": "abc"})
    [line] = of_requests(lines)
    milliseconds, viewer_id = line.pop("milliseconds"), line.pop("viewer_id")
    assert milliseconds > 0
    assert len(viewer_id) == 36
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "abc",
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "operation": "hello",
        "outcome": "ok",
    }
    assert token not in str(lines)


@pytest.mark.edge(edge=LOGGED)
async def test_refusals_are_logged_with_their_code_and_probes_are_not(server: Running) -> None:
    with capture_logs() as lines:
        await server.post("{ nope }")
        await server.post("{ hello }", token="hf_wrong")
        await server.client.get("/livez")
        await server.client.get("/readyz")
        await server.client.get("/metrics")
    assert [(line["outcome"], line["status"]) for line in of_requests(lines)] == [
        ("BAD_USER_INPUT", 400),
        ("UNAUTHENTICATED", 401),
    ]


@pytest.mark.edge(edge=LOGGED)
async def test_a_socket_leaves_a_line_when_it_ends(server: Running, stage: Stage, token: str) -> None:
    with capture_logs() as lines:
        async with socket_to(server) as socket:
            await socket.init(token)
        await until(lambda: of_requests(lines))
    [line] = of_requests(lines)
    assert (line["event"], line["method"], line["path"]) == ("socket", "WEBSOCKET", "/graphql")
    assert token not in str(lines)


async def test_a_fault_is_logged_with_the_id_that_the_client_is_told(server: Running) -> None:
    with capture_logs() as lines:
        answer = await server.post("{ fault }")
    [line] = [line for line in lines if line["event"] == "request.fault"]
    assert line["request_id"] == answer.json()["errors"][0]["extensions"]["requestId"]
    assert (line["path"], line["error"]) == ("fault", "RuntimeError")
    assert "hunter2" in line["trace"]


@pytest.mark.parametrize("path", ["/graphql", "/livez", "/nowhere"])
async def test_headers_hold_a_browser_to_what_we_mean(server: Running, path: str) -> None:
    answer = await server.client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert len(answer.headers["x-request-id"]) == 32
