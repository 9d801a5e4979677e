"""`token`: let somebody in from the command line, as for the first ADMIN of a new deployment."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy import func, or_, select

from db.accounts.commands import ensure_user, issue_token
from db.accounts.models import User
from db.accounts.rules import Role, raise_problems, text_problem
from db.environment import SetupError, load
from db.session import Database, Tx
from db.settings import DatabaseSettings
from server.attached import attach
from server.doctor import refuse_unready_database

LONGEST_DAYS = 36_500


def token(
    who: Annotated[str, typer.Argument(help="A user's e-mail address or name.")],
    name: Annotated[str, typer.Option(help="What the token is for.")] = "command line",
    days: Annotated[
        int, typer.Option(min=0, max=LONGEST_DAYS, help="How long it is good for; 0: until it is revoked.")
    ] = 30,
    create: Annotated[
        str, typer.Option(help="Make the user with this role (ADMIN, EDITOR, MEMBER, SERVICE) where there is none.")
    ] = "",
) -> None:
    """Make an API token for a user and print it. It is shown only now: the database keeps a hash."""
    attach()
    settings = load(DatabaseSettings)
    if create and create not in Role.__members__:
        raise SetupError(f"--create {create}: must be one of {', '.join(Role.__members__)}.")
    raise_problems([text_problem(name, "name")])
    typer.echo(asyncio.run(_make(settings, who, name, days, create)))


async def _make(settings: DatabaseSettings, who: str, name: str, days: int, create: str) -> str:
    await refuse_unready_database(settings)
    database = await Database.open(settings)
    try:
        async with database.transaction() as tx:
            user = await _find(tx, who)
            if user is None and create:
                await ensure_user(tx, name=who.partition("@")[0], email=who, roles=[Role[create]])
                user = await _find(tx, who)
            if user is None:
                raise SetupError(
                    f"There is no active user with the address or name {who!r}. "
                    "With an e-mail address, --create MEMBER makes one."
                )
            until = tx.now + timedelta(days=days) if days else None
            issued = await issue_token(tx, user_id=user.id, name=name, roles=user.roles, expires_at=until)
    finally:
        await database.close()
    return issued.secret


async def _find(tx: Tx, who: str) -> User | None:
    """The one active user so called. Raises SetupError where there are several."""
    wanted = select(User).where(User.is_active, or_(User.email == who.lower(), func.lower(User.name) == who.lower()))
    found = (await tx.scalars(wanted.order_by(User.id).limit(3))).all()
    exact = [user for user in found if user.email == who.lower()]
    if len(exact or found) > 1:
        addresses = ", ".join(sorted(user.email or "(none)" for user in found))
        raise SetupError(f"Several users are called {who!r}; name one by address: {addresses}.")
    return next(iter(exact or found), None)
