"""Accounts through the API: people, teams, tokens, and who is signed in."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.queries import authenticate
from db.accounts.rules import Role, Viewer, hash_token
from db.session import Database
from resolvers.ids import decode_id
from tests.support.api import Api, id_of
from tests.support.courses import make_class, make_course, roster
from tests.support.people import admin, now_of, person

NOTHING = id_of("User", UUID(int=7))


async def everything(database: Database) -> list[Any]:
    async with database.transaction() as tx:
        tables = ("users", "teams", "team_members", "api_tokens", "enrollments", "jobs")
        return [
            [tuple(row) for row in await tx.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))] for table in tables
        ]


def user_id(viewer: Viewer) -> str:
    return id_of("User", viewer.user_id)


async def test_the_viewer_is_who_is_signed_in_with_the_roles_of_this_request(database: Database) -> None:
    bo = await person(database, "Bo", Role.EDITOR, Role.MEMBER, email="bo@example.org")
    narrow = Viewer(bo.user_id, "Bo", frozenset({Role.MEMBER}))
    shown = await Api(database, narrow).data(
        "{ viewer { roles user { id name email roles isActive teams { name } } } }"
    )
    assert shown["viewer"] == {
        "roles": ["MEMBER"],
        "user": {
            "id": user_id(bo),
            "name": "Bo",
            "email": "bo@example.org",
            "roles": ["EDITOR", "MEMBER"],
            "isActive": True,
            "teams": [],
        },
    }


@pytest.mark.parametrize(
    "query",
    [
        "{ viewer { roles } }",
        "{ users { nodes { id } } }",
        "{ teams { nodes { id } } }",
        "{ courses { nodes { id } } }",
        '{ node(id: "x") { id } }',
        'mutation { createTeam(input: {name: "T"}) { team { id } } }',
    ],
)
async def test_nobody_sees_or_does_anything_without_signing_in(database: Database, query: str) -> None:
    before = await everything(database)
    body = await Api(database, None).ask(query)
    assert [error["extensions"]["code"] for error in body["errors"]] == ["UNAUTHENTICATED"]
    assert await everything(database) == before


async def test_a_user_is_made_changed_and_found_again(database: Database) -> None:
    api = Api(database, await admin(database))
    team = (await api.does("createTeam", {"name": "Blue"}, "team { id }"))["team"]
    made = await api.does(
        "createUser",
        {"name": "Bo", "email": "BO@example.org", "roles": ["EDITOR"], "teamIds": [team["id"]]},
        "user { id name email roles isActive teams { name } }",
    )
    assert made["user"] == {
        "id": made["user"]["id"],
        "name": "Bo",
        "email": "bo@example.org",
        "roles": ["EDITOR"],
        "isActive": True,
        "teams": [{"name": "Blue"}],
    }
    changed = await api.does(
        "updateUser", {"userId": made["user"]["id"], "email": None, "isActive": False}, "user { name email isActive }"
    )
    assert changed["user"] == {"name": "Bo", "email": None, "isActive": False}
    found = await api.data(
        "query ($id: ID!) { node(id: $id) { __typename ... on User { name } } }", id=made["user"]["id"]
    )
    assert found["node"] == {"__typename": "User", "name": "Bo"}


async def test_users_are_refused_with_all_reasons_at_their_paths_and_nothing_is_written(database: Database) -> None:
    root = await admin(database)
    bo = await person(database, "Bo", email="bo@example.org")
    before = await everything(database)
    api = Api(database, root)
    assert await api.refused(
        "createUser", {"name": " ", "email": "bo@example.org", "roles": [], "teamIds": ["nonsense", user_id(bo)]}
    ) == [
        ("BAD_USER_INPUT", "input.name"),
        ("CONFLICT", "input.email"),
        ("BAD_USER_INPUT", "input.roles"),
        ("NOT_FOUND", "input.teamIds.0"),
        ("NOT_FOUND", "input.teamIds.1"),
    ]
    assert await api.refused("updateUser", {"userId": NOTHING, "name": "X"}) == [("NOT_FOUND", "input.userId")]
    assert await api.refused("updateUser", {"userId": user_id(bo), "name": None, "isActive": None}) == [
        ("BAD_USER_INPUT", "input.name"),
        ("BAD_USER_INPUT", "input.isActive"),
    ]
    assert await Api(database, bo).refused("updateUser", {"userId": user_id(bo), "roles": ["ADMIN"]}) == [
        ("FORBIDDEN", "")
    ]
    assert await everything(database) == before


async def test_a_user_who_gets_an_address_joins_the_classes_that_wait_for_it(database: Database) -> None:
    root, teacher = await admin(database), await person(database, "Tea")
    course_id = await make_course(database, root)
    class_id = await make_class(database, root, teacher, course_id=course_id)
    api = Api(database, root)
    await api.does("enroll", {"classId": id_of("CourseClass", class_id), "emails": ["new@example.org"]}, "pending")
    await api.does("createUser", {"name": "Newt", "email": "new@example.org"}, "user { id }")
    assert await roster(database, class_id) == [("newt", "ACTIVE")]


async def test_a_team_shows_its_members_by_name_and_its_admins(database: Database) -> None:
    root, bo, al = await admin(database), await person(database, "bo"), await person(database, "Al")
    selection = "team { name admins { name } members(first: 1) { nodes { name } totalCount pageInfo { hasNextPage } } }"
    made = await Api(database, root).does(
        "createTeam", {"name": "Blue", "memberIds": [user_id(bo)], "adminIds": [user_id(al)]}, selection
    )
    assert made["team"] == {
        "name": "Blue",
        "admins": [{"name": "Al"}],
        "members": {"nodes": [{"name": "Al"}], "totalCount": 2, "pageInfo": {"hasNextPage": True}},
    }


async def test_a_team_is_changed_in_one_request_or_not_at_all(database: Database) -> None:
    root, bo, al = await admin(database), await person(database, "Bo"), await person(database, "Al")
    api = Api(database, root)
    team = (await api.does("createTeam", {"name": "Blue", "memberIds": [user_id(bo)]}, "team { id }"))["team"]["id"]
    before = await everything(database)
    assert await api.refused(
        "updateTeam",
        {"teamId": team, "name": None, "addMemberIds": [user_id(al), NOTHING], "removeMemberIds": [user_id(al)]},
    ) == [
        ("BAD_USER_INPUT", "input.name"),
        ("NOT_FOUND", "input.addMemberIds.1"),
        ("BAD_USER_INPUT", "input.removeMemberIds.0"),
    ]
    assert await api.refused("updateTeam", {"teamId": user_id(bo)}) == [("NOT_FOUND", "input.teamId")]
    assert await everything(database) == before
    changed = await api.does(
        "updateTeam",
        {"teamId": team, "name": "Red", "addAdminIds": [user_id(al)], "removeMemberIds": [user_id(bo)]},
        "team { name admins { name } members { nodes { name } } }",
    )
    assert changed["team"] == {"name": "Red", "admins": [{"name": "Al"}], "members": {"nodes": [{"name": "Al"}]}}


async def test_people_are_listed_for_those_who_may_and_forbidden_to_others(database: Database) -> None:
    root, bo = await admin(database), await person(database, "Bo", email="bo@example.org")
    await person(database, "Cy", is_active=False)
    query = "query ($search: String, $active: Boolean) { users(search: $search, isActive: $active) { nodes { %s } } }"
    query %= "name email"
    shown = await Api(database, root).data(query, active=True)
    assert shown["users"]["nodes"] == [{"name": "Ada Admin", "email": None}, {"name": "Bo", "email": "bo@example.org"}]
    assert (await Api(database, root).data(query, search="CY"))["users"]["nodes"] == [{"name": "Cy", "email": None}]
    body = await Api(database, bo).ask(query)
    assert body["data"] == {"users": None}
    assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]


async def test_a_search_with_a_nul_is_bad_input_and_no_fault(database: Database) -> None:
    body = await Api(database, await admin(database)).ask(
        "query ($s: String) { users(search: $s) { nodes { id } } }", s="\0"
    )
    assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]


async def test_a_page_of_users_costs_the_same_for_one_and_for_a_hundred(database: Database) -> None:
    api = Api(database, await admin(database))
    query = "{ users(first: 100) { nodes { name email roles teams { name admins { name } } } totalCount } }"
    await api.does("createTeam", {"name": "Blue", "adminIds": [user_id(await person(database))]}, "team { id }")
    few = await api.statements(query)
    for _ in range(30):
        await person(database)
    assert await api.statements(query) == few
    assert few == 4  # the page, the count, their teams, the teams' admins


# --- tokens -----------------------------------------------------------------------------------------------------------

TOKEN = "token { id name prefix roles expiresAt revokedAt lastUsedAt owner { name } } secret"


async def test_a_token_is_shown_once_and_signs_in(database: Database) -> None:
    bo = await person(database, "Bo")
    api = Api(database, bo)
    ends = (await now_of(database) + timedelta(days=1)).replace(microsecond=0)
    made = await api.does("createApiToken", {"name": "laptop", "expiresAt": ends.isoformat()}, TOKEN)
    viewer = await authenticate(database.reader, token_hash=hash_token(made["secret"]))
    assert viewer is not None
    assert (viewer.user_id, viewer.expires_at) == (bo.user_id, ends)
    assert made["token"] == {
        "id": made["token"]["id"],
        "name": "laptop",
        "prefix": made["secret"][:11],
        "roles": ["MEMBER"],
        "expiresAt": ends.isoformat().replace("+00:00", "Z"),
        "revokedAt": None,
        "lastUsedAt": None,
        "owner": {"name": "Bo"},
    }
    listed = await api.data("{ viewer { apiTokens { id prefix } } }")
    assert listed["viewer"]["apiTokens"] == [{"id": made["token"]["id"], "prefix": made["token"]["prefix"]}]


async def test_a_repeated_request_gives_the_same_token_without_its_secret(database: Database) -> None:
    api = Api(database, await person(database, "Bo"))
    asked = {"name": "laptop", "idempotencyKey": "k1"}
    first = await api.does("createApiToken", asked, "token { id } secret")
    again = await api.does("createApiToken", asked, "token { id } secret")
    assert again == {"token": first["token"], "secret": None, "userErrors": []}
    async with database.transaction() as tx:
        kept = (await tx.execute(text("SELECT outcome::text FROM idempotency_keys"))).scalar_one()
    assert first["secret"] not in kept
    assert await api.refused("createApiToken", {**asked, "name": "other"}) == [
        ("IDEMPOTENCY_KEY_REUSED", "input.idempotencyKey")
    ]


async def test_a_revoked_token_no_longer_signs_in(database: Database) -> None:
    api = Api(database, await person(database, "Bo"))
    made = await api.does("createApiToken", {"name": "laptop"}, "token { id } secret")
    revoked = await api.does("revokeApiToken", {"tokenId": made["token"]["id"]}, "token { revokedAt }")
    assert revoked["token"]["revokedAt"] is not None
    assert await authenticate(database.reader, token_hash=hash_token(made["secret"])) is None


async def test_tokens_of_others_are_neither_made_nor_seen_nor_revoked(database: Database) -> None:
    bo, cy, root = await person(database, "Bo"), await person(database, "Cy"), await admin(database)
    robot = await person(database, "Robot", Role.SERVICE)
    made = await Api(database, bo).does("createApiToken", {"name": "laptop"}, "token { id }")
    token = made["token"]["id"]
    before = await everything(database)
    other = Api(database, cy)
    assert await other.refused("createApiToken", {"name": "x", "userId": user_id(bo)}) == [
        ("FORBIDDEN", "input.userId")
    ]
    assert await other.refused("createApiToken", {"name": "x", "userId": user_id(robot)}) == [
        ("FORBIDDEN", "input.userId")
    ]
    assert await other.refused("createApiToken", {"name": "", "roles": ["ADMIN"]}) == [
        ("BAD_USER_INPUT", "input.name"),
        ("FORBIDDEN", "input.roles"),
    ]
    assert await Api(database, root).refused("createApiToken", {"name": "x", "userId": user_id(bo)}) == [
        ("FORBIDDEN", "input.userId")
    ]
    assert await other.refused("revokeApiToken", {"tokenId": token}) == [("NOT_FOUND", "input.tokenId")]
    assert (await other.data("query ($id: ID!) { node(id: $id) { id } }", id=token))["node"] is None
    assert await everything(database) == before
    service = await Api(database, root).does("createApiToken", {"name": "x", "userId": user_id(robot)}, TOKEN)
    assert service["token"]["roles"] == ["SERVICE"]
    assert decode_id(service["token"]["id"], "ApiToken") is not None
