"""`migrate`: bring the database to the newest schema."""

import asyncio

import typer

from db.environment import load
from db.settings import DatabaseSettings
from server.doctor import refuse_old_database
from server.migrations import upgrade


def migrate(to: str = "head") -> None:
    """Apply the pending migrations to DATABASE_URL, all in one transaction."""
    settings = load(DatabaseSettings)
    asyncio.run(refuse_old_database(settings))
    revision = asyncio.run(upgrade(settings.sqlalchemy_url, to=to))
    typer.echo(f"The database is at revision {revision.current}; the newest is {revision.newest}.")
