"""Brings a database to the newest schema, one process at a time, and says how far it is."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

import db.migrations

# Any number does, as long as it is always the same: several servers may start at once on one database.
MIGRATION_LOCK = 4_815_162_342


@dataclass(frozen=True, slots=True)
class Revision:
    """Where a database stands: `current` is None when nothing was ever applied to it."""

    current: str | None
    newest: str | None

    @property
    def is_newest(self) -> bool:
        """Whether nothing is pending."""
        return self.current == self.newest


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, independent of the directory we were started in."""
    config = Config()
    config.set_main_option("script_location", str(Path(db.migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


async def upgrade(url: str, *, to: str = "head") -> Revision:
    """Apply the pending migrations in one transaction. `url` is SQLAlchemy's, with its driver.

    A second process that comes meanwhile waits, and finds nothing left to do.
    """
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            # A role may have timeouts of its own; a migration takes the time it takes.
            for timeout in ("lock_timeout", "statement_timeout"):
                await connection.execute(text(f"SET LOCAL {timeout} = 0"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
            await connection.run_sync(lambda sync: command.upgrade(configuration(sync), to))
            return await revision(connection)
    finally:
        await engine.dispose()


async def revision(connection: AsyncConnection) -> Revision:
    """Where the connected database stands."""
    newest = ScriptDirectory.from_config(configuration()).get_current_head()
    current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    return Revision(current, newest)
