"""Rows that fall due, and the lease under which one worker at a time takes care of them.

Every table of due rows that is worked on directly (timers, resources) has the two columns of `Leased`. Taking a row
writes a token and an end; whoever writes for the row names the token, so that a worker whose lease has ended, and whose
row was taken by another, changes nothing. Ledger jobs have their own, finer form of the same: the fence.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Executable, FromClause, Select, Table, Update, and_, or_, select, tuple_, update
from sqlalchemy.orm import Mapped


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
