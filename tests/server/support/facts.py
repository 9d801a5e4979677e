"""Waiting for facts about a server in the test's own loop, and bringing some about."""

import asyncio
from collections.abc import Callable

from sqlalchemy import select

from db.accounts.commands import revoke_token
from db.accounts.models import ApiToken
from db.accounts.rules import Viewer
from db.session import Database
from tests.support.facts import PATIENCE_SECONDS


async def until(fact: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.01)


async def revoke_all(database: Database, actor: Viewer) -> None:
    """End every token."""
    async with database.transaction() as tx:
        for token in await tx.scalars(select(ApiToken.id)):
            await revoke_token(tx, actor=actor, token_id=token, now=tx.now)
