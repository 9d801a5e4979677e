"""`migrate`: bring the database to the newest schema."""

import asyncio
from typing import Annotated

import typer

from db.environment import load
from db.settings import DatabaseSettings
from server.doctor import refuse_old_database
from server.migrations import upgrade


def migrate(
    to: Annotated[
        str, typer.Option(help="The revision to go to, as 0012; head: the newest. Only forward, never back.")
    ] = "head",
) -> None:
    """Apply the pending migrations to DATABASE_URL, all in one transaction."""
    settings = load(DatabaseSettings)
    asyncio.run(refuse_old_database(settings))
    revision = asyncio.run(upgrade(settings.sqlalchemy_url, to=to))
    typer.echo(f"The database is at revision {revision.current}; the newest is {revision.newest}.")
