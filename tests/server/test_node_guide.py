"""What docs/jobs.md has front ends do is run as it stands there, with the server restarting in the middle."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db.session import Database
from resolvers.ids import encode_id
from resolvers.schema import schema
from server.transports.protocol import CloseCode
from tests.server.support.facts import until
from tests.server.support.serving import serving, token_of
from tests.server.test_node_clients import NODE, SCRIPTS, pytestmark
from tests.support.drain import drain
from tests.support.facts import ROOT
from tests.support.kinds import KINDS, Talks
from tests.support.ledger import ask
from tests.support.people import person

__all__ = ["pytestmark"]


async def told(*arguments: str) -> AsyncIterator[dict[str, Any]]:
    """What the guide's lines tell, one by one."""
    process = await asyncio.create_subprocess_exec(NODE, SCRIPTS / "guide.mjs", *arguments, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        while line := await process.stdout.readline():
            yield json.loads(line)
        assert await process.wait() == 0, (await process.stderr.read()).decode()
    finally:
        if process.returncode is None:
            process.kill()


@pytest.mark.parametrize("way", ["graphql-ws", "graphql-sse", "fetch"])
async def test_a_job_is_followed_over_a_restart_with_each_event_told_once(
    database: Database, database_url: str, redis_url: str, way: str
) -> None:
    asker = await person(database, "Ada Asker")
    job_id = await ask(database, Talks(lines=2, progress=2), actor_id=asker.user_id)
    arguments = (await token_of(database, asker), encode_id("Job", job_id), str(job_id), way)
    async with serving(database_url, redis_url, schema=schema) as server:
        events = told(server.url.removeprefix("http://"), *arguments)
        first = [await anext(events), await anext(events)]
        assert [(event["type"], event["seq"]) for event in first] == [("SNAPSHOT", 0), ("STATUS", 1)]
        # As a shutdown does it, only that this server goes on.
        server.edge.drain()
        await until(lambda: server.edge.streams.per_viewer.taken == 0)
        server.edge.streams.draining.clear()
        again = await anext(events)
        assert (again["type"], again["seq"]) == ("SNAPSHOT", 1)
        await drain(database, kinds=KINDS)
        rest = [event async for event in events]
    assert rest.pop() == {"ended": True}
    assert [event["seq"] for event in rest] == list(range(2, len(rest) + 2))
    assert (rest[-1]["status"], rest[-1]["progress"]) == ("COMPLETED", 100)


def test_the_guide_says_what_to_do_after_each_code_that_a_socket_is_closed_with() -> None:
    rows = [line.split("|")[1].strip() for line in (ROOT / "docs/jobs.md").read_text().splitlines() if "|" in line]
    named = {int(row) for row in rows if row.isdecimal() and len(row) == 4}
    # 1006 is the browser's own: none arrived.
    assert named - {1006} == {code.value for code in CloseCode}
