"""Column types that keep Python's and Postgres' ideas of a value the same."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import DateTime, Dialect, Text, TypeDecorator

E = TypeVar("E", bound=StrEnum)


class EnumText(TypeDecorator[E], Generic[E]):
    """A StrEnum stored as its text. The table's CHECK names the values: a new one is a migration, not a cast."""

    impl = Text
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - its signature
        """Refuse what is not one of the values before Postgres has to."""
        return None if value is None else self.enum(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> E | None:  # noqa: ARG002 - its signature
        """Give the member back, so that a `match` on it is checked."""
        return None if value is None else self.enum(value)


class Instant(TypeDecorator[datetime]):
    """A moment: timestamptz, always aware and in UTC. A naive datetime is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a time without an offset: nobody knows when it is."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without an offset is no instant")
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Postgres answers in the session's zone, which is UTC."""
        return None if value is None else value.astimezone(UTC)
