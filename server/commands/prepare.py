"""`prepare` (for `up` only): check and migrate the database, load the demo data, leave its tokens in a file."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from db.environment import load
from db.session import Database
from db.settings import DatabaseSettings, RedisSettings
from server.demo import load_demo
from server.demo.people import address_of
from server.doctor import refuse_old_database
from server.home import write_private
from server.migrations import upgrade

STRANGERS = """
SELECT EXISTS (SELECT FROM users) AND NOT EXISTS (SELECT FROM users WHERE email = $1) AS strangers
"""


def prepare(tokens: Annotated[Path, typer.Option(help="Where to leave the demo people's tokens.")]) -> None:
    """Bring the database to where the server and a worker can use it."""
    settings = load(DatabaseSettings)
    load(RedisSettings)
    # Tokens that somebody has noted stay good over restarts.
    known = json.loads(tokens.read_text()) if tokens.exists() else {}
    write_private(tokens, json.dumps(asyncio.run(_prepare(settings, known)), indent=2))


async def _prepare(settings: DatabaseSettings, known: Mapping[str, str]) -> dict[str, str]:
    await refuse_old_database(settings)
    await upgrade(settings.sqlalchemy_url)
    database = await Database.open(settings)
    try:
        # A database with people of its own is somebody's: ten strangers with tokens have no place there.
        found = await database.reader.fetch(STRANGERS, [address_of("admin")])
        return {} if found[0]["strangers"] else await load_demo(database, known=known)
    finally:
        await database.close()
