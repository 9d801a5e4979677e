"""Who is recognised, and what each may see of the others."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from db.accounts import commands
from db.accounts.queries import (
    API_TOKEN,
    TEAM,
    TEAMS_BY_NAME,
    TOKENS_OF_USER,
    USER,
    USERS_BY_NAME,
    authenticate,
    may_list_users,
    still_good,
    viewer_for_identity,
)
from db.accounts.rules import Role, TeamChanges, Viewer, hash_token
from db.reading import Reading, Want, want
from db.session import Database
from tests.support.people import admin, now_of, person

LATER = datetime(2100, 1, 1, tzinfo=UTC)


async def token_of(database: Database, who: Viewer, *roles: Role, expires_at: datetime | None = None) -> str:
    async with database.transaction() as tx:
        issued = await commands.issue_token(
            tx, user_id=who.user_id, name="t", roles=roles or (Role.MEMBER,), expires_at=expires_at
        )
    return issued.secret


async def recognised(database: Database, secret: str) -> Viewer | None:
    return await authenticate(database.reader, token_hash=hash_token(secret))


async def set_user(database: Database, who: Viewer, **changes: Any) -> None:
    root = await admin(database)
    async with database.transaction() as tx:
        await commands.update_user(tx, actor=root, user_id=who.user_id, changes=changes, now=tx.now)  # type: ignore[arg-type]  # any of its keys


async def test_a_token_is_recognised_in_one_statement(database: Database) -> None:
    bo = await person(database, "Bo", Role.ADMIN, Role.MEMBER)
    secret = await token_of(database, bo, Role.MEMBER, expires_at=LATER)
    before = database.reader.statements
    viewer = await recognised(database, secret)
    assert database.reader.statements == before + 1
    assert viewer is not None
    assert (viewer.user_id, viewer.name, viewer.roles, viewer.expires_at) == (
        bo.user_id,
        "Bo",
        frozenset({Role.MEMBER}),
        LATER,
    )


async def test_recognising_writes_nothing(database: Database) -> None:
    bo = await person(database)
    await recognised(database, await token_of(database, bo))
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT last_used_at FROM api_tokens"))).scalar() is None


async def test_a_wrong_a_revoked_and_an_expired_token_are_nobodys(database: Database) -> None:
    bo = await person(database)
    secret = await token_of(database, bo, expires_at=await now_of(database) + timedelta(hours=1))
    viewer = await recognised(database, secret)
    assert viewer is not None
    assert await recognised(database, secret + "x") is None
    database.clock.shift = timedelta(hours=1)
    assert await recognised(database, secret) is None
    database.clock.shift = timedelta()
    async with database.transaction() as tx:
        await commands.revoke_token(tx, actor=bo, token_id=viewer.token_id or UUID(int=0), now=tx.now)
    assert await recognised(database, secret) is None


async def test_the_tokens_of_an_inactive_user_stop_working_and_work_again_with_them(database: Database) -> None:
    bo = await person(database)
    secret = await token_of(database, bo)
    await set_user(database, bo, is_active=False)
    assert await recognised(database, secret) is None
    await set_user(database, bo, is_active=True)
    assert await recognised(database, secret) is not None


async def test_a_role_that_its_owner_lost_is_lost_to_the_token(database: Database) -> None:
    bo = await person(database, "Bo", Role.EDITOR, Role.MEMBER)
    secret = await token_of(database, bo, Role.EDITOR, Role.MEMBER)
    await set_user(database, bo, roles=[Role.MEMBER])
    viewer = await recognised(database, secret)
    assert viewer is not None
    assert viewer.roles == {Role.MEMBER}


async def identified(database: Database, who: Viewer, roles: list[Role] | None) -> Viewer:
    """The same person as an identity provider's token shows them."""
    async with database.transaction() as tx:
        await commands.link_identity(tx, user_id=who.user_id, subject=who.name)
    viewer = await viewer_for_identity(database.reader, subject=who.name, email=None, roles=roles, expires_at=LATER)
    assert viewer is not None
    return viewer


async def test_an_identity_is_known_by_its_subject_then_by_its_address(database: Database) -> None:
    bo = await person(database, "Bo", email="bo@example.org")

    async def identity(subject: str, email: str | None) -> UUID | None:
        viewer = await viewer_for_identity(database.reader, subject=subject, email=email, roles=None, expires_at=LATER)
        return viewer.user_id if viewer else None

    assert await identity("s1", None) is None
    assert await identity("s1", " BO@example.org") == bo.user_id
    async with database.transaction() as tx:
        await commands.link_identity(tx, user_id=bo.user_id, subject="s1")
    assert await identity("s1", "moved@example.org") == bo.user_id
    assert await identity("s2", "bo@example.org") is None
    await set_user(database, bo, is_active=False)
    assert await identity("s1", None) is None


async def test_an_identitys_own_roles_are_in_force(database: Database) -> None:
    await person(database, "Bo", Role.MEMBER, email="bo@example.org")

    async def roles(given: list[Role] | None) -> frozenset[Role] | None:
        viewer = await viewer_for_identity(
            database.reader, subject="s", email="bo@example.org", roles=given, expires_at=LATER
        )
        return viewer.roles if viewer else None

    assert await roles(None) == frozenset({Role.MEMBER})
    assert await roles([Role.EDITOR]) == frozenset({Role.EDITOR})


async def test_viewers_are_looked_at_again_together_in_one_statement(database: Database) -> None:
    bo, cy = await person(database, "Bo"), await person(database, "Cy")
    tokens = [await recognised(database, await token_of(database, who)) for who in (bo, cy)]
    held = [viewer for viewer in tokens if viewer is not None]
    by_provider = await identified(database, await person(database, "Di"), None)
    await set_user(database, bo, name="Bo B")
    async with database.transaction() as tx:
        await commands.revoke_token(tx, actor=cy, token_id=held[1].token_id or UUID(int=0), now=tx.now)
    before = database.reader.statements
    now = await still_good(database.reader, viewers=[*held, by_provider])
    assert database.reader.statements == before + 1
    assert [viewer and viewer.name for viewer in now] == ["Bo B", None, "Di"]


async def test_roles_that_are_lost_later_stay_only_where_the_provider_gave_them(database: Database) -> None:
    bo, cy = await person(database, "Bo", Role.ADMIN), await person(database, "Cy", Role.ADMIN)
    seen_before = [await identified(database, bo, None), await identified(database, cy, [Role.ADMIN])]
    for who in (bo, cy):
        await set_user(database, who, roles=[Role.MEMBER])
    now = await still_good(database.reader, viewers=seen_before)
    assert [viewer.roles for viewer in now if viewer] == [{Role.MEMBER}, {Role.ADMIN}]
    # And they are found again when they come back.
    await set_user(database, bo, roles=[Role.EDITOR])
    again = await still_good(database.reader, viewers=[viewer for viewer in now if viewer])
    assert [viewer.roles for viewer in again if viewer] == [{Role.EDITOR}, {Role.ADMIN}]
    assert [viewer.expires_at for viewer in again if viewer] == [LATER, LATER]


# --- what may be seen -------------------------------------------------------------------------------------------------


async def seen(database: Database, viewer: Viewer, who: Viewer, *names: str | Want) -> Any:
    return await Reading(database.reader, viewer).one(USER, want(*names), who.user_id)


async def make_team(database: Database, name: str, members: list[Viewer], admins: list[Viewer]) -> UUID:
    root = await admin(database)
    async with database.transaction() as tx:
        return await commands.create_team(
            tx,
            actor=root,
            name=name,
            member_ids=[each.user_id for each in members],
            admin_ids=[each.user_id for each in admins],
        )


async def test_an_address_is_for_oneself_for_editors_and_for_the_admins_of_ones_team(database: Database) -> None:
    bo = await person(database, "Bo", email="bo@example.org")
    mate, boss = await person(database, "Mate"), await person(database, "Boss")
    stranger, editor = await person(database, "Stranger"), await person(database, "Ed", Role.EDITOR)
    await make_team(database, "T", [bo, mate], [boss])
    emails = {each.name: (await seen(database, each, bo, "email")).email for each in (bo, mate, boss, stranger, editor)}
    assert emails == {
        "Bo": "bo@example.org",
        "Mate": None,
        "Boss": "bo@example.org",
        "Stranger": None,
        "Ed": "bo@example.org",
    }


async def test_a_team_is_seen_by_its_members_and_by_editors(database: Database) -> None:
    bo, stranger, editor = await person(database), await person(database), await person(database, "Ed", Role.EDITOR)
    await make_team(database, "Blue", [bo], [])
    await make_team(database, "amber", [], [bo])

    async def names(viewer: Viewer) -> list[str]:
        page = await Reading(database.reader, viewer).page(TEAM, want("name"), TEAMS_BY_NAME, name="teams")
        return [row.name for row in page.nodes]

    assert await names(bo) == ["amber", "Blue"]
    assert await names(stranger) == []
    assert await names(editor) == ["amber", "Blue"]
    row = await seen(database, stranger, bo, "name", Want("teams", want("name").wants))
    assert row.teams == []


async def test_people_are_paged_by_name_whatever_its_case_with_two_statements_for_page_and_count(
    database: Database,
) -> None:
    editor = await person(database, "Ed", Role.EDITOR)
    for name in ("bea", "Al", "Cy", "al"):
        await person(database, name)
    reading = Reading(database.reader, editor)
    wanted = Want("", want("name").wants, {"first": 3}, counts=True)
    before = database.reader.statements
    page = await reading.page(USER, wanted, USERS_BY_NAME, name="users")
    assert database.reader.statements == before + 2
    assert [row.name for row in page.nodes] == ["Al", "al", "bea"]
    assert (page.has_next_page, page.total_count) == (True, 5)
    after = Want("", want("name").wants, {"first": 3, "after": page.cursors[-1]})
    assert [row.name for row in (await reading.page(USER, after, USERS_BY_NAME, name="users")).nodes] == ["Cy", "Ed"]


async def test_a_search_finds_names_and_the_addresses_one_may_see_and_takes_wildcards_literally(
    database: Database,
) -> None:
    editor = await person(database, "Ed", Role.EDITOR)
    boss = await person(database, "Boss")
    await person(database, "50% off")
    await person(database, "Ann", email="secret@example.org")
    await make_team(database, "T", [], [boss])

    async def found(viewer: Viewer, search: str) -> list[str]:
        wanted = Want("", want("name").wants, {"search": search})
        page = await Reading(database.reader, viewer).page(USER, wanted, USERS_BY_NAME, name="users")
        return [row.name for row in page.nodes]

    assert await found(editor, "%") == ["50% off"]
    assert await found(editor, "SECRET") == ["Ann"]
    assert await found(boss, "secret") == []
    assert await found(boss, " ann ") == ["Ann"]


async def test_a_team_with_members_admins_and_count_is_four_statements(database: Database) -> None:
    people = [await person(database, f"M{n}") for n in range(5)]
    team_id = await make_team(database, "T", people[:4], [people[4], people[0]])
    members = Want("members", want("name", "email").wants, {"first": 2}, counts=True)
    wanted = want("name", members, Want("admins", want("name").wants))
    before = database.reader.statements
    row: Any = await Reading(database.reader, people[1]).one(TEAM, wanted, team_id)
    assert database.reader.statements == before + 4
    assert [each.name for each in row.members.nodes] == ["M0", "M1"]
    assert row.members.total_count == 5
    assert [each.name for each in row.admins] == ["M0", "M4"]
    async with database.transaction() as tx:
        await commands.update_team(
            tx,
            actor=await admin(database),
            team_id=team_id,
            name=None,
            is_named=False,
            changes=TeamChanges(remove_members=[people[1].user_id]),
            now=tx.now,
        )
    assert await Reading(database.reader, people[1]).one(TEAM, wanted, team_id) is None


async def test_tokens_are_seen_by_their_owner_and_admins_newest_first(database: Database) -> None:
    bo, other, root = await person(database, "Bo"), await person(database), await admin(database)
    await token_of(database, bo)
    await token_of(database, bo)

    async def tokens(viewer: Viewer) -> list[Any]:
        wanted = want("prefix", "created_at", Want("owner", want("name").wants))
        reading = Reading(database.reader, viewer)
        found = await reading.below(API_TOKEN, wanted, TOKENS_OF_USER, [bo.user_id], name="tokens")
        rows: list[Any] = found.get(bo.user_id, [])
        return rows

    own = await tokens(bo)
    assert [row.owner.name for row in own] == ["Bo", "Bo"]
    assert own[0].created_at > own[1].created_at
    assert await tokens(root) == own
    assert await tokens(other) == []


async def test_people_are_listed_for_editors_and_team_admins(database: Database) -> None:
    bo, boss, editor = await person(database), await person(database), await person(database, "Ed", Role.EDITOR)
    await make_team(database, "T", [bo], [boss])
    assert [await may_list_users(database.reader, each) for each in (bo, boss, editor)] == [False, True, True]
