"""An office with a team, and its API."""

import pytest

from db.session import Database
from tests.support.tasks import Desk, a_desk


@pytest.fixture
async def desk(database: Database) -> Desk:
    """The office, empty of tasks."""
    return await a_desk(database)
