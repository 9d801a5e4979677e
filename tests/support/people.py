"""People for tests: made in a line, ready to act."""

from collections.abc import Collection
from datetime import datetime
from itertools import count

from sqlalchemy import select

from db.accounts.models import User
from db.accounts.rules import Role, Viewer
from db.session import Database

_NUMBERS = count(1)


async def person(
    database: Database,
    name: str = "",
    *roles: Role,
    email: str | None = None,
    is_active: bool = True,
) -> Viewer:
    """Somebody new, as they would act. Without roles they are a MEMBER; without an address they have none."""
    async with database.transaction() as tx:
        user = User(
            name=name or f"Person {next(_NUMBERS)}",
            email=email,
            roles=list(roles or (Role.MEMBER,)),
            is_active=is_active,
        )
        await tx.insert(user)
    return Viewer(user.id, user.name, frozenset(user.roles))


async def admin(database: Database) -> Viewer:
    """Somebody who may do everything."""
    return await person(database, "Ada Admin", Role.ADMIN)


async def users_named(database: Database, names: Collection[str]) -> dict[str, User]:
    """The stored users of these names, by name."""
    async with database.transaction() as tx:
        found = await tx.scalars(select(User).where(User.name.in_(names)))
        return {user.name: user for user in found}


async def now_of(database: Database) -> datetime:
    """The database's time."""
    async with database.transaction() as tx:
        return tx.now
