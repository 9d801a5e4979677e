"""Stories go through the API as a front end does: HTTP in, jobs drained by the real runner, streams out."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from db.accounts.rules import Viewer
from db.session import Database
from resolvers.ids import encode_id
from resolvers.schema import schema
from tests.server.support.serving import Running, serving, token_of
from tests.support.plans import World, a_world


@dataclass(frozen=True)
class Front:
    """A front end in somebody's hands."""

    server: Running
    token: str | None

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer, errors and all."""
        answer = await self.server.post(query, token=self.token, variables=variables)
        body: dict[str, Any] = answer.json()
        return body

    async def data(self, query: str, **variables: Any) -> Any:
        """The data of an answer that has no errors."""
        body = await self.ask(query, **variables)
        assert "errors" not in body, body["errors"]
        return body["data"]


@dataclass(frozen=True)
class Story:
    """A course with its people, and the server in front of it."""

    world: World
    server: Running
    teacher: Front

    async def front_of(self, user_id: Any) -> Front:
        """The front end of a learner."""
        viewer = Viewer(user_id, "Learner", self.world.teacher.roles)
        return Front(self.server, await token_of(self.world.database, viewer))

    @property
    def course(self) -> str:
        """The course's id."""
        return encode_id("Course", self.world.course_id)

    @property
    def class_(self) -> str:
        """The class's id."""
        return encode_id("CourseClass", self.world.class_id)


@pytest.fixture
async def story(database: Database, database_url: str, redis_url: str) -> AsyncIterator[Story]:
    """A teacher, a class of three, and a server over the real schema."""
    world = await a_world(database, learners=3)
    async with serving(database_url, redis_url, schema=schema) as server:
        # The server shares the test's clock, so that a test may move the time for both.
        server.edge.database.clock.shift = database.clock.shift
        token = await token_of(database, world.teacher)
        yield Story(world, server, Front(server, token))
