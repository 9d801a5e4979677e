"""The queries of accounts: people and teams, and of the viewer who they are."""

from typing import Annotated, Any, cast

from db.accounts.queries import API_TOKEN, TEAM, TEAMS_BY_NAME, TOKENS_OF_USER, USER, USERS_BY_NAME, may_list_users
from db.accounts.rules import Role
from db.errors import AccessDenied
from resolvers.accounts.types import ApiToken, Team, User
from resolvers.context import Info
from resolvers.fields import query
from resolvers.paging import After, Connection, First, described
from resolvers.selection import wanted


@query
async def users(
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[str | None, described("Part of a name, or of an address that the viewer may see.")] = None,
    is_active: Annotated[bool | None, described("Only those who may sign in, or only those who may not.")] = None,
) -> Connection[User] | None:
    """Everybody, by name. For EDITOR, ADMIN and the admins of teams; FORBIDDEN for others."""
    context = info.context
    if not await may_list_users(context.database.reader, context.signed_in):
        raise AccessDenied("Only an EDITOR, an ADMIN or a team's admin may look through the people.")
    page = await context.reading.page(USER, wanted(info), USERS_BY_NAME, name="users")
    return cast("Connection[User]", page)


@query
async def teams(
    info: Info,
    first: First = None,
    after: After = None,
    search: Annotated[str | None, described("Part of a name.")] = None,
) -> Connection[Team] | None:
    """The teams that the viewer is in, by name; all of them for EDITOR and ADMIN."""
    page = await info.context.reading.page(TEAM, wanted(info), TEAMS_BY_NAME, name="teams")
    return cast("Connection[Team]", page)


@query
async def user(info: Info) -> User:
    """Who is signed in."""
    found = await info.context.reading.one(USER, wanted(info), info.context.signed_in.user_id)
    return cast("User", found)


@query
async def roles(info: Info) -> list[Role]:
    """What the viewer may do with the token of this request, which may be less than what the user may."""
    return sorted(info.context.signed_in.roles)


@query
async def api_tokens(info: Info) -> list[ApiToken] | None:
    """The viewer's own tokens, newest first, also those that are revoked or expired."""
    own = info.context.signed_in.user_id
    found = await info.context.reading.below(API_TOKEN, wanted(info), TOKENS_OF_USER, [own], name="tokens")
    tokens: list[ApiToken] = found.get(own, [])
    return tokens


QUERIES: list[Any] = [users, teams]
VIEWER_FIELDS: list[Any] = [user, roles, api_tokens]
