"""Fixtures of the edge: a stage for operations, a token, a server over the small schema of support/stage.py."""

from collections.abc import AsyncIterator

import pytest

from db.session import Database
from tests.server.support.serving import Running, serving, token_of
from tests.server.support.stage import Stage, new_stage, schema


@pytest.fixture
def stage() -> Stage:
    """What the operations of this test wait for and report."""
    return new_stage()


@pytest.fixture
async def server(database_url: str, redis_url: str, stage: Stage) -> AsyncIterator[Running]:
    """A server with the usual limits, over the small schema."""
    async with serving(database_url, redis_url, schema=schema) as running:
        yield running


@pytest.fixture
async def token(database: Database) -> str:
    """A MEMBER's token."""
    return await token_of(database)
