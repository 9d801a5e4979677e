"""Rows that fall due, and the lease under which one worker at a time takes care of them.

Every table of due rows that is worked on directly (timers, resources) has the two columns of `Leased`. Taking a row
writes a token and an end; whoever writes for the row names the token, so that a worker whose lease has ended, and whose
row was taken by another, changes nothing. Ledger jobs have their own, finer form of the same: the fence.

`Lead` is for what one process does so that the others need not: no row is due there, and nothing that is written may
depend on it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import ColumnElement, Executable, FromClause, Select, Table, Update, and_, or_, select, tuple_, update
from sqlalchemy.orm import Mapped

from db.connecting import driver_options
from db.settings import DatabaseSettings


class Leased:
    """The columns of a row that workers take care of. Both are filled, or neither."""

    lease_token: Mapped[uuid.UUID | None]
    leased_until: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class DueSource:
    """Rows that fall due, by name. `question` selects them; it is only asked whether there is one.

    Its time is `sql_now()`. It must be answered from an index, for every worker asks it every second.
    """

    name: str
    question: Select[Any]


def free(source: FromClause, *, now: ColumnElement[datetime] | datetime) -> ColumnElement[bool]:
    """Nobody takes care of the row: it has no lease, or one that is over."""
    return or_(source.c.leased_until.is_(None), source.c.leased_until <= now)


def take(
    table: Table,
    *,
    due: ColumnElement[bool],
    order_by: Sequence[ColumnElement[Any]],
    limit: int,
    token: UUID,
    now: datetime,
    lease: timedelta,
) -> Executable:
    """Lease the first due rows that nobody else has, and return them whole. Rows being taken by others are left out."""
    keys = list(table.primary_key)
    picked = (
        select(*keys)
        .where(due, free(table, now=now))
        .order_by(*order_by)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).subquery()
    return (
        update(table)
        .where(tuple_(*keys).in_(select(*picked.c)))
        .values(lease_token=token, leased_until=now + lease)
        .returning(table)
    )


def held(source: FromClause, *, token: UUID) -> ColumnElement[bool]:
    """The row is still ours: part of the WHERE of whatever is written for it."""
    condition: ColumnElement[bool] = source.c.lease_token == token
    return condition


def let_go(table: Table, *, row: ColumnElement[bool], token: UUID) -> Update:
    """End the lease of a row that is ours; somebody else's stays."""
    return update(table).where(and_(row, held(table, token=token))).values(lease_token=None, leased_until=None)


class Lead:
    """A lock that one process has at a time, held by a connection of its own for as long as that lives.

    A process that dies loses it at once. One that is frozen or cut off loses it when it has not used the connection for
    `lease_seconds`: Postgres ends the session.
    """

    def __init__(self, connection: "asyncpg.Connection[Any]", number: int) -> None:
        self.connection = connection
        self._number = number

    @classmethod
    async def open(cls, settings: DatabaseSettings, *, number: int, lease_seconds: float) -> "Lead":
        """Connect; the lock is not held yet. `number` says which lock, among all of the database."""
        lease_ms = int(lease_seconds * 1000)
        settings = settings.model_copy(
            update={
                "application_name": f"{settings.application_name} lead",
                "silence_timeout_ms": min(settings.silence_timeout_ms, lease_ms // 2),
            }
        )
        options = driver_options(settings)
        options["server_settings"]["idle_session_timeout"] = str(lease_ms)
        connection = await asyncpg.connect(
            settings.driver_dsn, **{**options, "timeout": lease_seconds, "command_timeout": lease_seconds}
        )
        return cls(connection, number)

    async def take(self) -> bool:
        """Take the lock if nobody has it. Whether it is ours; to be asked while it is not."""
        return bool(await self.connection.fetchval("SELECT pg_try_advisory_lock($1)", self._number))

    async def close(self) -> None:
        """Let the lock go and the connection too."""
        try:
            await self.connection.close(timeout=1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.connection.terminate()
