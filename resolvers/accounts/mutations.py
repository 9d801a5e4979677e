"""The mutations of accounts: users, teams, tokens."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import strawberry

from db.accounts import commands
from db.accounts.queries import API_TOKEN, TEAM, USER
from db.accounts.rules import Role, TeamChanges, UserChanges, Viewer
from db.courses.commands import admit_waiting, welcome_back
from db.session import Tx
from resolvers.accounts.types import ApiToken, Team, User
from resolvers.fields import MutationPayload, attr, mutation, shown
from resolvers.ids import NOTHING, decode_id, decode_ids
from resolvers.inputs import IDEMPOTENCY_KEY

# --- users ------------------------------------------------------------------------------------------------------------


@strawberry.input(description="A new user.")
class CreateUserInput:
    """A new user."""

    name: str = attr("For people, 1 to 255 characters.")
    email: str | None = attr("Their address, unique regardless of case; absent: none.", default=None)
    roles: list[Role] = attr(
        "What they may do on the whole server; at least one.", default_factory=lambda: [Role.MEMBER]
    )
    team_ids: list[strawberry.ID] = attr("Teams that they join as a member.", default_factory=list)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What is to change of a user. An absent field stays as it is.")
class UpdateUserInput:
    """Changes of a user."""

    user_id: strawberry.ID = attr("The user.")
    name: str | None = attr("For people, 1 to 255 characters; null is refused.", default=strawberry.UNSET)
    email: str | None = attr("Their address; null: none.", default=strawberry.UNSET)
    roles: list[Role] | None = attr("All of their roles, at least one; null is refused.", default=strawberry.UNSET)
    is_active: bool | None = attr(
        "False: they can no longer sign in, and their tokens stop working; null is refused.", default=strawberry.UNSET
    )
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `createUser` did.")
class CreateUserPayload(MutationPayload):
    """A new user."""

    user_id: strawberry.Private[UUID | None] = None
    user: User | None = shown(USER, "user_id", "The new user; null where it was refused.")


@strawberry.type(description="What `updateUser` did.")
class UpdateUserPayload(MutationPayload):
    """A changed user."""

    user_id: strawberry.Private[UUID | None] = None
    user: User | None = shown(USER, "user_id", "The user as they are now; null where refused.")


@mutation
async def create_user(tx: Tx, viewer: Viewer, input: CreateUserInput) -> CreateUserPayload:
    """Make a user. For ADMIN. Enrollments that wait for the address become active.

    In a class that is archived, or whose course is over, they wait on until it is put back, or the end is moved.

    CONFLICT at `email` where somebody has the address.
    """
    user_id = await commands.create_user(
        tx,
        actor=viewer,
        name=input.name,
        email=input.email,
        roles=input.roles,
        team_ids=decode_ids(input.team_ids, "Team"),
    )
    await admit_waiting(tx, actor=viewer, user_id=user_id, now=tx.now)
    return CreateUserPayload(user_id=user_id)


@mutation
async def update_user(tx: Tx, viewer: Viewer, input: UpdateUserInput) -> UpdateUserPayload:
    """Change a user. For ADMIN. Enrollments that wait for the address become active, as with `createUser`.

    Who becomes active again gets what they have missed of the plans of their classes.

    CONFLICT at `email` where somebody else has the address, and where the last active ADMIN would be none any more.
    """
    changes = UserChanges()
    if input.name is not strawberry.UNSET:
        changes["name"] = input.name
    if input.email is not strawberry.UNSET:
        changes["email"] = input.email
    if input.roles is not strawberry.UNSET:
        changes["roles"] = input.roles
    if input.is_active is not strawberry.UNSET:
        changes["is_active"] = input.is_active
    user_id = decode_id(input.user_id, "User") or NOTHING
    has_come_back = await commands.update_user(tx, actor=viewer, user_id=user_id, changes=changes, now=tx.now)
    if has_come_back:
        await welcome_back(tx, actor=viewer, user_id=user_id)
    await admit_waiting(tx, actor=viewer, user_id=user_id, now=tx.now)
    return UpdateUserPayload(user_id=user_id)


# --- teams ------------------------------------------------------------------------------------------------------------


@strawberry.input(description="A new team.")
class CreateTeamInput:
    """A new team."""

    name: str = attr("For people, 1 to 255 characters.")
    member_ids: list[strawberry.ID] = attr("Active users who are to be in it.", default_factory=list)
    admin_ids: list[strawberry.ID] = attr("Who gives out its work. They are members too.", default_factory=list)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="What is to change of a team. An absent field stays as it is.")
class UpdateTeamInput:
    """Changes of a team."""

    team_id: strawberry.ID = attr("The team.")
    name: str | None = attr("For people, 1 to 255 characters; null is refused.", default=strawberry.UNSET)
    add_member_ids: list[strawberry.ID] = attr("Active users who join it.", default_factory=list)
    remove_member_ids: list[strawberry.ID] = attr(
        "Who leaves it, also as its admin. Whoever is not in it has left already: no refusal.", default_factory=list
    )
    add_admin_ids: list[strawberry.ID] = attr("Who becomes its admin, and a member.", default_factory=list)
    remove_admin_ids: list[strawberry.ID] = attr("Who stays as a member only.", default_factory=list)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `createTeam` did.")
class CreateTeamPayload(MutationPayload):
    """A new team."""

    team_id: strawberry.Private[UUID | None] = None
    team: Team | None = shown(TEAM, "team_id", "The new team; null where it was refused.")


@strawberry.type(description="What `updateTeam` did.")
class UpdateTeamPayload(MutationPayload):
    """A changed team."""

    team_id: strawberry.Private[UUID | None] = None
    team: Team | None = shown(TEAM, "team_id", "The team as it is now; null where refused.")


@mutation
async def create_team(tx: Tx, viewer: Viewer, input: CreateTeamInput) -> CreateTeamPayload:
    """Make a team. For ADMIN."""
    team_id = await commands.create_team(
        tx,
        actor=viewer,
        name=input.name,
        member_ids=decode_ids(input.member_ids, "User"),
        admin_ids=decode_ids(input.admin_ids, "User"),
    )
    return CreateTeamPayload(team_id=team_id)


@mutation
async def update_team(tx: Tx, viewer: Viewer, input: UpdateTeamInput) -> UpdateTeamPayload:
    """Rename a team, and change who is in it. For ADMIN."""
    team_id = decode_id(input.team_id, "Team") or NOTHING
    await commands.update_team(
        tx,
        actor=viewer,
        team_id=team_id,
        name=input.name or None,
        is_named=input.name is not strawberry.UNSET,
        changes=TeamChanges(
            add_members=decode_ids(input.add_member_ids, "User"),
            remove_members=decode_ids(input.remove_member_ids, "User"),
            add_admins=decode_ids(input.add_admin_ids, "User"),
            remove_admins=decode_ids(input.remove_admin_ids, "User"),
        ),
        now=tx.now,
    )
    return UpdateTeamPayload(team_id=team_id)


# --- tokens -----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A new token.")
class CreateApiTokenInput:
    """A new token."""

    name: str = attr("What it is for, 1 to 255 characters.")
    user_id: strawberry.ID | None = attr(
        "Whom it signs in: a user with the role SERVICE, for ADMIN. Absent: the viewer.", default=None
    )
    roles: list[Role] | None = attr(
        "What it may do at most. Absent: all that its owner may, and for oneself what this request's token may; never "
        "more. FORBIDDEN where that is nothing.",
        default=None,
    )
    expires_at: datetime | None = attr("From when on it no longer works; absent: it does not expire.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which token to revoke.")
class RevokeApiTokenInput:
    """A request to revoke."""

    token_id: strawberry.ID = attr("The token.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `createApiToken` did.")
class CreateApiTokenPayload(MutationPayload):
    """A new token."""

    TRANSIENT: ClassVar[frozenset[str]] = frozenset({"secret"})

    token_id: strawberry.Private[UUID | None] = None
    token: ApiToken | None = shown(API_TOKEN, "token_id", "The new token; null where refused.")
    secret: str | None = attr(
        "What to send as `Authorization: Bearer <secret>`. Keep it now: it is stored nowhere. "
        "Null where the mutation was refused, and where an idempotency key repeats an earlier request.",
        default=None,
    )


@strawberry.type(description="What `revokeApiToken` did.")
class RevokeApiTokenPayload(MutationPayload):
    """A revoked token."""

    token_id: strawberry.Private[UUID | None] = None
    token: ApiToken | None = shown(API_TOKEN, "token_id", "The token, revoked; null where refused.")


@mutation
async def create_api_token(tx: Tx, viewer: Viewer, input: CreateApiTokenInput) -> CreateApiTokenPayload:
    """Make a token for oneself, or as an ADMIN for a user with the role SERVICE. The secret is shown once."""
    issued = await commands.create_token(
        tx,
        actor=viewer,
        user_id=None if input.user_id is None else decode_id(input.user_id, "User") or NOTHING,
        name=input.name,
        roles=input.roles,
        expires_at=input.expires_at,
        now=tx.now,
    )
    return CreateApiTokenPayload(token_id=issued.token_id, secret=issued.secret)


@mutation
async def revoke_api_token(tx: Tx, viewer: Viewer, input: RevokeApiTokenInput) -> RevokeApiTokenPayload:
    """End a token of one's own, or as an ADMIN anybody's. Its streams end within five seconds."""
    token_id = decode_id(input.token_id, "ApiToken") or NOTHING
    await commands.revoke_token(tx, actor=viewer, token_id=token_id, now=tx.now)
    return RevokeApiTokenPayload(token_id=token_id)


MUTATIONS: list[Any] = [create_user, update_user, create_team, update_team, create_api_token, revoke_api_token]
