"""A course with three learners and the API in its teacher's hands."""

import pytest

from db.session import Database
from tests.support.api import Api
from tests.support.plans import World, a_world


@pytest.fixture
async def world(database: Database) -> World:
    return await a_world(database, learners=3)


@pytest.fixture
def teacher(world: World) -> Api:
    return Api(world.database, world.teacher)
