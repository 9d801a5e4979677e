"""`demo`: the demo data, in a database that is already there."""

import asyncio
import json
from collections.abc import Mapping

import typer

from db.environment import load
from db.session import Database
from db.settings import DatabaseSettings
from server.attached import attach
from server.demo import load_demo
from server.doctor import refuse_unready_database
from server.home import Home
from server.settings import HomeSettings


def demo() -> None:
    """Load the demo data into DATABASE_URL where it is not there yet; print a token for each of its people.

    Those that `up` gave here are printed again while they are good; else one more is made, and earlier ones stay good.
    """
    attach()
    settings = load(DatabaseSettings)
    typer.echo(json.dumps(asyncio.run(_load(settings, Home(load(HomeSettings).data.absolute()).tokens())), indent=2))


async def _load(settings: DatabaseSettings, known: Mapping[str, str]) -> dict[str, str]:
    await refuse_unready_database(settings)
    database = await Database.open(settings)
    try:
        return await load_demo(database, known=known)
    finally:
        await database.close()
