"""A team's work is given out, held, ended and given on, and every screen that shows it hears of it over a socket."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from db.session import Database
from resolvers.context import Context
from resolvers.tasks.subscriptions.queues import queue_of
from tests.server.support.sockets import Socket, socket_to
from tests.stories.offices import Office, an_office
from tests.support.workers import until

TASK = "subscription ($id: ID!) { taskChanged(taskId: $id) { id status ... on WorkTask { activeHold { id } } } }"
QUEUE = """
subscription ($team: ID) { queueChanged(teamId: $team) { type taskId task { status assignedTo { name } } } }
"""


@pytest.fixture
async def office(database: Database, database_url: str, redis_url: str) -> AsyncIterator[Office]:
    async with an_office(database, database_url=database_url, redis_url=redis_url) as opened:
        yield opened


@dataclass
class Screen:
    """A stream over a socket of its own."""

    socket: Socket

    async def next(self) -> Any:
        """What comes next."""
        message = await self.socket.receive()
        assert message["type"] == "next", message
        (event,) = message["payload"]["data"].values()
        return event

    async def until(self, **wanted: Any) -> Any:
        """The next event that has these facts. What comes before it may be told as one or as several."""
        while True:
            event = await self.next()
            if {name: event[name] for name in wanted} == wanted:
                return event


@asynccontextmanager
async def screen(office: Office, who: str, query: str, **variables: Any) -> AsyncIterator[Screen]:
    async with socket_to(office.server) as socket:
        await socket.init(office.tokens[who])
        await socket.subscribe("1", query, **variables)
        yield Screen(socket)


async def looked_at(office: Office, who: str, *, team: bool = False) -> None:
    """Wait until the queue is looked at: news come from there on."""
    edge = office.server.edge
    viewer = getattr(office.desk, who)
    context = Context(database=edge.database, feed=edge.feed, request_id="test", viewer=viewer)

    async def is_open() -> bool:
        return queue_of(context, office.desk.team if team else None).taken > 0

    await until(is_open)


async def test_placing_ending_expiring_assigning_and_reassigning_are_told_to_all_who_watch(office: Office) -> None:
    task = await office.task("Call back", "team", type_name="response_window")
    async with AsyncExitStack() as stack:

        async def opened(who: str, query: str, **variables: Any) -> Screen:
            return await stack.enter_async_context(screen(office, who, query, **variables))

        one = await opened("lead", TASK, id=task)
        team = await opened("lead", QUEUE, team=office.id_of("team"))
        anns, bens = await opened("ann", QUEUE), await opened("ben", QUEUE)
        await looked_at(office, "lead", team=True)
        await looked_at(office, "ann")
        await looked_at(office, "ben")
        assert await one.next() == {"id": task, "status": "ASSIGNED", "activeHold": None}

        async def told(status: str, hold: Any) -> None:
            assert await one.until(status=status) == {"id": task, "status": status, "activeHold": hold}
            shown = {"status": status, "assignedTo": {"name": "Intake"}}
            assert await team.until(task=shown) == {"type": "CHANGED", "taskId": task, "task": shown}

        # Placed, and ended.
        placed = await office.does("ann", "placeHold", "hold { id }", taskId=task, durationDays=45)
        await told("ON_HOLD", placed["hold"])
        await office.does("ben", "endHold", taskId=task)
        await told("ASSIGNED", None)

        # Placed, and run out.
        placed = await office.does("lead", "placeHold", "hold { id }", taskId=task, durationDays=45)
        await told("ON_HOLD", placed["hold"])
        await office.later(days=45, seconds=1)
        await office.worker_runs()
        await told("ASSIGNED", None)

        # Placed, and given to Ann: the hold goes along, by the policy of the type.
        placed = await office.does("lead", "placeHold", "hold { id }", taskId=task, durationDays=45)
        await told("ON_HOLD", placed["hold"])
        given = await office.does(
            "lead", "assignTask", "child { id activeHold { id } }", taskId=task, assigneeId=office.id_of("ann")
        )
        child = given["child"]["id"]
        assert given["child"]["activeHold"] == placed["hold"]
        assert await one.until(status="ON_HOLD") == {"id": task, "status": "ON_HOLD", "activeHold": None}
        on_hold = {"status": "ON_HOLD", "assignedTo": {"name": "Ann"}}
        assert await anns.next() == {"type": "ENTERED", "taskId": child, "task": on_hold}

        # Given on to Ben, with the hold.
        moved = await office.does("lead", "reassignTask", "task { id }", taskId=child, assigneeId=office.id_of("ben"))
        cancelled = {"status": "CANCELLED", "assignedTo": {"name": "Ann"}}
        assert await anns.until(task=cancelled) == {"type": "CHANGED", "taskId": child, "task": cancelled}
        on_hold = {"status": "ON_HOLD", "assignedTo": {"name": "Ben"}}
        assert await bens.next() == {"type": "ENTERED", "taskId": moved["task"]["id"], "task": on_hold}

        # The last one of its own type is done: so is the team's.
        await office.does("ben", "completeTask", taskId=moved["task"]["id"])
        done = {"status": "COMPLETED", "assignedTo": {"name": "Ben"}}
        assert await bens.until(task=done) == {"type": "CHANGED", "taskId": moved["task"]["id"], "task": done}
        await told("COMPLETED", None)


async def test_what_cannot_be_watched_ends_with_its_code(office: Office) -> None:
    task = await office.task("Call back", "ann")
    for who, query, variables in (
        ("stranger", TASK, {"id": task}),
        ("ann", TASK, {"id": "nonsense"}),
        ("stranger", QUEUE, {"team": office.id_of("team")}),
    ):
        async with screen(office, who, query, **variables) as refused:
            message = await refused.socket.receive()
            errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
            assert [error["extensions"]["code"] for error in errors] == ["NOT_FOUND"]


async def test_a_screen_that_comes_back_sees_the_task_as_it_is(office: Office) -> None:
    task = await office.task("Call back", "ann")
    async with screen(office, "ann", TASK, id=task) as first:
        assert (await first.next())["status"] == "ASSIGNED"
    await office.does("ann", "placeHold", taskId=task, durationDays=30)
    async with screen(office, "ann", TASK, id=task) as again:
        assert (await again.next())["status"] == "ON_HOLD"
