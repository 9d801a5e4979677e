"""Leases of due rows: one worker at a time, and whoever has lost the row changes nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Uuid, select, text, update

from db.leases import free, held, let_go, take
from db.session import Database

LEASE = timedelta(seconds=30)

_TIMERS = Table(
    "lease_timers",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("due_at", DateTime(timezone=True)),
    Column("lease_token", Uuid),
    Column("leased_until", DateTime(timezone=True)),
)


@pytest.fixture
async def timers(database: Database) -> Table:
    """Ten rows, the first five of which are due."""
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "CREATE TABLE lease_timers (id integer PRIMARY KEY, due_at timestamptz, lease_token uuid,"
                " leased_until timestamptz)"
            )
        )
        await tx.execute(
            text(
                "INSERT INTO lease_timers"
                " SELECT n, now() + make_interval(mins => 60 * n - 330) FROM generate_series(1, 10) n"
            )
        )
    return _TIMERS


async def taken(database: Database, *, limit: int = 10, token: UUID | None = None) -> list[int]:
    """Take what is due; the ids."""
    async with database.transaction() as tx:
        statement = take(
            _TIMERS,
            due=_TIMERS.c.due_at <= tx.now,
            order_by=[_TIMERS.c.due_at],
            limit=limit,
            token=token or uuid4(),
            now=tx.now,
            lease=LEASE,
        )
        return sorted(row.id for row in (await tx.execute(statement)).all())


async def test_the_first_due_rows_are_taken_and_nobody_else_gets_them(database: Database, timers: Table) -> None:
    assert await taken(database, limit=2) == [1, 2]
    assert await taken(database) == [3, 4, 5]
    assert await taken(database) == []


async def test_two_at_once_never_take_the_same_row(database: Database, timers: Table) -> None:
    got = await asyncio.gather(*[taken(database, limit=2) for _ in range(4)])
    rows = [row for each in got for row in each]
    assert len(rows) == len(set(rows))
    assert set(rows) | set(await taken(database)) == {1, 2, 3, 4, 5}


async def test_a_lease_that_is_over_can_be_taken_by_another(database: Database, timers: Table) -> None:
    await taken(database)
    database.clock.shift += LEASE - timedelta(seconds=5)
    assert await taken(database) == []
    database.clock.shift += timedelta(seconds=6)
    assert await taken(database) == [1, 2, 3, 4, 5]


async def test_whoever_has_lost_the_row_changes_nothing(database: Database, timers: Table) -> None:
    first, second = uuid4(), uuid4()
    await taken(database, limit=1, token=first)
    database.clock.shift += LEASE * 2
    await taken(database, limit=1, token=second)
    async with database.transaction() as tx:
        row = _TIMERS.c.id == 1
        moved = await tx.execute(
            update(_TIMERS).where(row, held(_TIMERS, token=first)).values(due_at=None).returning(_TIMERS.c.id)
        )
        assert moved.all() == []
        await tx.execute(let_go(_TIMERS, row=row, token=first))
        token = (await tx.execute(select(_TIMERS.c.lease_token).where(row))).scalar_one()
    assert token == second


async def test_a_row_that_is_let_go_is_free_at_once(database: Database, timers: Table) -> None:
    token = uuid4()
    await taken(database, limit=1, token=token)
    async with database.transaction() as tx:
        await tx.execute(let_go(_TIMERS, row=_TIMERS.c.id == 1, token=token))
    assert await taken(database, limit=1) == [1]


async def test_free_is_a_condition_of_its_own(database: Database, timers: Table) -> None:
    await taken(database, limit=3)
    async with database.transaction() as tx:
        rows = await tx.execute(select(_TIMERS.c.id).where(free(_TIMERS, now=tx.now)).order_by(_TIMERS.c.id))
        assert list(rows.scalars()) == [4, 5, 6, 7, 8, 9, 10]
        everything = free(_TIMERS, now=datetime.max.replace(tzinfo=UTC))
        assert len((await tx.execute(select(_TIMERS.c.id).where(everything))).all()) == 10
