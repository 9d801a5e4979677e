"""Scalars of our own: instants in UTC, and JSON."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, ValueNode, value_from_ast_untyped
from strawberry.types.scalar import ScalarDefinition

from db.instants import EARLIEST_INSTANT, LATEST_INSTANT

JSON = NewType("JSON", object)

# RFC 3339 with an offset that is written out. Python's own parser takes far more than that.
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
# Of a value that is refused.
MOST_SHOWN = 60


def write_instant(value: Any) -> str:
    """An aware datetime as RFC 3339 in UTC, with microseconds only where there are any."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise GraphQLError("This field holds no instant.")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_instant(value: Any) -> datetime:
    """An instant from RFC 3339. One without an offset is refused: nobody knows when it is."""
    right = "Write RFC 3339 with an offset, such as 2026-03-01T09:00:00Z."
    if isinstance(value, str) and RFC3339.fullmatch(value):
        try:
            instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            right = "It is written like one, but there is no such day or time."
        else:
            if EARLIEST_INSTANT <= instant <= LATEST_INSTANT:
                return instant
            right = f"It must be between {write_instant(EARLIEST_INSTANT)} and {write_instant(LATEST_INSTANT)}."
    shown = repr(value)
    shown = shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + "…"
    raise GraphQLError(f"{shown} is not a DateTime. {right}", extensions={"code": "BAD_USER_INPUT"})


def read_instant_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> datetime:
    """An instant that is written in the document itself. A refusal says where."""
    del variables
    try:
        return read_instant(value_from_ast_untyped(node))
    except GraphQLError as error:
        raise GraphQLError(error.message, node, extensions=error.extensions) from None


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, RFC 3339. Always UTC with `Z` on output; an input without an offset is refused.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=write_instant,
        parse_value=read_instant,
        parse_literal=read_instant_literal,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value. Its field says what is in it.",
        specified_by_url="https://datatracker.ietf.org/doc/html/rfc8259",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
}
