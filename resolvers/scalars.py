"""Scalars of our own: instants in UTC, and JSON."""

import re
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

JSON = NewType("JSON", object)

# RFC 3339 with an offset that is written out. Python's own parser takes far more than that.
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def write_instant(value: Any) -> str:
    """An aware datetime as RFC 3339 in UTC, with microseconds only where there are any."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise GraphQLError("This field holds no instant.")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_instant(value: Any) -> datetime:
    """An instant from RFC 3339. One without an offset is refused: nobody knows when it is."""
    if isinstance(value, str) and RFC3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError(
        f"{value!r} is not a DateTime. Write RFC 3339 with an offset, such as 2026-03-01T09:00:00Z.",
        extensions={"code": "BAD_USER_INPUT"},
    )


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, RFC 3339. Always UTC with `Z` on output; an input without an offset is refused.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=write_instant,
        parse_value=read_instant,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value. Its field says what is in it.",
        specified_by_url="https://datatracker.ietf.org/doc/html/rfc8259",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
}
