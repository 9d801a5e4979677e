"""Workers for tests that kill them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workers import Fleet, fleet


@pytest.fixture
def workers(database_url: str, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Worker processes that end with the test; what they logged is shown where it failed."""
    with fleet(database_url=database_url, redis_url=redis_url, directory=tmp_path) as started:
        yield started
    if started.log.exists():
        request.node.add_report_section("teardown", "workers", started.log.read_text()[-8_000:])
