"""Fixtures of the edge: a stage for operations, a token, a server over the small schema of support/stage.py."""

from collections.abc import AsyncIterator

import pytest

from db.session import Database
from tests.server.support.serving import Running, serving, token_of
from tests.server.support.stage import Stage, new_stage, schema


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker by which a test sets its server's settings."""
    config.addinivalue_line("markers", "edge(limits={…}, edge={…}, jwt={…}): settings of the `server` fixture")


@pytest.fixture
def stage() -> Stage:
    """What the operations of this test wait for and report."""
    return new_stage()


@pytest.fixture
async def server(
    request: pytest.FixtureRequest, database_url: str, redis_url: str, stage: Stage
) -> AsyncIterator[Running]:
    """A server over the small schema, with the settings of the test's `edge` marker, otherwise the usual ones."""
    marker = request.node.get_closest_marker("edge")
    async with serving(database_url, redis_url, schema=schema, **(marker.kwargs if marker else {})) as running:
        yield running


@pytest.fixture
async def token(database: Database) -> str:
    """A MEMBER's token."""
    return await token_of(database)
