"""Writes of accounts: users, teams and tokens. None of them commits."""

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, and_, any_, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from db.accounts.models import ApiToken, Team, TeamMember, User
from db.accounts.rules import (
    TOKEN_MARK,
    TOKEN_SHOWN,
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
    hash_token,
    may_revoke,
    membership_problems,
    normalise_email,
    raise_problems,
    require_admin,
    text_problem,
    unlowered_problem,
    viewer_topic,
)
from db.errors import Code, Problem, Refused, refuse
from db.session import Tx, violated_constraint

# That a token was used is written at most this often: it is for people who tidy up, not for counting.
USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was just made. The secret is in no table: whoever does not keep it now has lost it."""

    token_id: UUID
    secret: str


# --- users ------------------------------------------------------------------------------------------------------------


async def create_user(
    tx: Tx,
    *,
    actor: Viewer,
    name: str,
    email: str | None = None,
    roles: Sequence[Role] = (Role.MEMBER,),
    team_ids: Sequence[UUID] = (),
) -> UUID:
    """Make a user, a member of these teams. Raises Refused with everything that is wrong.

    Enrollments that wait for the address are the caller's to activate (`db.courses.commands.admit_waiting`).
    """
    require_admin(actor)
    known = set((await tx.scalars(select(Team.id).where(Team.id.in_(team_ids)))).all())
    values = decide_new_user(
        name=name,
        email=email,
        roles=roles,
        email_taken=await _is_taken(tx, email),
        problems=[
            Problem(Code.NOT_FOUND, "There is no such team.", ("teamIds", str(position)))
            for position, team_id in enumerate(team_ids)
            if team_id not in known
        ],
    )
    user_id = await _insert_user(tx, values)
    if user_id is None:
        raise _taken()
    await _join(tx, ((team_id, user_id) for team_id in known), is_admin=False)
    return user_id


async def update_user(tx: Tx, *, actor: Viewer, user_id: UUID, changes: UserChanges, now: datetime) -> bool:
    """Change a user; an inactive one can no longer sign in. Raises Refused with everything that is wrong.

    Enrollments that wait for the address are the caller's to activate (`db.courses.commands.admit_waiting`). Whether
    the user has become active again, of which their classes are the caller's to tell (`welcome_back`, there).
    """
    require_admin(actor)
    concerned = User.id == user_id
    if "roles" in changes or "is_active" in changes:
        # All admins are locked, in one order, so that the last two cannot step down at the same time.
        concerned = or_(concerned, and_(User.roles.contains([Role.ADMIN]), User.is_active))
    # NO KEY: whoever only points to one of them, as a publication does with each task, neither waits nor is waited for.
    found = select(User).where(concerned).order_by(User.id).with_for_update(key_share=True)
    locked = (await tx.scalars(found)).all()
    user = next((each for each in locked if each.id == user_id), None)
    if user is None:
        raise refuse(Code.NOT_FOUND, "There is no such user.", "userId")
    before = UserValues(user.name, user.email, frozenset(user.roles), user.is_active)
    address = changes.get("email")
    is_last_admin = before.is_active and Role.ADMIN in before.roles and len(locked) == 1
    after = decide_user_update(
        before=before,
        changes=changes,
        email_taken=await _is_taken(tx, address, but_by=user_id),
        is_last_admin=is_last_admin,
    )
    user.name, user.email, user.is_active = after.name, after.email, after.is_active
    user.roles = sorted(after.roles)
    user.updated_at = now
    try:
        await tx.flush()
    except IntegrityError as error:
        raise _told(error) from None
    tx.hint(viewer_topic(user_id))
    return after.is_active and not before.is_active


async def ensure_user(tx: Tx, *, name: str, email: str, roles: Collection[Role]) -> UUID:
    """The user with this address, made where there is none: for whoever operates the server, not for its API."""
    values = decide_new_user(name=name, email=email, roles=roles, email_taken=False, problems=[])
    made = await _insert_user(tx, values)
    return made or (await tx.execute(select(User.id).where(User.email == values.email))).scalar_one()


async def link_identity(tx: Tx, *, user_id: UUID, subject: str) -> bool:
    """Remember who a user is at the identity provider, the first time they come from there by their address.

    From then on their address at the provider no longer matters. Returns False where they are linked already.
    """
    linked = update(User).where(User.id == user_id, User.subject.is_(None)).values(subject=subject)
    return bool((await tx.execute(linked.returning(User.id))).first())


async def _is_taken(tx: Tx, email: str | None, *, but_by: UUID | None = None) -> bool:
    if email is None:
        return False
    others = select(User.id).where(User.email == normalise_email(email), User.id.is_distinct_from(but_by))
    # A NUL can be in no address, and Postgres takes none in a text: the rule refuses it.
    return "\x00" not in email and (await tx.execute(others)).first() is not None


async def _insert_user(tx: Tx, values: UserValues) -> UUID | None:
    row = insert(User).values(name=values.name, email=values.email, roles=sorted(values.roles))
    try:
        return (await tx.execute(row.on_conflict_do_nothing(index_elements=["email"]).returning(User.id))).scalar()
    except IntegrityError as error:
        raise _told(error) from None


def _told(error: IntegrityError) -> Exception:
    """What the table has against an address, as a refusal; any other error as it is."""
    match violated_constraint(error):
        case "uq_users_email":
            return _taken()
        case "ck_users_email_lower":
            return Refused(unlowered_problem("email"))
    return error


def _taken() -> Refused:
    return refuse(Code.CONFLICT, "Another user has this e-mail address.", "email")


# --- teams ------------------------------------------------------------------------------------------------------------


async def create_team(
    tx: Tx, *, actor: Viewer, name: str, member_ids: Sequence[UUID] = (), admin_ids: Sequence[UUID] = ()
) -> UUID:
    """Make a team; its admins are members too. Raises Refused with everything that is wrong."""
    require_admin(actor)
    lists = {"memberIds": member_ids, "adminIds": admin_ids}
    known = await facts_of(tx, user_ids={*member_ids, *admin_ids})
    raise_problems([text_problem(name, "name"), *membership_problems(lists, known)])
    team = Team(name=name.strip())
    await tx.insert(team)
    await _join(tx, ((team.id, user_id) for user_id in admin_ids), is_admin=True)
    await _join(tx, ((team.id, user_id) for user_id in member_ids), is_admin=False)
    return team.id


async def update_team(
    tx: Tx, *, actor: Viewer, team_id: UUID, name: str | None, is_named: bool, changes: TeamChanges, now: datetime
) -> None:
    """Rename a team (`is_named`: a name was given) and change who is in it. Raises Refused with all that is wrong.

    Whoever is asked to leave and is not there has left already: no refusal.
    """
    require_admin(actor)
    team = await tx.get(Team, team_id, with_for_update=True)
    if team is None:
        raise refuse(Code.NOT_FOUND, "There is no such team.", "teamId")
    lists = {
        "addMemberIds": changes.add_members,
        "removeMemberIds": changes.remove_members,
        "addAdminIds": changes.add_admins,
        "removeAdminIds": changes.remove_admins,
    }
    known = await facts_of(tx, user_ids={user_id for listed in lists.values() for user_id in listed})
    raise_problems(
        [
            text_problem(name, "name") if is_named else None,
            *membership_problems(lists, known),
            *contradiction_problems(changes),
        ]
    )
    if is_named and name is not None:
        team.name = name.strip()
    team.updated_at = now
    await tx.flush()
    in_team = TeamMember.team_id == team_id
    await tx.execute(delete(TeamMember).where(in_team, TeamMember.user_id.in_(changes.remove_members)))
    dismissed = update(TeamMember).where(in_team, TeamMember.user_id.in_(changes.remove_admins))
    await tx.execute(dismissed.values(is_admin=False))
    await _join(tx, ((team_id, user_id) for user_id in changes.add_admins), is_admin=True)
    await _join(tx, ((team_id, user_id) for user_id in changes.add_members), is_admin=False)
    tx.hint(*(viewer_topic(user_id) for user_id in {*changes.remove_members, *changes.remove_admins}))


async def facts_of(tx: Tx, *, user_ids: Collection[UUID]) -> dict[UUID, UserFacts]:
    """What rules need of these users, by id; who does not exist is left out."""
    if not user_ids:
        return {}
    wanted = User.id == any_(literal(list(user_ids), ARRAY(Uuid)))
    rows = await tx.execute(select(User.id, User.roles, User.is_active).where(wanted))
    return {row.id: UserFacts(row.id, frozenset(row.roles), row.is_active) for row in rows}


async def _join(tx: Tx, pairs: Iterable[tuple[UUID, UUID]], *, is_admin: bool) -> None:
    rows = [{"team_id": team_id, "user_id": user_id, "is_admin": is_admin} for team_id, user_id in dict.fromkeys(pairs)]
    if not rows:
        return
    statement = insert(TeamMember).values(rows)
    keys = ["team_id", "user_id"]
    if is_admin:
        await tx.execute(statement.on_conflict_do_update(index_elements=keys, set_={"is_admin": True}))
    else:
        await tx.execute(statement.on_conflict_do_nothing(index_elements=keys))


# --- tokens -----------------------------------------------------------------------------------------------------------


async def create_token(
    tx: Tx,
    *,
    actor: Viewer,
    user_id: UUID | None,
    name: str,
    roles: Collection[Role] | None,
    expires_at: datetime | None,
    now: datetime,
) -> IssuedToken:
    """Make a token for oneself (`user_id` None), or as an ADMIN for a SERVICE user. Raises Refused."""
    owner_id = user_id or actor.user_id
    owner = (await facts_of(tx, user_ids=[owner_id])).get(owner_id)
    values = decide_new_token(actor=actor, owner=owner, name=name, roles=roles, expires_at=expires_at, now=now)
    return await issue_token(
        tx, user_id=owner_id, name=values.name, roles=values.roles, expires_at=values.expires_at, created_by=actor
    )


async def issue_token(
    tx: Tx,
    *,
    user_id: UUID,
    name: str,
    roles: Collection[Role],
    expires_at: datetime | None = None,
    created_by: Viewer | None = None,
) -> IssuedToken:
    """Make a token without asking who may: for whoever operates the server. The API's way is `create_token`."""
    secret = TOKEN_MARK + secrets.token_urlsafe(32)
    token = ApiToken(
        user_id=user_id,
        name=name,
        prefix=secret[:TOKEN_SHOWN],
        token_hash=hash_token(secret),
        roles=sorted(roles),
        created_by=created_by and created_by.user_id,
        expires_at=expires_at,
    )
    await tx.insert(token)
    return IssuedToken(token.id, secret)


async def revoke_token(tx: Tx, *, actor: Viewer, token_id: UUID, now: datetime) -> None:
    """End a token: one's own, or as an ADMIN anybody's. One that has been revoked stays as it is. Raises Refused."""
    token = await tx.get(ApiToken, token_id, with_for_update=True)
    if token is None or not may_revoke(actor, owner_id=token.user_id):
        raise refuse(Code.NOT_FOUND, "There is no such token.", "tokenId")
    if token.revoked_at is None:
        token.revoked_at = now
        await tx.flush()
        tx.hint(viewer_topic(token.user_id))


async def note_tokens_used(tx: Tx, *, token_ids: Collection[UUID], now: datetime) -> None:
    """Note that these tokens were used, each at most once a minute.

    For a background task that collects them: never on the way of a request, and never waiting for a lock.
    """
    stale = select(ApiToken.id).where(
        ApiToken.id.in_(token_ids),
        or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at <= now - USE_NOTED_EVERY),
    )
    locked = stale.order_by(ApiToken.id).with_for_update(skip_locked=True)
    latest = func.greatest(ApiToken.last_used_at, now)
    await tx.execute(
        update(ApiToken)
        .where(ApiToken.id.in_(locked))
        .values(last_used_at=latest)
        .execution_options(synchronize_session=False)
    )
