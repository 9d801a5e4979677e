"""Writing accounts: what is stored, and that a refusal stores nothing."""

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts import commands
from db.accounts.rules import Role, TeamChanges, Viewer, hash_token
from db.errors import Code, Refused
from db.session import Database, Tx
from tests.support.people import admin, person

NOBODY = UUID(int=7)
Act = Callable[[Tx], Awaitable[Any]]


async def contents(database: Database) -> list[tuple[Any, ...]]:
    """Everything that accounts have stored."""
    rows: list[tuple[Any, ...]] = []
    async with database.transaction() as tx:
        for table in ("users", "teams", "team_members", "api_tokens"):
            rows += [tuple(row) for row in await tx.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))]
    return rows


async def do(database: Database, act: Act) -> Any:
    async with database.transaction() as tx:
        return await act(tx)


async def refused(database: Database, act: Act) -> list[tuple[Code, tuple[str, ...]]]:
    """Why it was refused; and nothing was written."""
    before = await contents(database)
    with pytest.raises(Refused) as refusal:
        await do(database, act)
    assert await contents(database) == before
    return [(problem.code, problem.path) for problem in refusal.value.problems]


async def members(database: Database, team_id: UUID) -> dict[UUID, bool]:
    async with database.transaction() as tx:
        rows = await tx.execute(
            text("SELECT user_id, is_admin FROM team_members WHERE team_id = :team_id"), {"team_id": team_id}
        )
        return {row.user_id: row.is_admin for row in rows}


async def test_a_user_is_made_with_an_address_in_lower_case_and_joins_teams(database: Database) -> None:
    ada = await admin(database)
    team_id = await do(database, lambda tx: commands.create_team(tx, actor=ada, name="Reviewers"))
    user_id = await do(
        database,
        lambda tx: commands.create_user(tx, actor=ada, name=" Bo ", email="BO@b.org", team_ids=[team_id, team_id]),
    )
    assert await members(database, team_id) == {user_id: False}
    async with database.transaction() as tx:
        row = (await tx.execute(text("SELECT name, email, roles, is_active FROM users WHERE name = 'Bo'"))).one()
    assert tuple(row) == ("Bo", "bo@b.org", ["MEMBER"], True)


# The lower case of these came with Unicode 16, which Postgres 18 goes by.
@pytest.mark.parametrize("letter", [chr(0x1C89), chr(0xA7CB)])
async def test_an_address_with_a_capital_that_only_postgres_knows_is_refused(database: Database, letter: str) -> None:
    if unicodedata.unidata_version >= "16":
        # This Python knows it too: there is nothing to refuse.
        return
    ada, bo = await admin(database), await person(database, "Bo")
    email = f"{letter}@example.org"
    acts: list[Act] = [
        lambda tx: commands.create_user(tx, actor=ada, name="Cy", email=email),
        lambda tx: commands.update_user(tx, actor=ada, user_id=bo.user_id, changes={"email": email}, now=tx.now),
    ]
    for act in acts:
        assert await refused(database, act) == [(Code.BAD_USER_INPUT, ("email",))]


async def test_only_an_admin_changes_accounts(database: Database) -> None:
    bo = await person(database, "Bo", Role.EDITOR, Role.MEMBER, Role.SERVICE)
    team = await do(database, _team)
    acts: list[Act] = [
        lambda tx: commands.create_user(tx, actor=bo, name="Cy"),
        lambda tx: commands.update_user(tx, actor=bo, user_id=bo.user_id, changes={"name": "X"}, now=tx.now),
        lambda tx: commands.create_team(tx, actor=bo, name="Team"),
        lambda tx: commands.update_team(
            tx, actor=bo, team_id=team, name="X", is_named=True, changes=TeamChanges(), now=tx.now
        ),
    ]
    for act in acts:
        assert await refused(database, act) == [(Code.FORBIDDEN, ())]


async def _team(tx: Tx) -> UUID:
    made: UUID = (await tx.execute(text("INSERT INTO teams (name) VALUES ('T') RETURNING id"))).scalar_one()
    return made


async def test_a_user_is_refused_with_all_reasons_at_once(database: Database) -> None:
    ada = await admin(database)
    await person(database, "Bo", email="bo@example.org")
    assert await refused(
        database,
        lambda tx: commands.create_user(tx, actor=ada, name="", email="Bo@example.org ", roles=[], team_ids=[NOBODY]),
    ) == [
        (Code.BAD_USER_INPUT, ("name",)),
        (Code.CONFLICT, ("email",)),
        (Code.BAD_USER_INPUT, ("roles",)),
        (Code.NOT_FOUND, ("teamIds", "0")),
    ]


async def test_of_two_users_with_one_address_made_together_one_is_made(database: Database) -> None:
    ada = await admin(database)

    async def make(name: str) -> Any:
        return await do(database, lambda tx: commands.create_user(tx, actor=ada, name=name, email="x@example.org"))

    outcomes = await asyncio.gather(*(make(f"Twin {n}") for n in range(8)), return_exceptions=True)
    made = [each for each in outcomes if isinstance(each, UUID)]
    refusals = [each for each in outcomes if isinstance(each, Refused)]
    assert (len(made), len(refusals)) == (1, 7)
    assert {each.problems[0].code for each in refusals} == {Code.CONFLICT}


async def test_an_update_to_a_taken_address_is_a_conflict_also_for_two_at_once(database: Database) -> None:
    ada = await admin(database)
    people = [await person(database) for _ in range(4)]

    async def claim(who: Viewer) -> Any:
        changes: Any = {"email": "one@example.org"}
        return await do(
            database,
            lambda tx: commands.update_user(tx, actor=ada, user_id=who.user_id, changes=changes, now=tx.now),
        )

    outcomes = await asyncio.gather(*(claim(who) for who in people), return_exceptions=True)
    refusals = [each for each in outcomes if isinstance(each, Refused)]
    assert (outcomes.count(False), len(refusals)) == (1, 3)
    assert {each.problems[0].code for each in refusals} == {Code.CONFLICT}


async def test_an_unknown_user_is_not_found(database: Database) -> None:
    ada = await admin(database)
    assert await refused(
        database, lambda tx: commands.update_user(tx, actor=ada, user_id=NOBODY, changes={}, now=tx.now)
    ) == [(Code.NOT_FOUND, ("userId",))]


async def test_two_admins_who_step_down_together_leave_one(database: Database) -> None:
    pair = [await person(database, "Ada", Role.ADMIN), await person(database, "Bea", Role.ADMIN)]

    async def step_down(who: Viewer) -> Any:
        return await do(
            database,
            lambda tx: commands.update_user(
                tx, actor=who, user_id=who.user_id, changes={"is_active": False}, now=tx.now
            ),
        )

    outcomes = await asyncio.gather(*(step_down(who) for who in pair), return_exceptions=True)
    refusals = [each for each in outcomes if isinstance(each, Refused)]
    assert (outcomes.count(False), len(refusals)) == (1, 1)
    assert [(problem.code, problem.path) for problem in refusals[0].problems] == [(Code.CONFLICT, ("isActive",))]


async def test_admins_of_a_team_are_its_members(database: Database) -> None:
    ada, bo, cy = await admin(database), await person(database), await person(database)
    team_id = await do(
        database,
        lambda tx: commands.create_team(
            tx, actor=ada, name="T", member_ids=[bo.user_id, cy.user_id], admin_ids=[cy.user_id]
        ),
    )
    assert await members(database, team_id) == {bo.user_id: False, cy.user_id: True}


async def test_a_team_is_refused_with_all_reasons_at_once(database: Database) -> None:
    ada = await admin(database)
    gone = await person(database, is_active=False)
    assert await refused(
        database,
        lambda tx: commands.create_team(tx, actor=ada, name=" ", member_ids=[NOBODY], admin_ids=[gone.user_id]),
    ) == [
        (Code.BAD_USER_INPUT, ("name",)),
        (Code.NOT_FOUND, ("memberIds", "0")),
        (Code.BAD_USER_INPUT, ("adminIds", "0")),
    ]


async def test_a_team_changes_its_members_and_name_in_one_request(database: Database) -> None:
    ada, bo, cy, di = await admin(database), await person(database), await person(database), await person(database)
    team_id = await do(
        database,
        lambda tx: commands.create_team(tx, actor=ada, name="Old", member_ids=[bo.user_id], admin_ids=[cy.user_id]),
    )
    changes = TeamChanges(
        add_members=[di.user_id],
        remove_members=[bo.user_id, ada.user_id],
        add_admins=[di.user_id],
        remove_admins=[cy.user_id],
    )
    await do(
        database,
        lambda tx: commands.update_team(
            tx, actor=ada, team_id=team_id, name="New", is_named=True, changes=changes, now=tx.now
        ),
    )
    assert await members(database, team_id) == {cy.user_id: False, di.user_id: True}
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT name FROM teams"))).scalar() == "New"


async def test_a_token_is_stored_as_its_hash_and_prefix_only(database: Database) -> None:
    bo = await person(database)
    issued = await do(
        database,
        lambda tx: commands.create_token(
            tx, actor=bo, user_id=None, name="laptop", roles=None, expires_at=None, now=tx.now
        ),
    )
    async with database.transaction() as tx:
        row = (await tx.execute(text("SELECT * FROM api_tokens"))).mappings().one()
    assert row["token_hash"] == hash_token(issued.secret)
    assert row["prefix"] == issued.secret[:11]
    assert issued.secret.startswith("hf_")
    assert len(issued.secret) == 46
    assert issued.secret not in str(dict(row))


async def test_revoking_is_for_the_owner_and_admins_and_happens_once(database: Database) -> None:
    ada, bo, cy = await admin(database), await person(database), await person(database)
    issued = await do(database, lambda tx: commands.issue_token(tx, user_id=bo.user_id, name="t", roles=[Role.MEMBER]))
    assert await refused(
        database, lambda tx: commands.revoke_token(tx, actor=cy, token_id=issued.token_id, now=tx.now)
    ) == [(Code.NOT_FOUND, ("tokenId",))]
    await do(database, lambda tx: commands.revoke_token(tx, actor=bo, token_id=issued.token_id, now=tx.now))
    revoked = await contents(database)
    await do(database, lambda tx: commands.revoke_token(tx, actor=ada, token_id=issued.token_id, now=tx.now))
    assert await contents(database) == revoked


async def test_the_use_of_a_token_is_noted_at_most_once_a_minute(database: Database) -> None:
    bo = await person(database)
    issued = await do(database, lambda tx: commands.issue_token(tx, user_id=bo.user_id, name="t", roles=[Role.MEMBER]))

    async def note_at(seconds: int) -> Any:
        async def act(tx: Tx) -> Any:
            at = start + timedelta(seconds=seconds)
            await commands.note_tokens_used(tx, token_ids=[issued.token_id, NOBODY], now=at)
            used = (await tx.execute(text("SELECT last_used_at FROM api_tokens"))).scalar_one()
            return (used - start).total_seconds()

        return await do(database, act)

    async with database.transaction() as tx:
        start = tx.now
    assert [await note_at(second) for second in (0, 59, 60, 30)] == [0, 0, 60, 60]


async def test_a_user_is_linked_to_the_identity_provider_once(database: Database) -> None:
    bo = await person(database)
    assert await do(database, lambda tx: commands.link_identity(tx, user_id=bo.user_id, subject="idp|1")) is True
    assert await do(database, lambda tx: commands.link_identity(tx, user_id=bo.user_id, subject="idp|2")) is False


async def test_ensuring_a_user_makes_them_once(database: Database) -> None:
    first = await do(
        database, lambda tx: commands.ensure_user(tx, name="Bo", email="bo@example.org", roles=[Role.MEMBER])
    )
    again = await do(
        database, lambda tx: commands.ensure_user(tx, name="Other", email="BO@example.org", roles=[Role.ADMIN])
    )
    assert again == first
