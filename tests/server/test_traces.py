"""From a request to the attempts at its jobs: what a collector gets of it, from a server and a real worker."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from db import tracing
from db.accounts.rules import Role
from db.session import Database
from resolvers.ids import encode_id
from resolvers.schema import schema
from tests.server.support.serving import Running, serving, token_of
from tests.server.support.sockets import socket_to
from tests.support.kinds import Asks, Fails, Refuses, make_effects
from tests.support.ledger import ask, row_of
from tests.support.otlp import Received, Receiver, receiving
from tests.support.workers import Fleet, fleet, until, until_state

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{CALLER}-{CALLERS_SPAN}-01", "tracestate": "shop=t61rcWkgMzE"}
RETRY = """mutation Again($input: RetryJobInput!) {
    retryJob(input: $input) { job { uuid } userErrors { code } }
    # said in the document
}"""
FOLLOW = "subscription Follow($id: ID!) { jobProgress(jobId: $id) { status } }"
# What must be in no span: a variable, a literal, the token, what an exception says.
SECRETS = ("a key of their own", "said in the document", "swordfish", "literal-of-theirs")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        tracing.start("holdfast-server")
        yield receiver
        tracing.stop()


@pytest.fixture
async def server(collector: Receiver, database_url: str, redis_url: str) -> AsyncIterator[Running]:
    async with serving(database_url, redis_url, schema=schema) as running:
        yield running


@pytest.fixture
def workers(collector: Receiver, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(database_url=database_url, redis_url=redis_url, directory=tmp_path) as started:
        yield started


async def came(collector: Receiver, name: str, count: int = 1, **facts: Any) -> list[Received]:
    """The spans of this name, once there are so many."""

    async def enough() -> list[Received] | None:
        found = collector.named(name, **facts)
        return found if len(found) >= count else None

    found = await until(enough, what=f"{name} {facts}")
    assert len(found) == count
    return found


def hangs_on(span: Received, above: Received) -> bool:
    return (span.trace_id, span.parent_id) == above.place


async def test_a_trace_goes_from_the_caller_over_a_mutation_to_the_attempts_of_its_job(
    collector: Receiver, server: Running, workers: Fleet, database: Database
) -> None:
    await make_effects(database)
    workers.start()
    fails, refused, asks = [await ask(database, work) for work in (Fails(times=1), Refuses(), Asks())]
    token = await token_of(database, roles=(Role.ADMIN,))
    await until_state(database, refused, "failed")

    # A refusal is an end: the error's code is told, and its words, which may quote anything, are not.
    (first_ask,) = await came(collector, "enqueue test.refuses")
    assert (first_ask.kind, first_ask.parent_id, first_ask.service) == ("PRODUCER", "", "holdfast-server")
    assert first_ask.facts["messaging.message.id"] == str(refused)
    (first,) = await came(collector, "attempt test.refuses")
    assert hangs_on(first, first_ask)
    assert (first.kind, first.links, first.service) == ("CONSUMER", [first_ask.place], "holdfast-worker")
    assert (first.is_error, first.words) == (True, "")
    waited = first.facts["holdfast.job.waited_seconds"]
    assert first.facts == {
        "messaging.system": "holdfast",
        "messaging.operation.name": "attempt",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": str(refused),
        "messaging.client.id": "w1",
        "holdfast.job.kind": "test.refuses",
        "holdfast.job.attempt": 1,
        "holdfast.job.waited_seconds": waited,
        "holdfast.job.outcome": "FAILED",
        "error.type": "EMPTY_TASKS",
    }

    # The request: the caller's trace goes on, down to the attempt, and the new job names the one that it repeats.
    input_ = {"jobId": encode_id("Job", refused), "idempotencyKey": "a key of their own"}
    headers = TRACEPARENT | {"x-request-id": "r-1"}
    answer = (await server.post(RETRY, token=token, variables={"input": input_}, headers=headers)).json()
    again = UUID(answer["data"]["retryJob"]["job"]["uuid"])
    (request,) = await came(collector, "mutation retryJob")
    assert (request.kind, request.trace_id, request.parent_id) == ("SERVER", CALLER, CALLERS_SPAN)
    assert (request.is_error, request.facts) == (
        False,
        {
            "http.request.method": "POST",
            "url.path": "/graphql",
            "http.response.status_code": 200,
            "graphql.operation.type": "mutation",
            "graphql.operation.name": "Again",
            "holdfast.request_id": "r-1",
            "holdfast.outcome": "ok",
        },
    )
    (asked,) = await came(collector, "enqueue test.refuses", messaging__message__id=str(again))
    assert hangs_on(asked, request)
    assert asked.links == [first_ask.place]
    (second,) = await came(collector, "attempt test.refuses", messaging__message__id=str(again))
    assert hangs_on(second, asked)
    stored = (await row_of(database, again))["trace_context"]
    assert stored == f"00-{CALLER}-{asked.span_id}-01 shop=t61rcWkgMzE"

    # Work that was asked for by a job belongs to its trace; together it is one span, whose children are the attempts.
    (asking,) = await came(collector, "attempt test.asks", messaging__message__id=str(asks))
    one, many = sorted(
        await came(collector, "enqueue test.empty", 2), key=lambda span: "messaging.message.id" not in span.facts
    )
    assert hangs_on(one, asking)
    assert hangs_on(many, asking)
    assert many.facts["messaging.batch.message_count"] == 2
    done = await came(collector, "attempt test.empty", 3, holdfast__job__outcome="COMPLETED")
    assert sorted(span.parent_id for span in done) == sorted([one.span_id, many.span_id, many.span_id])
    assert {span.is_error for span in done} == {False}

    # A fault, and the attempt after it: children of the same span.
    (asked,) = await came(collector, "enqueue test.fails", messaging__message__id=str(fails))
    faulty, well = await came(collector, "attempt test.fails", 2)
    assert hangs_on(faulty, asked)
    assert hangs_on(well, asked)
    told = [
        (span.facts["holdfast.job.attempt"], span.facts["holdfast.job.outcome"], span.facts.get("error.type"))
        for span in (faulty, well)
    ]
    assert told == [(1, "RETRY", "INTERNAL"), (2, "COMPLETED", None)]
    assert (faulty.is_error, faulty.words) == (True, "Something went wrong (RuntimeError).")
    assert (well.is_error, well.words) == (False, "")

    # The way from a job to its trace: every line of its log names it.
    lines = [json.loads(line) for line in workers.log.read_text().splitlines()]
    started = [line for line in lines if line["event"] == "job.started" and line["job_id"] == str(again)]
    assert [(line["trace_id"], line["span_id"]) for line in started] == [second.place]
    for body in collector.bodies:
        for secret in (token, *SECRETS):
            assert secret.encode() not in body


async def test_each_operation_has_one_span_whichever_way_it_came(
    collector: Receiver, server: Running, database: Database
) -> None:
    job_id = await ask(database)
    token = await token_of(database, roles=(Role.ADMIN,))
    signed_in = {"authorization": f"Bearer {token}"}
    follow = {"query": FOLLOW, "variables": {"id": encode_id("Job", job_id)}}

    # A socket's header is for all of its operations; a browser, which sets none, says it with the operation.
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    async with socket_to(server, additional_headers=TRACEPARENT) as socket:
        await socket.init(token)
        await socket.send("subscribe", "1", {"query": "query Mine { viewer { roles } }"})
        await socket.send(
            "subscribe", "2", follow | {"extensions": {"traceparent": other, "token": "literal-of-theirs"}}
        )
        while (await socket.receive()).get("id") != "2":
            pass
        await socket.send("complete", "2")
        (mine,) = await came(collector, "query viewer")
        (followed,) = await came(collector, "subscription jobProgress")
    assert (mine.kind, mine.trace_id, mine.parent_id) == ("SERVER", CALLER, CALLERS_SPAN)
    assert (mine.facts["graphql.operation.name"], mine.facts["holdfast.outcome"]) == ("Mine", "ok")
    assert (followed.trace_id, followed.parent_id) == ("a" * 32, "b" * 16)

    # An event stream's span is as long as the stream.
    async with server.client.stream(
        "POST", "/graphql", json=follow, headers=signed_in | {"accept": "text/event-stream"}
    ) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: {"):
                break
        assert len(collector.named("subscription jobProgress")) == 1
    _, streamed = await came(collector, "subscription jobProgress", 2)
    assert (streamed.parent_id, streamed.facts["http.response.status_code"]) == ("", 200)
    await server.client.get(f"/jobs/{job_id}", headers=signed_in)
    await came(collector, "GET", url__path=f"/jobs/{job_id}")

    # What was asked for in a URL stays there; a refusal is told by its code, and is no fault of ours.
    await server.client.get("/graphql", params={"query": '{ node(id: "literal-of-theirs") { id } nope }'})
    (refused,) = await came(collector, "GET", url__path="/graphql")
    assert (refused.facts["error.type"], refused.is_error) == ("BAD_USER_INPUT", False)
    await server.client.get("/livez")
    await server.client.get("/graphiql")
    await server.post("{ __typename }")
    await came(collector, "query __typename")
    assert not [span for span in collector.spans if span.facts.get("url.path") in {"/livez", "/graphiql"}]
    for body in collector.bodies:
        for secret in (token, *SECRETS):
            assert secret.encode() not in body


async def test_requests_at_once_each_have_their_own_trace(
    collector: Receiver, server: Running, database: Database
) -> None:
    token = await token_of(database, roles=(Role.ADMIN,))
    await asyncio.gather(*[server.post("{ viewer { roles } }", token=token) for _ in range(20)])
    spans = await came(collector, "query viewer", 20)
    assert len({span.trace_id for span in spans}) == 20
    assert {span.parent_id for span in spans} == {""}
