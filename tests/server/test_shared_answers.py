"""An event is executed and encoded once for all subscribers whose answers cannot differ, and for nobody else."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from db.accounts.rules import Viewer
from db.feed import Feed
from db.session import Database
from resolvers.context import Context
from resolvers.schema import schema
from server.graphql.events import Event
from server.graphql.operations import Operations
from server.graphql.params import Params
from server.graphql.trusted import TrustedDocuments
from server.limits import LimitSettings
from tests.support.api import id_of
from tests.support.drain import drain
from tests.support.kinds import KINDS
from tests.support.ledger import ask
from tests.support.people import admin, person

SHORT = "subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) { seq job { uuid status } } }"
OTHER = "subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) { seq job { uuid } } }"
OWN = "subscription ($id: ID!, $after: Int) { jobProgress(jobId: $id, after: $after) { seq job { canCancel } } }"
LOGS = """
subscription ($id: ID!, $after: Int, $with: Boolean!) {
  jobProgress(jobId: $id, after: $after) { seq ...Rest @include(if: $with) } }
fragment Rest on JobEvent { status }
"""


@pytest.fixture
def operations() -> Operations:
    return Operations(schema, LimitSettings(), introspection=True, trusted=TrustedDocuments.load("off", None))


@pytest.mark.parametrize(
    ("asked", "shared"),
    [
        ([("boss", SHORT, {"after": 1}), ("boss", SHORT, {"after": 0})], True),
        ([("boss", SHORT, {}), ("ada", SHORT, {})], True),
        ([("boss", OWN, {}), ("boss", OWN, {"after": 1})], True),
        ([("boss", OWN, {}), ("ada", OWN, {})], False),
        ([("boss", SHORT, {}), ("boss", OTHER, {})], False),
        ([("boss", LOGS, {"with": True}), ("boss", LOGS, {"with": True, "after": 0})], True),
        ([("boss", LOGS, {"with": True}), ("boss", LOGS, {"with": False})], False),
    ],
)
async def test_an_event_is_made_once_where_it_cannot_differ(
    database: Database, feed: Feed, operations: Operations, asked: list[tuple[str, str, Any]], shared: bool
) -> None:
    ada = await person(database)
    viewers = {"ada": ada, "boss": await admin(database)}
    job_id = await ask(database, actor_id=ada.user_id)

    def events(name: str, query: str, variables: dict[str, Any]) -> AsyncGenerator[Event, None]:
        operation = operations.prepare(Params(query=query, variables={"id": id_of("Job", job_id), **variables}))
        return operations.events(operation, _context(database, feed, viewers[name]))

    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(aclosing(events(*each))) for each in asked]
        for each in streams:
            assert (await anext(each)).seq in {0, 1}
        if any(variables.get("after") == 0 for _, _, variables in asked):
            behind = next(one for one, (_, _, given) in zip(streams, asked, strict=True) if given.get("after") == 0)
            assert (await anext(behind)).seq == 1
        # They wait for what comes, as subscribers do, and come for it together.
        ends, _ = await asyncio.gather(asyncio.gather(*map(_end, streams)), drain(database, kinds=KINDS))
    assert {event.seq for event in ends} == {3}
    assert (ends[0] is ends[1]) == shared


async def _end(events: AsyncGenerator[Event, None]) -> Event:
    return [event async for event in events][-1]


def _context(database: Database, feed: Feed, viewer: Viewer) -> Context:
    return Context(database=database, feed=feed, request_id="test", viewer=viewer)
