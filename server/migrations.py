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
from db.errors import SetupError

# Any number does, as long as it is always the same: several servers may start at once on one database.
MIGRATION_LOCK = 4_815_162_342


@dataclass(frozen=True, slots=True)
class Revision:
    """Where a database stands: `current` is None when nothing was ever applied to it.

    `is_known` is false where a newer version of the program has applied what this one does not have.
    """

    current: str | None
    newest: str | None
    is_known: bool = True

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

    A second process that comes meanwhile waits, and finds nothing left to do. Raises SetupError where `to` is behind or
    unknown.
    """
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            # A role may have timeouts of its own; a migration takes the time it takes.
            for timeout in ("lock_timeout", "statement_timeout"):
                await connection.execute(text(f"SET LOCAL {timeout} = 0"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
            _refuse_what_is_not_ahead(await revision(connection), to)
            await connection.run_sync(lambda sync: command.upgrade(configuration(sync), to))
            return await revision(connection)
    finally:
        await engine.dispose()


async def revision(connection: AsyncConnection) -> Revision:
    """Where the connected database stands."""
    current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    known = _known()
    return Revision(current, known[-1], is_known=current is None or current in known)


def _known() -> list[str]:
    """The revisions of this version of the program, oldest first."""
    return [each.revision for each in ScriptDirectory.from_config(configuration()).walk_revisions()][::-1]


def _refuse_what_is_not_ahead(found: Revision, to: str) -> None:
    known = _known()
    if not found.is_known:
        raise SetupError(
            f"The database is at revision {found.current}, which a newer version of this program has made: the newest "
            f"here is {found.newest}. Nothing was changed. Use that version, or a newer one."
        )
    if to not in {"head", *known}:
        raise SetupError(f"There is no revision {to!r}. Right would be: head, or one of {known[0]} to {known[-1]}.")
    if found.current is not None and to != "head" and known.index(to) < known.index(found.current):
        raise SetupError(
            f"The database is at revision {found.current}, which is past {to}. Nothing was changed: migrations only go "
            "forward, and a backup is the way back."
        )
