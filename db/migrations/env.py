"""Alembic's entry: applies the migrations over one connection, given by the caller or opened from DATABASE_URL."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from db.base import Base
from db.migrations import TABLES
from db.settings import DatabaseSettings

# Naming the tables here is what loads every model before metadata is compared.
assert TABLES is not None  # noqa: S101 - an import that is used, so that no tool removes it


def migrate(connection: Connection) -> None:
    """Run the pending migrations in one transaction, so that a failed one leaves nothing behind."""
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=False)
    with context.begin_transaction():
        context.run_migrations()


async def migrate_from_environment() -> None:
    """Open a connection of our own: how `alembic upgrade head` works from the shell."""
    engine = create_async_engine(DatabaseSettings().sqlalchemy_url)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(migrate_from_environment())
else:
    migrate(given)
