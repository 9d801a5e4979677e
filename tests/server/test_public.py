"""Jobs by plain HTTP: to poll and to follow, over the real schema."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from db.accounts.rules import Viewer
from db.session import Database
from resolvers.ids import encode_id
from resolvers.schema import schema
from tests.server.support.serving import Running, serving, token_of
from tests.server.support.sockets import socket_to
from tests.server.support.streams import Stream, streamed
from tests.support.drain import drain
from tests.support.kinds import KINDS, Fails, Refuses, Talks, make_effects
from tests.support.ledger import ask, execute
from tests.support.people import person

JOB = """
query Job($uuid: String!) { jobs(filter: {uuid: $uuid}) { nodes {
  id uuid kind queue status isQuarantined progress step done total attempt maxAttempts priority params result
  error { code message details } lastSeq subjectLabel enqueuedAt scheduledAt startedAt finishedAt
  cancelRequestedAt cancelReason canCancel canRetry
} } }
"""

FOLLOW = "subscription ($id: ID!) { jobProgress(jobId: $id) { seq type status log { message } job { status } } }"


@pytest.fixture
async def holdfast(database_url: str, redis_url: str) -> AsyncIterator[Running]:
    """A server over the real schema."""
    async with serving(database_url, redis_url, schema=schema) as running:
        yield running


@pytest.fixture
async def asker(database: Database) -> Viewer:
    """Who asks for the jobs of these tests."""
    return await person(database, "Ada Asker")


@pytest.fixture
async def headers(database: Database, asker: Viewer) -> dict[str, str]:
    """Signed in as who asks."""
    return {"authorization": f"Bearer {await token_of(database, asker)}"}


async def test_a_job_has_the_facts_of_the_api_and_its_newest_lines(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    job_id = await ask(database, Talks(lines=230, progress=2), actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    answer = await holdfast.client.get(f"/jobs/{job_id}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    facts = answer.json()
    same = await holdfast.client.post(
        "/graphql", json={"query": JOB, "variables": {"uuid": str(job_id)}}, headers=headers
    )
    [node] = same.json()["data"]["jobs"]["nodes"]
    assert {name: facts[name] for name in node} == node
    assert facts["status"] == "COMPLETED"
    assert facts["params"] == {"lines": 230, "progress": 2, "pause_seconds": 0.0}
    assert facts["requestedBy"] == {"name": "Ada Asker"}
    assert (facts["subject"], facts["retryOf"], facts["retriedAs"]) == (None, None, None)
    assert [line["message"] for line in facts["logs"]] == [f"line {number}" for number in range(30, 230)]
    assert facts["logs"][0].keys() == {"seq", "at", "level", "message", "data"}
    assert "retry-after" not in answer.headers


async def test_who_knows_it_already_is_told_that_nothing_is_new(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    job_id = await ask(database, actor_id=asker.user_id)
    first = await holdfast.client.get(f"/jobs/{job_id}", headers=headers)
    assert (first.json()["status"], first.headers["retry-after"]) == ("QUEUED", "2")
    known = headers | {"if-none-match": first.headers["etag"]}
    again = await holdfast.client.get(f"/jobs/{job_id}", headers=known)
    assert (again.status_code, again.content, again.headers["retry-after"]) == (304, b"", "2")
    await drain(database, kinds=KINDS)
    news = await holdfast.client.get(f"/jobs/{job_id}", headers=known)
    assert (news.status_code, news.json()["status"]) == (200, "COMPLETED")
    assert news.headers["etag"] != first.headers["etag"]


async def test_a_failed_job_says_why_and_no_more_than_the_api_would(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    await make_effects(database)
    refused = await ask(database, Refuses(), actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    facts = (await holdfast.client.get(f"/jobs/{refused}", headers=headers)).json()
    assert (facts["status"], facts["error"]["code"]) == ("FAILED", "EMPTY_TASKS")
    faulty = await ask(database, Fails(), actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    assert "swordfish" not in (await holdfast.client.get(f"/jobs/{faulty}", headers=headers)).text


async def test_a_job_that_is_not_there_and_one_of_others_look_alike(
    holdfast: Running, database: Database, headers: dict[str, str]
) -> None:
    other = await ask(database, actor_id=(await person(database)).user_id)
    answers = [await holdfast.client.get(f"/jobs/{key}", headers=headers) for key in (uuid4(), other, "no-uuid")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("path", ["", "/events"])
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
async def test_nobody_and_a_wrong_token_are_401(holdfast: Running, path: str, headers: dict[str, str]) -> None:
    answer = await holdfast.client.get(f"/jobs/{uuid4()}{path}", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def events(answer: httpx.Response) -> list[tuple[str, str | None, Any]]:
    """All events of a stream: name, id, facts."""
    stream = Stream(answer, answer.aiter_raw())
    found = []
    while True:
        event = await stream.event()
        found.append((event["event"], event.get("id"), event["data"]))
        if event["event"] == "complete":
            return found


async def test_events_can_be_followed_and_resumed(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    job_id = await ask(database, Talks(lines=2, progress=0), actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    url = f"/jobs/{job_id}/events"
    async with holdfast.client.stream("GET", url, headers=headers | {"last-event-id": "0"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        story = await events(answer)
    assert (story[0][0], story[0][1]) == ("snapshot", "0")
    assert [id_ for _, id_, _ in story[1:-1]] == [str(number) for number in range(1, len(story) - 1)]
    assert [facts["log"]["message"] for name, _, facts in story if name == "log"] == ["line 0", "line 1"]
    assert story[-2][2]["status"] == "COMPLETED"
    assert story[-1] == ("complete", story[-2][1], None)
    last = story[-3][1] or ""
    async with holdfast.client.stream("GET", url, headers=headers | {"last-event-id": last}) as answer:
        rest = await events(answer)
    assert [name for name, _, _ in rest] == ["snapshot", "status", "complete"]
    assert json.dumps(rest[1]) == json.dumps(story[-2])


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_cursor_beyond_the_end_is_refused_for_good(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str], how: str
) -> None:
    job_id = await ask(database, actor_id=asker.user_id)
    given = headers | ({"last-event-id": "99"} if how == "header" else {})
    answer = await holdfast.client.get(
        f"/jobs/{job_id}/events" + ("?after=99" if how == "query" else ""), headers=given
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_an_after_that_is_no_number_is_refused_and_a_foreign_last_event_id_is_passed_over(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    job_id = await ask(database, actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    url = f"/jobs/{job_id}/events"
    for after in ("abc", "-1", "1.5", "", "٣"):
        for given in (headers, headers | {"last-event-id": "1"}):
            answer = await holdfast.client.get(url, params={"after": after}, headers=given)
            assert answer.status_code == 400, after
            [error] = answer.json()["errors"]
            assert error["extensions"]["code"] == "BAD_USER_INPUT"
            assert error["message"].startswith("`after` must be the number of an event: ")
    foreign = headers | {"last-event-id": "msg_01-of-another-server"}
    async with holdfast.client.stream("GET", url + "?after=2", headers=foreign) as answer:
        assert [(name, id_) for name, id_, _ in await events(answer)] == [
            ("snapshot", "2"),
            ("status", "3"),
            ("complete", "3"),
        ]


async def test_an_event_source_that_comes_again_after_the_end_is_told_to_stop(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    job_id = await ask(database, actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    url = f"/jobs/{job_id}/events"
    async with holdfast.client.stream("GET", url + "?after=1", headers=headers) as answer:
        story = await events(answer)
    assert [(name, id_) for name, id_, _ in story] == [
        ("snapshot", "1"),
        ("status", "2"),
        ("status", "3"),
        ("complete", "3"),
    ]
    # The header of a client that comes again by itself goes before the address it was given.
    again = await holdfast.client.get(url + "?after=1", headers=headers | {"last-event-id": "3"})
    assert (again.status_code, again.content) == (204, b"")


async def test_where_the_history_is_gone_the_end_has_the_last_number(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    job_id = await ask(database, actor_id=asker.user_id)
    await drain(database, kinds=KINDS)
    await execute(database, "DELETE FROM job_events")
    async with holdfast.client.stream("GET", f"/jobs/{job_id}/events?after=0", headers=headers) as answer:
        assert [(name, id_) for name, id_, _ in await events(answer)] == [("snapshot", "0"), ("complete", "3")]


async def test_all_ways_to_follow_a_job_tell_the_same(
    holdfast: Running, database: Database, asker: Viewer, headers: dict[str, str]
) -> None:
    """Two sockets, an event stream and the plain one."""
    job_id = await ask(database, Talks(lines=3), actor_id=asker.user_id)
    token = headers["authorization"].removeprefix("Bearer ")
    variables = {"id": encode_id("Job", job_id)}
    async with (
        socket_to(holdfast) as one,
        socket_to(holdfast) as other,
        streamed(holdfast, FOLLOW, accept="text/event-stream", token=token, id=variables["id"]) as sse,
        holdfast.client.stream("GET", f"/jobs/{job_id}/events", headers=headers) as plain,
    ):
        for socket in (one, other):
            await socket.init(token)
            await socket.subscribe("s", FOLLOW, **variables)
            assert (await socket.receive())["payload"]["data"]["jobProgress"]["type"] == "SNAPSHOT"
        assert (await sse.event())["data"]["data"]["jobProgress"]["type"] == "SNAPSHOT"
        await drain(database, kinds=KINDS)
        told = [[(await socket.receive()) for _ in range(6)] for socket in (one, other)]
        by_sse = [await sse.event() for _ in range(6)]
        by_plain = await events(plain)
    assert told[0] == told[1]
    facts = [message["payload"]["data"]["jobProgress"] for message in told[0][:-1]]
    assert [fact["seq"] for fact in facts] == [2, 3, 4, 5, 6]
    assert told[0][-1] == {"id": "s", "type": "complete"}
    assert [event["data"]["data"]["jobProgress"] for event in by_sse[:-1]] == facts
    assert [event["id"] for event in by_sse[:-1]] == ["2", "3", "4", "5", "6"]
    assert [(data["seq"], data["status"]) for _, _, data in by_plain[1:-1]] == [
        (fact["seq"], fact["status"]) for fact in facts
    ]
