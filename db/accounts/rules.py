"""Who somebody is and what follows from it: roles, the viewer of a request, and the rules of changing accounts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


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
    """

    user_id: UUID
    name: str
    roles: frozenset[Role]
    token_id: UUID | None = None
    expires_at: datetime | None = None

    @property
    def is_admin(self) -> bool:
        """May do everything that roles decide."""
        return Role.ADMIN in self.roles

    @property
    def is_editor(self) -> bool:
        """EDITOR, or ADMIN, who may do whatever an EDITOR may."""
        return Role.EDITOR in self.roles or Role.ADMIN in self.roles

    @property
    def is_service(self) -> bool:
        """A program, not a person."""
        return Role.SERVICE in self.roles
