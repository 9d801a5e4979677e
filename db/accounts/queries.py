"""Reads of accounts: whose token this is, and what may be seen of people, teams and tokens."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, FromClause, Text, case, func, null, or_, select

from db.accounts.models import ApiToken, Team, TeamMember
from db.accounts.models import User as UserModel
from db.accounts.rules import Role, Viewer, roles_in_force
from db.base import table_of
from db.errors import Code, refuse
from db.reading import Entity, Filter, Listing, Many, One, Order, bind
from db.session import Reader

_USERS = table_of(UserModel)
_TEAMS = table_of(Team)
_MEMBERS = table_of(TeamMember)
_TOKENS = table_of(ApiToken)


# --- who asks ---------------------------------------------------------------------------------------------------------

_AUTHENTICATE = """
SELECT token.id, token.user_id, person.name, person.roles, token.roles, token.expires_at
FROM api_tokens AS token JOIN users AS person ON person.id = token.user_id
WHERE token.token_hash = $1 AND token.revoked_at IS NULL AND person.is_active
  AND (token.expires_at IS NULL OR token.expires_at > statement_timestamp() + $2::interval)
"""

# Whoever has come from the provider before is known by its subject, everybody else by their address. An inactive person
# is found too, so that their address does not lead to somebody else.
_IDENTIFY = """
SELECT id, name, roles, is_active FROM users
WHERE subject = $1 OR (subject IS NULL AND email = $2)
ORDER BY subject IS NULL LIMIT 1
"""

_STILL_GOOD = """
SELECT asked.position, person.name, person.roles, token.roles, token.expires_at
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (user_id, token_id, position)
JOIN users AS person ON person.id = asked.user_id AND person.is_active
LEFT JOIN api_tokens AS token ON token.id = asked.token_id AND token.user_id = person.id AND token.revoked_at IS NULL
  AND (token.expires_at IS NULL OR token.expires_at > statement_timestamp() + $3::interval)
WHERE asked.token_id IS NULL OR token.id IS NOT NULL
"""


async def authenticate(reader: Reader, *, token_hash: bytes) -> Viewer | None:
    """Whose API token has this hash (`rules.hash_token`). None: nobody's, expired, revoked, or its owner is inactive.

    One statement, and nothing is written: that a token was used is noted by `commands.note_tokens_used`, later.
    """
    found = await reader.fetch(_AUTHENTICATE, (token_hash, reader.clock.shift))
    if not found:
        return None
    token_id, user_id, name, held, narrowed, expires_at = found[0]
    return Viewer(user_id, name, _roles(held, narrowed), token_id, expires_at)


async def viewer_for_identity(
    reader: Reader, *, subject: str, email: str | None, roles: Collection[Role] | None, expires_at: datetime
) -> Viewer | None:
    """Who an identity provider's token stands for, its signature checked. None: no such user, or an inactive one.

    `email` only where the provider has verified it. `roles` are those of the token; None: it names none, and the
    user's own are in force.
    """
    found = await reader.fetch(_IDENTIFY, (subject, None if email is None else email.strip().lower()))
    if not found or not found[0]["is_active"]:
        return None
    user_id, name, held, _ = found[0]
    if roles is None:
        return Viewer(user_id, name, _roles(held, None), None, expires_at)
    return Viewer(user_id, name, frozenset(roles), None, expires_at, is_claimed=True)


async def still_good(reader: Reader, *, viewers: Sequence[Viewer]) -> list[Viewer | None]:
    """The same viewers as they are now, in the same order; None for each whose token or account no longer holds.

    One statement for all of them: for streams, which outlive the moment of signing in. Whether a provider's token has
    expired is the caller's to see (`expires_at`): roles that it names stay as it gave them.
    """
    asked = ([viewer.user_id for viewer in viewers], [viewer.token_id for viewer in viewers], reader.clock.shift)
    answer: list[Viewer | None] = [None] * len(viewers)
    for position, name, held, narrowed, expires_at in await reader.fetch(_STILL_GOOD, asked):
        before = viewers[position - 1]
        after = replace(before, name=name, roles=before.roles if before.is_claimed else _roles(held, narrowed))
        answer[position - 1] = after if before.token_id is None else replace(after, expires_at=expires_at)
    return answer


def _roles(held: Collection[str], narrowed: Collection[str] | None) -> frozenset[Role]:
    return roles_in_force([Role(role) for role in held], None if narrowed is None else [Role(r) for r in narrowed])


# --- what may be seen -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemActor:
    """Whoever does what no person did: the timer, a worker. Stands where a row of a user would."""

    name: str = "System"
    type_name: str = "SystemActor"


SYSTEM = SystemActor()


def pattern(text: str) -> str:
    """A search text as the pattern of an ILIKE that finds it anywhere. Raises Refused (BAD_USER_INPUT at `search`)."""
    if "\x00" in text:
        raise refuse(Code.BAD_USER_INPUT, "`search` must not contain the character U+0000.", "search")
    escaped = text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def by_text(column: str) -> Order:
    """The order of a list by a name or title, regardless of case; the key tells equal ones apart."""
    return Order((lambda source: func.lower(source.c[column]), lambda source: source.c.id), (str, UUID), (False, False))


def _sees_all() -> ColumnElement[bool]:
    return bind("viewer_is_editor", Boolean)


def _own_teams(*, as_admin: bool = False) -> Any:
    # Under a name of its own: the statement around it may join the same table.
    own = _MEMBERS.alias("own")
    teams = select(own.c.team_id).where(own.c.user_id == bind("viewer_id"))
    return teams.where(own.c.is_admin) if as_admin else teams


def _email(source: FromClause) -> ColumnElement[Any]:
    # One's own, and everybody's for EDITOR and ADMIN; a team's admins see those of its members.
    theirs = _MEMBERS.alias("theirs")
    colleagues = select(theirs.c.user_id).where(theirs.c.team_id.in_(_own_teams(as_admin=True)))
    may_see = or_(_sees_all(), source.c.id == bind("viewer_id"), source.c.id.in_(colleagues))
    return case((may_see, source.c.email), else_=null())


def _team_visible(source: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    return None if viewer.is_editor else source.c.id.in_(_own_teams())


def _token_visible(source: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    return None if viewer.is_admin else source.c.user_id == bind("viewer_id")


def _is_member(link: FromClause, user: FromClause) -> ColumnElement[bool]:
    return link.c.user_id == user.c.id


# Whoever is signed in may see a name by its id: names stand beside all work. Lists and addresses are guarded.
USER = Entity("User", _USERS, columns={"email": _email})
TEAM = Entity("Team", _TEAMS, visible=_team_visible)
API_TOKEN = Entity("ApiToken", _TOKENS, visible=_token_visible)

USERS_BY_NAME = Listing(
    orders={"NAME": by_text("name")},
    filters={
        "search": Filter(
            lambda source: or_(source.c.name.ilike(bind("search", Text)), _email(source).ilike(bind("search", Text))),
            convert=pattern,
        ),
        "is_active": Filter(lambda source: source.c.is_active == bind("is_active", Boolean)),
    },
)
TEAMS_BY_NAME = Listing(
    orders={"NAME": by_text("name")},
    filters={"search": Filter(lambda source: source.c.name.ilike(bind("search", Text)), convert=pattern)},
)

USER.relations["teams"] = Many(
    lambda: TEAM,
    key=lambda link: link.c.user_id,
    link=_MEMBERS,
    link_on=lambda link, team: link.c.team_id == team.c.id,
    order=lambda source: (func.lower(source.c.name), source.c.id),
)
TEAM.relations["members"] = Many(
    lambda: USER,
    key=lambda link: link.c.team_id,
    link=_MEMBERS,
    link_on=_is_member,
    listing=USERS_BY_NAME,
    # A team may be seen beside its work by others than its members; who is in it may not.
    where=lambda _: or_(_sees_all(), _MEMBERS.c.team_id.in_(_own_teams())),
)
TEAM.relations["admins"] = Many(
    lambda: USER,
    key=lambda link: link.c.team_id,
    link=_MEMBERS,
    link_on=_is_member,
    order=lambda source: (func.lower(source.c.name), source.c.id),
    where=lambda _: _MEMBERS.c.is_admin,
)
API_TOKEN.relations["owner"] = One(lambda: USER, on=lambda token, user: user.c.id == token.c.user_id)

TOKENS_OF_USER = Many(
    lambda: API_TOKEN,
    key=lambda token: token.c.user_id,
    order=lambda token: (token.c.created_at.desc(), token.c.id.desc()),
)


async def may_list_users(reader: Reader, viewer: Viewer) -> bool:
    """Whether this viewer may look through the people: EDITOR, ADMIN, and the admins of teams."""
    if viewer.is_editor:
        return True
    sql = "SELECT 1 FROM team_members WHERE user_id = $1 AND is_admin LIMIT 1"
    return bool(await reader.fetch(sql, (viewer.user_id,)))
