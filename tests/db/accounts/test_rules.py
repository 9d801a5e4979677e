"""Decisions about accounts, from values alone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from db.accounts.rules import (
    Role,
    TeamChanges,
    UserChanges,
    UserFacts,
    UserValues,
    Viewer,
    contradiction_problems,
    decide_new_token,
    decide_new_user,
    decide_user_update,
    email_problem,
    hash_token,
    may_revoke,
    roles_in_force,
    text_problem,
)
from db.errors import Code, Refused

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
ME, OTHER = UUID(int=1), UUID(int=2)
MEMBER = Viewer(ME, "Me", frozenset({Role.MEMBER}))
ADMIN = Viewer(ME, "Me", frozenset({Role.ADMIN}))
ADA = UserValues("Ada", "ada@example.org", frozenset({Role.ADMIN}))


def reasons(refused: pytest.ExceptionInfo[Refused]) -> list[tuple[Code, tuple[str, ...]]]:
    return [(problem.code, problem.path) for problem in refused.value.problems]


@pytest.mark.parametrize("email", ["a@b", "a.b@c.d.org", "ä@ö.de", " Ada@Example.ORG "])
def test_what_looks_like_an_address_is_one(email: str) -> None:
    assert email_problem(email, "email") is None


@pytest.mark.parametrize(
    "email", ["", "a", "@b", "a@", "a@b@c", "a b@c", "a..b@c", "a@b.", "a\x00@b", "a" * 250 + "@b.de"]
)
def test_what_cannot_be_an_address_is_refused_at_its_path(email: str) -> None:
    problem = email_problem(email, "emails", "3")
    assert problem is not None
    assert (problem.code, problem.path) == (Code.BAD_USER_INPUT, ("emails", "3"))


@pytest.mark.parametrize("text", ["", "   ", None, "x" * 256, "a\nb", "a\x00b"])
def test_a_name_is_one_line_of_1_to_255_characters(text: str | None) -> None:
    problem = text_problem(text, "name")
    assert problem is not None
    assert (problem.code, problem.path) == (Code.BAD_USER_INPUT, ("name",))


def test_a_new_user_is_stored_trimmed_with_the_address_in_lower_case() -> None:
    values = decide_new_user(name=" Ada ", email="Ada@Example.org", roles=[Role.EDITOR], email_taken=False, problems=[])
    assert values == UserValues("Ada", "ada@example.org", frozenset({Role.EDITOR}))


def test_all_that_is_wrong_with_a_new_user_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        decide_new_user(name=" ", email="x", roles=[], email_taken=False, problems=[])
    assert reasons(refused) == [
        (Code.BAD_USER_INPUT, ("name",)),
        (Code.BAD_USER_INPUT, ("email",)),
        (Code.BAD_USER_INPUT, ("roles",)),
    ]


def test_an_address_that_is_taken_is_a_conflict() -> None:
    with pytest.raises(Refused) as refused:
        decide_new_user(name="Ada", email="a@b.de", roles=[Role.MEMBER], email_taken=True, problems=[])
    assert reasons(refused) == [(Code.CONFLICT, ("email",))]


def test_an_update_changes_what_is_given_and_keeps_the_rest() -> None:
    after = decide_user_update(before=ADA, changes={"email": None}, email_taken=False, is_last_admin=True)
    assert after == UserValues("Ada", None, frozenset({Role.ADMIN}))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": None}, "name"),
        ({"roles": None}, "roles"),
        ({"roles": []}, "roles"),
        ({"is_active": None}, "isActive"),
    ],
)
def test_what_cannot_be_empty_cannot_be_cleared(changes: UserChanges, path: str) -> None:
    with pytest.raises(Refused) as refused:
        decide_user_update(before=ADA, changes=changes, email_taken=False, is_last_admin=False)
    assert reasons(refused) == [(Code.BAD_USER_INPUT, (path,))]


@pytest.mark.parametrize(("changes", "path"), [({"roles": [Role.EDITOR]}, "roles"), ({"is_active": False}, "isActive")])
def test_the_last_admin_stays_one(changes: UserChanges, path: str) -> None:
    with pytest.raises(Refused) as refused:
        decide_user_update(before=ADA, changes=changes, email_taken=False, is_last_admin=True)
    assert reasons(refused) == [(Code.CONFLICT, (path,))]


def test_a_request_cannot_add_and_remove_the_same_person() -> None:
    changes = TeamChanges(add_members=[ME], remove_members=[OTHER, ME], add_admins=[OTHER], remove_admins=[OTHER])
    assert [problem.path for problem in contradiction_problems(changes)] == [
        ("removeMemberIds", "0"),
        ("removeMemberIds", "1"),
        ("removeAdminIds", "0"),
    ]


def token(
    actor: Viewer,
    owner: UserFacts | None,
    roles: list[Role] | None = None,
    expires_at: datetime | None = None,
    name: str = "laptop",
) -> frozenset[Role]:
    decided = decide_new_token(actor=actor, owner=owner, name=name, roles=roles, expires_at=expires_at, now=NOW)
    assert decided.expires_at == expires_at
    return decided.roles


def facts(id_: UUID, *roles: Role, is_active: bool = True) -> UserFacts:
    return UserFacts(id_, frozenset(roles), is_active)


def test_a_token_without_roles_has_all_that_its_owner_has() -> None:
    assert token(MEMBER, facts(ME, Role.MEMBER)) == {Role.MEMBER}


def test_a_narrow_token_makes_no_wider_one() -> None:
    narrow = Viewer(ME, "Me", frozenset({Role.MEMBER}))
    both = facts(ME, Role.ADMIN, Role.MEMBER)
    assert token(narrow, both) == {Role.MEMBER}
    with pytest.raises(Refused) as refused:
        token(narrow, both, [Role.ADMIN])
    assert reasons(refused) == [(Code.FORBIDDEN, ("roles",))]


@pytest.mark.parametrize("roles", [None, [Role.ADMIN], [Role.MEMBER], [Role.SERVICE]])
def test_who_has_none_of_the_owners_roles_makes_no_token(roles: list[Role] | None) -> None:
    narrow = Viewer(ME, "Me", frozenset({Role.MEMBER}))
    with pytest.raises(Refused) as refused:
        token(narrow, facts(ME, Role.ADMIN, Role.EDITOR), roles)
    assert reasons(refused) == [(Code.FORBIDDEN, ("roles",))]
    assert refused.value.problems[0].details == {"allowed": []}


def test_an_admin_makes_tokens_for_service_users_only() -> None:
    assert token(ADMIN, facts(OTHER, Role.SERVICE)) == {Role.SERVICE}
    with pytest.raises(Refused) as refused:
        token(ADMIN, facts(OTHER, Role.MEMBER))
    assert reasons(refused) == [(Code.FORBIDDEN, ("userId",))]


def test_a_member_makes_none_for_a_service_user() -> None:
    with pytest.raises(Refused) as refused:
        token(MEMBER, facts(OTHER, Role.SERVICE))
    assert reasons(refused) == [(Code.FORBIDDEN, ("userId",))]


def test_all_that_is_wrong_with_a_token_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        token(MEMBER, None, [], NOW, name="")
    assert reasons(refused) == [
        (Code.BAD_USER_INPUT, ("name",)),
        (Code.NOT_FOUND, ("userId",)),
        (Code.BAD_USER_INPUT, ("roles",)),
        (Code.BAD_USER_INPUT, ("expiresAt",)),
    ]


def test_a_token_may_end_later_today() -> None:
    assert token(MEMBER, facts(ME, Role.MEMBER), expires_at=NOW + timedelta(microseconds=1)) == {Role.MEMBER}


def test_a_token_is_ended_by_its_owner_or_an_admin() -> None:
    assert may_revoke(MEMBER, owner_id=ME)
    assert not may_revoke(MEMBER, owner_id=OTHER)
    assert may_revoke(ADMIN, owner_id=OTHER)


def test_the_roles_in_force_are_those_that_user_and_token_share() -> None:
    held = [Role.ADMIN, Role.MEMBER]
    assert roles_in_force(held, None) == {Role.ADMIN, Role.MEMBER}
    assert roles_in_force(held, [Role.MEMBER, Role.SERVICE]) == {Role.MEMBER}


def test_the_stored_hash_of_a_token_is_its_sha256() -> None:
    assert hash_token("hf_x").hex() == "f5618cd8b98c85c7aa86b0a7296d3fc33aaa88faabc75c3ae724b17b59c96f38"


def test_an_admin_may_whatever_an_editor_may() -> None:
    editor = Viewer(ME, "Me", frozenset({Role.EDITOR}))
    assert (ADMIN.is_admin, ADMIN.is_editor) == (True, True)
    assert (editor.is_admin, editor.is_editor) == (False, True)
    assert (MEMBER.is_admin, MEMBER.is_editor) == (False, False)
