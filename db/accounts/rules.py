"""Who somebody is and what follows from it: roles, the viewer of a request, and the rules of changing accounts."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypedDict
from uuid import UUID

from db.errors import Code, Problem, Refused, refuse

NAME_LIMIT = 255
EMAIL_LIMIT = 254

# Every API token starts with this, so that scanners for leaked secrets know it when they see it.
TOKEN_MARK = "hf_"  # noqa: S105 - the mark is public, the secret comes after it
# How much of a token is kept and shown: enough to tell one's tokens apart, far too little to guess the rest.
TOKEN_SHOWN = len(TOKEN_MARK) + 8

_PART = r"[^\s@<>\"(),:;\\\[\]\x00-\x1f\x7f.]+"
_EMAIL = re.compile(rf"{_PART}(\.{_PART})*@{_PART}(\.{_PART})*")


class Role(StrEnum):
    """What a person, or a program (SERVICE), may do on the whole server; the rest follows from teams and courses."""

    ADMIN = "ADMIN"
    EDITOR = "EDITOR"
    MEMBER = "MEMBER"
    SERVICE = "SERVICE"


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person or program that asks. Someone who is not signed in is None, never a Viewer.

    `roles` are those in force for this request: a token may carry fewer than its owner has.
    `expires_at` is the instant after which the proof of identity no longer counts; None: it does not expire.
    `is_claimed`: an identity provider's token names the roles, whatever the user's own are.
    """

    user_id: UUID
    name: str
    roles: frozenset[Role]
    token_id: UUID | None = None
    expires_at: datetime | None = None
    is_claimed: bool = False

    @property
    def shape(self) -> tuple[bool, bool]:
        """What of the viewer changes the text of a statement: the access that roles give, never the person."""
        return (self.is_admin, self.is_editor)

    @property
    def parameters(self) -> dict[str, UUID | bool]:
        """The values that access rules bind."""
        return {
            "viewer_id": self.user_id,
            "viewer_is_editor": self.is_editor,
            "viewer_is_admin": self.is_admin,
        }

    @property
    def is_admin(self) -> bool:
        """May do everything that roles decide."""
        return Role.ADMIN in self.roles

    @property
    def is_editor(self) -> bool:
        """EDITOR, or ADMIN, who may do whatever an EDITOR may."""
        return Role.EDITOR in self.roles or Role.ADMIN in self.roles


class UserChanges(TypedDict, total=False):
    """What `updateUser` was given. A name that is missing stays as it is; None clears it."""

    name: str | None
    email: str | None
    roles: Sequence[Role] | None
    is_active: bool | None


@dataclass(frozen=True, slots=True)
class UserFacts:
    """A user as the rules see them."""

    id: UUID
    roles: frozenset[Role]
    is_active: bool


@dataclass(frozen=True, slots=True)
class UserValues:
    """The columns of a user that may be written, checked and in their stored form."""

    name: str
    email: str | None
    roles: frozenset[Role]
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class TokenValues:
    """What a new token may do, and until when."""

    name: str
    roles: frozenset[Role]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class TeamChanges:
    """Whose membership `updateTeam` changes. An admin is always a member too."""

    add_members: Sequence[UUID] = ()
    remove_members: Sequence[UUID] = ()
    add_admins: Sequence[UUID] = ()
    remove_admins: Sequence[UUID] = ()


# --- values -----------------------------------------------------------------------------------------------------------


def normalise_email(email: str) -> str:
    """The stored form of an address: without the spaces around it, in lower case."""
    return email.strip().lower()


def email_problem(email: str, *path: str) -> Problem | None:
    """Why this cannot be an address that somebody has, or None where it can."""
    address = normalise_email(email)
    if len(address) <= EMAIL_LIMIT and _EMAIL.fullmatch(address):
        return None
    message = f"An e-mail address looks like name@example.org and has at most {EMAIL_LIMIT} characters."
    return Problem(Code.BAD_USER_INPUT, message, path, {"max": EMAIL_LIMIT})


def unlowered_problem(*path: str) -> Problem:
    """An address that is not in lower case by what Postgres knows of letters, and is by what Python knows.

    Each goes by its own edition of Unicode. Who writes such a letter in lower case is understood by both.
    """
    message = "This e-mail address has a letter of which only the lower case can be stored. Write it in lower case."
    return Problem(Code.BAD_USER_INPUT, message, path)


def text_problem(text: str | None, *path: str, limit: int = NAME_LIMIT) -> Problem | None:
    """Why this cannot be a name or title: blank, too long once trimmed, or with control characters in it."""
    trimmed = (text or "").strip()
    if not 1 <= len(trimmed) <= limit:
        message = f"`{path[-1]}` must have 1 to {limit} characters; it has {len(trimmed)}."
        return Problem(Code.BAD_USER_INPUT, message, path, {"min": 1, "max": limit})
    if not trimmed.isprintable():
        message = f"`{path[-1]}` must be one line of text without control characters."
        return Problem(Code.BAD_USER_INPUT, message, path)
    return None


def raise_problems(problems: Collection[Problem | None]) -> None:
    """Refuse with all that was found wrong, or do nothing. Raises Refused."""
    found = [problem for problem in problems if problem is not None]
    if found:
        raise Refused(*found)


def require_admin(actor: Viewer) -> None:
    """Raises Refused (FORBIDDEN) for anybody but an ADMIN."""
    if not actor.is_admin:
        raise refuse(Code.FORBIDDEN, "Only an ADMIN may do this.")


# --- users ------------------------------------------------------------------------------------------------------------


def decide_new_user(
    *, name: str, email: str | None, roles: Collection[Role], email_taken: bool, problems: Collection[Problem]
) -> UserValues:
    """A user as they may be created. `problems`: what was found wrong elsewhere in the same request.

    Raises Refused with everything that is wrong.
    """
    raise_problems(
        [
            text_problem(name, "name"),
            _address_problem(email, taken=email_taken),
            _roles_problem(roles),
            *problems,
        ]
    )
    return UserValues(name=name.strip(), email=normalise_email(email) if email else None, roles=frozenset(roles))


def decide_user_update(
    *, before: UserValues, changes: UserChanges, email_taken: bool, is_last_admin: bool
) -> UserValues:
    """A user as they are after `changes`. `is_last_admin`: there is no other active ADMIN.

    Raises Refused with everything that is wrong; CONFLICT where the server would be left without an ADMIN.
    """
    name = changes.get("name", before.name)
    email = changes.get("email", before.email)
    roles = changes.get("roles", tuple(before.roles))
    is_active = changes.get("is_active", before.is_active)
    problems = [
        text_problem(name, "name"),
        _address_problem(email, taken=email_taken) if "email" in changes else None,
        _roles_problem(roles),
    ]
    if is_active is None:
        problems.append(Problem(Code.BAD_USER_INPUT, "`isActive` is true or false, never null.", ("isActive",)))
    if is_last_admin and roles and (Role.ADMIN not in roles or is_active is False):
        path = ("roles",) if Role.ADMIN not in roles else ("isActive",)
        problems.append(Problem(Code.CONFLICT, "This is the last active ADMIN. Make another one first.", path))
    raise_problems(problems)
    return UserValues(
        name=(name or "").strip(),
        email=normalise_email(email) if email else None,
        roles=frozenset(roles or ()),
        is_active=bool(is_active),
    )


def _address_problem(email: str | None, *, taken: bool) -> Problem | None:
    if email is None:
        return None
    if taken:
        return Problem(Code.CONFLICT, "Another user has this e-mail address.", ("email",))
    return email_problem(email, "email")


def _roles_problem(roles: Collection[Role] | None) -> Problem | None:
    if roles:
        return None
    message = f"`roles` must name at least one of {', '.join(Role)}."
    return Problem(Code.BAD_USER_INPUT, message, ("roles",), {"allowed": list(Role)})


# --- teams ------------------------------------------------------------------------------------------------------------


def membership_problems(ids: Mapping[str, Sequence[UUID]], known: Mapping[UUID, UserFacts]) -> list[Problem]:
    """What is wrong with lists of users who are to join a team, by the name of the list."""
    problems = []
    for name, listed in ids.items():
        for position, user_id in enumerate(listed):
            user = known.get(user_id)
            if user is None:
                problems.append(Problem(Code.NOT_FOUND, "There is no such user.", (name, str(position))))
            elif not user.is_active and name not in {"removeMemberIds", "removeAdminIds"}:
                message = "This user is not active and cannot join a team."
                problems.append(Problem(Code.BAD_USER_INPUT, message, (name, str(position))))
    return problems


def contradiction_problems(changes: TeamChanges) -> list[Problem]:
    """Where one request both adds and removes the same person."""
    joining = {*changes.add_members, *changes.add_admins}
    found = [
        Problem(Code.BAD_USER_INPUT, "The same request adds this user to the team.", ("removeMemberIds", str(position)))
        for position, user_id in enumerate(changes.remove_members)
        if user_id in joining
    ]
    found += [
        Problem(Code.BAD_USER_INPUT, "The same request makes this user an admin.", ("removeAdminIds", str(position)))
        for position, user_id in enumerate(changes.remove_admins)
        if user_id in changes.add_admins
    ]
    return found


# --- tokens -----------------------------------------------------------------------------------------------------------


def is_api_token(secret: str) -> bool:
    """Whether a bearer secret is one of ours rather than an identity provider's JWT."""
    return secret.startswith(TOKEN_MARK)


def hash_token(secret: str) -> bytes:
    """What is stored and looked up instead of the secret.

    A plain SHA-256 is enough: the secret is 256 random bits, so there is nothing to guess that a slow hash would slow.
    """
    return hashlib.sha256(secret.encode()).digest()


def decide_new_token(
    *,
    actor: Viewer,
    owner: UserFacts | None,
    name: str,
    roles: Collection[Role] | None,
    expires_at: datetime | None,
    now: datetime,
) -> TokenValues:
    """A token as it may be created for `owner` (None: there is no such user).

    One's own, or as an ADMIN those of SERVICE users; never with a role that the owner lacks. For oneself the roles in
    force now are the limit, so that a narrow token cannot make itself a wider one.
    Raises Refused with everything that is wrong.
    """
    problem = _owner_problem(actor, owner)
    problems = [text_problem(name, "name"), problem]
    allowed: frozenset[Role] = frozenset()
    if owner is not None and problem is None:
        allowed = owner.roles & actor.roles if owner.id == actor.user_id else owner.roles
        problems.append(_allowed_problem(roles, allowed))
    elif roles is not None:
        problems.append(_roles_problem(roles))
    if expires_at is not None and expires_at <= now:
        problems.append(Problem(Code.BAD_USER_INPUT, "`expiresAt` must be in the future.", ("expiresAt",)))
    raise_problems(problems)
    return TokenValues(name.strip(), frozenset(roles) if roles is not None else allowed, expires_at)


def _owner_problem(actor: Viewer, owner: UserFacts | None) -> Problem | None:
    if owner is None:
        return Problem(Code.NOT_FOUND, "There is no such user.", ("userId",))
    if owner.id == actor.user_id:
        return None
    if not (actor.is_admin and Role.SERVICE in owner.roles):
        message = "One may make tokens for oneself only; an ADMIN also for users with the role SERVICE."
        return Problem(Code.FORBIDDEN, message, ("userId",))
    return None if owner.is_active else Problem(Code.BAD_USER_INPUT, "This user is not active.", ("userId",))


def _allowed_problem(roles: Collection[Role] | None, allowed: frozenset[Role]) -> Problem | None:
    """Why a token cannot have these roles (None: all that are allowed). Nothing may be allowed: then there is none."""
    if roles is not None and not roles:
        return _roles_problem(roles)
    if not allowed:
        message = "A token never has more roles than its owner, nor than the token that makes it: those share none."
    elif roles is not None and not allowed.issuperset(roles):
        message = f"A token never has more roles than its owner: of {', '.join(sorted(allowed))} at most."
    else:
        return None
    return Problem(Code.FORBIDDEN, message, ("roles",), {"allowed": sorted(allowed)})


def may_revoke(actor: Viewer, *, owner_id: UUID) -> bool:
    """Whether this viewer may see and end a token of `owner_id`: its owner, or an ADMIN."""
    return actor.is_admin or actor.user_id == owner_id


def roles_in_force(stored: Collection[Role], narrowed: Collection[Role] | None) -> frozenset[Role]:
    """The roles of a request: the user's own, no more than what the token carries."""
    held = frozenset(stored)
    return held if narrowed is None else held & frozenset(narrowed)


def viewer_topic(user_id: UUID) -> str:
    """The hint that somebody's rights have changed: their streams look again."""
    return f"viewer:{user_id}"
