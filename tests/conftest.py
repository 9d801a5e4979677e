"""Fixtures for tests against the real servers; how they are started and ended is in tests/support/servers.py."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from db.feed import Feed
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from tests.support.servers import Servers, postgres_for_run, valkey_for_worker

pytest_plugins = ["tests.support.no_skips"]

OPEN = pytest.StashKey[ExitStack]()
DIRECTORY = pytest.StashKey[Path]()


def servers_directory(config: pytest.Config) -> Path:
    """The run's one PostgreSQL, started at the first call in the process that leads the run."""
    if (given := getattr(config, "workerinput", None)) is not None:
        return Path(given["servers"])
    if DIRECTORY not in config.stash:
        config.stash[OPEN] = ExitStack()
        config.stash[DIRECTORY] = config.stash[OPEN].enter_context(postgres_for_run())
    return config.stash[DIRECTORY]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each xdist worker where the servers are."""
    node.workerinput["servers"] = str(servers_directory(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers with the run."""
    if OPEN in config.stash:
        config.stash[OPEN].close()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """The run's PostgreSQL and this worker's Valkey."""
    with valkey_for_worker(servers_directory(pytestconfig)) as running:
        yield running


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A migrated database of the test's own (SQLAlchemy's form of the URL)."""
    with servers.fresh_database() as url:
        yield url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Valkey that no other test uses meanwhile."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
async def feed(redis_url: str) -> AsyncIterator[Feed]:
    """The carrier of hints, on the test's own Valkey."""
    feed = Feed.open(RedisSettings(url=redis_url))
    yield feed
    await feed.close()


@pytest.fixture
async def database(database_url: str, feed: Feed) -> AsyncIterator[Database]:
    """The test's own database, opened as a process of ours opens it."""
    opened = await Database.open(DatabaseSettings(url=database_url), feed=feed)
    yield opened
    await opened.close()
