"""An operator's console shows everything that moves; a teacher's only what is theirs to see."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from db.accounts.rules import Role
from resolvers.ids import encode_id
from resolvers.ledger.subscriptions.console import console_of
from tests.server.support.facts import until
from tests.server.support.serving import token_of
from tests.server.support.sockets import Socket, socket_to
from tests.server.support.streams import streamed
from tests.stories.conftest import Front, Story
from tests.support.drain import drain

PUBLISH = "mutation ($input: CreatePlanInput!) { createPlan(input: $input) { job { id uuid } userErrors { message } } }"
CONSOLE = """
subscription ($filter: JobFilter) {
  jobs(filter: $filter) { type status job { uuid kind status requestedBy { ... on User { name } } } }
}
"""
CANCEL = "mutation ($input: CancelJobInput!) { cancelJob(input: $input) { job { status } userErrors { message } } }"


def plan(story: Story) -> dict[str, Any]:
    names = {"opensAt": 1, "dueAt": 2, "closesAt": 3}
    dates = {name: (datetime.now(UTC) + timedelta(days=days)).isoformat() for name, days in names.items()}
    return {
        "courseId": story.course,
        "type": "READING",
        "title": "Read about forces",
        "settings": {"page_ids": [encode_id("CourseItem", page) for page in story.world.pages]},
        "taskingPlans": [{"targetId": story.class_, **dates}],
        "publish": True,
    }


async def statuses(socket: Socket, uuid: str, *, until: str) -> list[str]:
    """The STATUS events of one job, up to this one."""
    seen: list[str] = []
    while not seen or seen[-1] != until:
        event = (await socket.receive())["payload"]["data"]["jobs"]
        if event["type"] == "STATUS" and event["job"]["uuid"] == uuid:
            assert (event["job"]["kind"], event["job"]["requestedBy"]) == ("plan.publish", {"name": "Ada Teacher"})
            seen.append(event["status"])
    return seen


async def until_watched(story: Story, consoles: int) -> None:
    """Wait until so many consoles look: what is asked for from then on is seen by them."""
    edge = story.server.edge
    console = console_of(edge.context(viewer=None, request_id="test"))
    await until(lambda: console.taken == consoles)


async def test_a_publication_is_seen_by_who_may_see_it_from_asking_to_end(story: Story) -> None:
    database = story.world.database
    operator = await token_of(database, roles=(Role.ADMIN,))
    learner = await token_of(database)
    async with socket_to(story.server) as all_, socket_to(story.server) as own, socket_to(story.server) as none:
        for socket, token in ((all_, operator), (own, story.teacher.token), (none, learner)):
            await socket.init(token)
            await socket.subscribe("1", CONSOLE)
        async with streamed(story.server, CONSOLE, accept="text/event-stream", token=operator, filter={}) as sse:
            await until_watched(story, 4)
            first = asyncio.create_task(sse.event())
            made = (await story.teacher.data(PUBLISH, input=plan(story)))["createPlan"]
            uuid = made["job"]["uuid"]
            assert await statuses(all_, uuid, until="QUEUED") == ["QUEUED"]
            event = await first
            # Cannot be resumed, so it names no place to resume at.
            assert event["data"]["data"]["jobs"]["job"]["uuid"] == uuid
            assert "id" not in event
        await drain(database)
        assert await statuses(all_, uuid, until="COMPLETED") == ["RUNNING", "COMPLETED"]
        assert await statuses(own, uuid, until="COMPLETED") == ["QUEUED", "RUNNING", "COMPLETED"]
        # Somebody else's console was told nothing: the next that comes to it is the answer to a ping.
        await none.send("ping")
        assert await none.receive() == {"type": "pong"}


async def test_a_console_of_what_waits_sees_it_come_and_go(story: Story) -> None:
    database = story.world.database
    operator = Front(story.server, await token_of(database, roles=(Role.ADMIN,)))
    async with socket_to(story.server) as socket:
        await socket.init(operator.token)
        await socket.subscribe("1", CONSOLE, filter={"statuses": ["QUEUED"], "kinds": ["plan.publish"]})
        await until_watched(story, 1)
        made = (await story.teacher.data(PUBLISH, input=plan(story)))["createPlan"]
        assert await statuses(socket, made["job"]["uuid"], until="QUEUED") == ["QUEUED"]
        cancelled = (await operator.data(CANCEL, input={"jobId": made["job"]["id"]}))["cancelJob"]
        assert cancelled == {"job": {"status": "CANCELLED"}, "userErrors": []}
        assert await statuses(socket, made["job"]["uuid"], until="CANCELLED") == ["CANCELLED"]
