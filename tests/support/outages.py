"""A database that goes away and comes back while streams are open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from structlog.testing import capture_logs
from structlog.typing import EventDict

from db.session import Database
from db.settings import DatabaseSettings
from tests.support.wires import Wire, wire_to_postgres
from tests.support.workers import until


@dataclass
class Far:
    """The test's database as somebody sees it who is behind a wire."""

    database: Database
    wire: Wire
    logged: list[EventDict] = field(default_factory=list)

    async def until_waiting(self, streams: int) -> None:
        """Until so many streams have asked it, in vain, and wait for it now."""

        async def waiting() -> bool:
            return [each["event"] for each in self.logged].count("watching.waits") >= streams

        await until(waiting, what=f"{streams} streams that wait")


@asynccontextmanager
async def far_away(database_url: str) -> AsyncIterator[Far]:
    """The database behind a wire that carries everything until the test stops it."""
    async with wire_to_postgres(database_url) as (wire, url):
        database = await Database.open(
            DatabaseSettings(url=url, statement_timeout_ms=500, silence_timeout_ms=1_000, connect_timeout_ms=500)
        )
        try:
            with capture_logs() as logged:
                yield Far(database, wire, logged)
        finally:
            wire.mend()
            await database.close()
