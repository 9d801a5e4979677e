"""An office with a team and a server in front of it: tasks are given, held and watched as front ends do it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.session import Database
from resolvers.ids import encode_id
from resolvers.schema import schema
from tests.server.support.serving import Running, serving, token_of
from tests.support.drain import drain
from tests.support.tasks import Desk, a_desk

PEOPLE = ("boss", "editor", "lead", "ann", "ben", "stranger")


@dataclass(frozen=True)
class Office:
    """The people of a desk, each with a token."""

    desk: Desk
    server: Running
    tokens: dict[str, str]

    async def ask(self, who: str, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer that somebody gets."""
        answer = await self.server.post(query, token=self.tokens[who], variables=variables)
        body: dict[str, Any] = answer.json()
        return body

    async def data(self, who: str, query: str, **variables: Any) -> Any:
        """The data of an answer that has no errors."""
        body = await self.ask(who, query, **variables)
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def does(self, who: str, mutation: str, selection: str = "task { id status }", **input: Any) -> Any:
        """The payload of a mutation that took effect."""
        payload = await self.payload(who, mutation, selection, **input)
        assert payload.pop("userErrors") == []
        return payload

    async def payload(self, who: str, mutation: str, selection: str = "__typename", **input: Any) -> Any:
        """The payload of a mutation, whether it took effect or not."""
        input_type = mutation[0].upper() + mutation[1:] + "Input!"
        selected = f"{{ {selection} userErrors {{ code field }} }}"
        query = f"mutation ($input: {input_type}) {{ {mutation}(input: $input) {selected} }}"
        return (await self.data(who, query, input=input))[mutation]

    async def task(
        self, title: str, whose: str = "ann", *, type_name: str = "general", below: str | None = None
    ) -> str:
        """A new task: its id."""
        made = await self.does(
            "boss", "createTask", type=type_name, title=title, assigneeId=self.id_of(whose), parentId=below
        )
        id_: str = made["task"]["id"]
        return id_

    def id_of(self, who: str) -> str:
        """Somebody's id; the team's for `team`."""
        if who == "team":
            return encode_id("Team", self.desk.team)
        key: UUID = getattr(self.desk, who).user_id
        return encode_id("User", key)

    async def later(self, **span: float) -> None:
        """Time passes, for the server and the database; nobody looks at anything, and no worker runs."""
        self.desk.later(**span)
        self.server.edge.database.clock.shift = self.desk.database.clock.shift

    async def worker_runs(self) -> None:
        """A worker does what is due, and nothing else."""
        await drain(self.desk.database)


@asynccontextmanager
async def an_office(database: Database, *, database_url: str, redis_url: str) -> AsyncIterator[Office]:
    """The office, empty of tasks, with its server."""
    desk = await a_desk(database)
    async with serving(database_url, redis_url, schema=schema) as server:
        tokens = {}
        for name in PEOPLE:
            viewer = getattr(desk, name)
            tokens[name] = await token_of(database, viewer, roles=tuple(viewer.roles))
        yield Office(desk, server, tokens)
