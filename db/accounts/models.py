"""The tables of accounts: people and programs, their teams, and the hashes of their tokens."""

import uuid
from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.accounts.rules import Role
from db.base import Base, Key
from db.types import EnumText

ROLES_KNOWN = "roles <@ ARRAY[{}]::text[] AND cardinality(roles) > 0".format(
    ", ".join(f"'{role.value}'" for role in Role)
)


class User(Base):
    """A person, or with the role SERVICE a program. Never deleted: what they did keeps their name."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(ROLES_KNOWN, name="roles"),
        CheckConstraint("email = lower(email)", name="email_lower"),
        UniqueConstraint("email"),
        UniqueConstraint("subject"),
        Index("ix_users_by_name", text("lower(name)"), "id"),
    )

    id: Mapped[Key]
    name: Mapped[str]
    email: Mapped[str | None]
    # Who they are at the identity provider (the `sub` of its tokens), once they have come from there.
    subject: Mapped[str | None]
    roles: Mapped[list[Role]] = mapped_column(ARRAY(EnumText(Role)))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Team(Base):
    """People who share a queue of work."""

    __tablename__ = "teams"
    __table_args__ = (Index("ix_teams_by_name", text("lower(name)"), "id"),)

    id: Mapped[Key]
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TeamMember(Base):
    """One person in one team. An admin is a member with a mark."""

    __tablename__ = "team_members"
    __table_args__ = (Index(None, "user_id"),)

    team_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    is_admin: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiToken(Base):
    """A bearer token. The secret itself is stored nowhere: only its hash, and a prefix to tell it apart by."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        CheckConstraint(ROLES_KNOWN, name="roles"),
        CheckConstraint("octet_length(token_hash) = 32", name="hash_is_sha256"),
        UniqueConstraint("token_hash"),
        Index(None, "user_id"),
    )

    id: Mapped[Key]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    prefix: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    roles: Mapped[list[Role]] = mapped_column(ARRAY(EnumText(Role)))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
