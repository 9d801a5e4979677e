"""`demo`: the demo data, in a database that is already there."""

import asyncio
import json

import typer

from db.environment import load
from db.session import Database
from db.settings import DatabaseSettings
from server.demo import load_demo


def demo() -> None:
    """Load the demo data into DATABASE_URL where it is not there yet; print a token for each of its people."""
    settings = load(DatabaseSettings)
    typer.echo(json.dumps(asyncio.run(_load(settings)), indent=2))


async def _load(settings: DatabaseSettings) -> dict[str, str]:
    database = await Database.open(settings)
    try:
        return await load_demo(database)
    finally:
        await database.close()
