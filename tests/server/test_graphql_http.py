"""GraphQL over HTTP: methods, media types, statuses, and what is refused before anything runs."""

import asyncio

import httpx
import pytest

from server.transports.interrupt import WATCH_AFTER_SECONDS
from tests.server.support.serving import Running
from tests.server.support.stage import Stage
from tests.support.facts import PATIENCE_SECONDS

RESPONSE = "application/graphql-response+json"


async def test_a_query_is_answered_with_its_data_and_its_cost(server: Running) -> None:
    answer = await server.post("{ hello items(first: 2) { nodes { id } } }")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/graphql-response+json; charset=utf-8"
    assert answer.json() == {
        "data": {"hello": "Hello, world!", "items": {"nodes": [{"id": "0"}, {"id": "1"}]}},
        "extensions": {"cost": 6},
    }


async def test_variables_and_operation_names_choose_what_runs(server: Running) -> None:
    text = "query A($n: String!) { hello(name: $n) } query B { other: hello }"
    a = await server.post(text, operationName="A", variables={"n": "Ada"})
    assert a.json()["data"] == {"hello": "Hello, Ada!"}
    unclear = await server.post(text)
    assert unclear.status_code == 400
    assert unclear.json()["errors"][0]["message"] == (
        "Must provide operation name if query contains multiple operations."
    )
    unknown = await server.post(text, operationName="C")
    assert unknown.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        (RESPONSE, RESPONSE),
        (f"application/json, {RESPONSE}", "application/json"),
        (f"application/json;q=0.5, {RESPONSE}", RESPONSE),
        (f"{RESPONSE}, application/graphql+json, application/json, text/event-stream, multipart/mixed", RESPONSE),
        ("multipart/mixed;deferSpec=20220824,application/json", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, application/json", "text/event-stream"),
        (f"text/event-stream;q=0, {RESPONSE}", RESPONSE),
    ],
)
async def test_the_first_type_in_accept_decides(server: Running, accept: str | None, expected: str) -> None:
    request = server.client.build_request("POST", "/graphql", json={"query": "{ hello }"})
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = await server.client.send(request)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{expected}; charset=utf-8"


async def test_a_client_that_takes_nothing_of_ours_is_told_what_there_is(server: Running) -> None:
    answer = await server.client.post("/graphql", json={"query": "{ hello }"}, headers={"accept": "image/png"})
    assert answer.status_code == 406
    assert "application/graphql-response+json" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{", "Syntax Error: Expected Name, found <EOF>."),
        ("{ nope }", "Cannot query field 'nope' on type 'Query'."),
        ("query($n: String!) { hello(name: $n) }", "Variable '$n' has invalid value"),
    ],
)
async def test_what_cannot_run_is_400_without_data_and_200_for_plain_json(
    server: Running, query: str, message: str
) -> None:
    modern = await server.post(query)
    assert modern.status_code == 400
    assert "data" not in modern.json()
    assert modern.json()["errors"][0]["message"].startswith(message)
    assert modern.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    plain = await server.post(query, headers={"accept": "application/json"})
    assert plain.status_code == 200
    assert plain.json()["errors"] == modern.json()["errors"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"query": ',
        b'"x"',
        b"null",
        b"17",
        b"[]",
        b'[{"query": "{ hello }"}]',
        b"{}",
        b'{"query": null}',
        b'{"query": 1}',
        b'{"query": "{ hello }", "variables": []}',
        b'{"query": "{ hello }", "operationName": 1}',
        b'{"query": "{ hello }", "extensions": "x"}',
        b"[" * 100_000,
        b'{"query": "{ hello }", "variables": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001,
        b'{"query": "{ hello }", "variables": {"x": NaN}}',
        b'{"query": "\xff"}',
    ],
)
async def test_a_body_that_is_no_request_is_a_clean_400(server: Running, body: bytes) -> None:
    answer = await server.client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT"}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json;charset=latin-1",
    ],
)
async def test_what_a_foreign_page_can_send_unasked_is_refused(
    server: Running, stage: Stage, content_type: str | None
) -> None:
    body = b'{"query": "mutation { note(text: \\"from elsewhere\\") }"}'
    request = server.client.build_request("POST", "/graphql", content=body)
    if content_type is not None:
        request.headers["content-type"] = content_type
    answer = await server.client.send(request)
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert stage.notes == []


async def test_get_runs_queries_and_never_mutations(server: Running, stage: Stage) -> None:
    read = await server.client.get(
        "/graphql", params={"query": "query($n: String!) { hello(name: $n) }", "variables": '{"n": "GET"}'}
    )
    assert read.json()["data"] == {"hello": "Hello, GET!"}
    write = await server.client.get("/graphql", params={"query": 'mutation { note(text: "x") }'})
    assert (write.status_code, write.headers["allow"]) == (405, "POST")
    assert stage.notes == []


@pytest.mark.parametrize("query", ["", "query=%FF", "query={hello}&variables=[1]", "query={hello}&variables={", "x=1"])
async def test_a_url_that_is_no_request_is_a_clean_400(server: Running, query: str) -> None:
    answer = await server.client.get(f"/graphql?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_405_and_say_which_there_are(server: Running, method: str) -> None:
    answer = await server.client.request(method, "/graphql")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, OPTIONS")


async def test_a_mutation_runs_once(server: Running, stage: Stage) -> None:
    answer = await server.post('mutation { note(text: "once") }')
    assert answer.json()["data"] == {"note": 1}
    assert stage.notes == ["once"]


async def test_a_subscription_asked_for_as_json_is_told_how_to_ask(server: Running, stage: Stage) -> None:
    answer = await server.post("subscription { ticks(to: 3) { seq } }")
    assert answer.status_code == 406
    assert answer.json()["errors"][0]["message"] == (
        "A subscription is a stream: ask for it with `Accept: text/event-stream` or "
        "`Accept: multipart/mixed;subscriptionSpec=1.0`, or over a WebSocket."
    )
    assert stage.after == []


async def test_a_fault_is_masked_and_the_log_can_be_found_by_its_request_id(server: Running) -> None:
    answer = await server.post("{ hello fault }", headers={"x-request-id": "req-4711"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["data"] == {"hello": "Hello, world!", "fault": None}
    assert "hunter2" not in answer.text
    assert body["errors"][0]["extensions"] == {"code": "INTERNAL", "requestId": "req-4711"}
    assert answer.headers["x-request-id"] == "req-4711"


@pytest.mark.parametrize("odd", ["", "a b", "x" * 65, 'x"y', "-x"])
async def test_an_odd_request_id_is_replaced(server: Running, odd: str) -> None:
    answer = await server.post("{ hello }", headers={"x-request-id": odd})
    assert len(answer.headers["x-request-id"]) == 32


async def test_expected_errors_of_a_query_carry_their_codes(server: Running) -> None:
    answer = await server.post("{ refused forbidden me }")
    assert answer.json()["data"] == {"refused": None, "forbidden": None, "me": None}
    codes = {error["path"][0]: error["extensions"]["code"] for error in answer.json()["errors"]}
    assert codes == {"refused": "NOT_FOUND", "forbidden": "FORBIDDEN", "me": "UNAUTHENTICATED"}


async def test_an_operation_stops_when_its_client_leaves(server: Running, stage: Stage) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/graphql", json={"query": "{ gate }"}, timeout=httpx.Timeout(5, read=0.3))
    await stage.entered.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await stage.cancelled.wait()


async def test_an_operation_that_takes_its_time_is_answered_all_the_same(server: Running, stage: Stage) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        asking = asyncio.create_task(client.post("/graphql", json={"query": "{ gate }"}))
        await stage.entered.wait()
        # Long enough for the server to have begun watching the client: its watch must not eat the answer.
        await asyncio.sleep(2 * WATCH_AFTER_SECONDS)
        stage.go_on.set()
        assert (await asking).json()["data"] == {"gate": "through"}


@pytest.mark.edge(edge={"introspection": False})
async def test_introspection_and_graphiql_can_be_turned_off_together(server: Running, stage: Stage) -> None:
    closed = await server.post("{ __schema { queryType { name } } }")
    assert closed.status_code == 400
    assert closed.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    # A suggestion would tell names one by one.
    hint = await server.post("{ helo }")
    assert hint.json()["errors"][0]["message"] == "Cannot query field 'helo' on type 'Query'."
    assert (await server.post("{ __typename }")).json()["data"] == {"__typename": "Query"}
    assert (await server.client.get("/graphiql")).status_code == 404


async def test_a_misspelt_field_is_helped_where_introspection_is_on(server: Running) -> None:
    answer = await server.post("{ helo }")
    assert answer.json()["errors"][0]["message"] == "Cannot query field 'helo' on type 'Query'. Did you mean 'hello'?"


async def test_options_say_which_methods_there_are(server: Running) -> None:
    answer = await server.client.options("/graphql")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "GET, POST, OPTIONS", b"")


async def test_a_browser_that_opens_the_address_is_led_to_graphiql(server: Running) -> None:
    answer = await server.client.get("/graphql", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/graphiql")


@pytest.mark.parametrize("content_type", ['application/json; charset="UTF-8"', "application/JSON ; v=1; charset=utf8"])
async def test_utf_8_may_be_written_in_several_ways(server: Running, content_type: str) -> None:
    answer = await server.client.post(
        "/graphql", content=b'{"query": "{ hello }"}', headers={"content-type": content_type}
    )
    assert answer.status_code == 200


@pytest.mark.edge(limits={"body_seconds": 0.1})
async def test_a_body_that_does_not_come_is_not_waited_for(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 22\r\n\r\n"
    writer.write(head.encode() + b'{"query": ')
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()
