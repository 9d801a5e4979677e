"""Pages by key: a cursor says where a page ended, so page 5,000 costs what page 1 costs, and nothing is shown twice.

A cursor is opaque to clients: the values of the order's columns at that row, as base64 of JSON. It holds no secret and
is checked when it comes back; one that does not fit the order asked for is refused.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from db.errors import Code, refuse

DEFAULT_FIRST = 20
MAX_FIRST = 100
# What a column of whole numbers holds.
MOST_COUNTED = 2**31 - 1


@dataclass(slots=True)
class Page:
    """One page of rows. `total` is read only where it was asked for; an exception there is told in its place."""

    nodes: list[Any]
    cursors: list[str]
    has_next_page: bool
    has_previous_page: bool
    total_count: int | Exception | None = None

    @property
    def edges(self) -> list["Edge"]:
        """Each row with its cursor."""
        return [Edge(cursor, node) for cursor, node in zip(self.cursors, self.nodes, strict=True)]

    @property
    def page_info(self) -> "PageInfo":
        """Where this page stands among the others."""
        return PageInfo(
            self.has_next_page,
            self.has_previous_page,
            self.cursors[0] if self.cursors else None,
            self.cursors[-1] if self.cursors else None,
        )


@dataclass(frozen=True, slots=True)
class Edge:
    """A row and the cursor that a next page would start after."""

    cursor: str
    node: Any


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Relay's facts about a page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


def empty_page() -> Page:
    """The page of a list that has nothing in it."""
    return Page([], [], has_next_page=False, has_previous_page=False, total_count=0)


def encode_cursor(order: str, values: Sequence[Any]) -> str:
    """The cursor of a row: the order's name and the row's values in it."""
    return urlsafe_b64encode(orjson.dumps([order, *values], default=str)).decode().rstrip("=")


def decode_cursor(cursor: str, order: str, kinds: Sequence[type]) -> list[Any]:
    """The values a page starts after, in the types of the order's columns.

    Raises Refused (BAD_USER_INPUT at `after`) where the cursor is none of ours or belongs to another order.
    """
    try:
        name, *values = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name == order and len(values) == len(kinds):
            return [_typed(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError):
        pass
    raise refuse(Code.BAD_USER_INPUT, "`after` must be a cursor of this list, in the same order.", "after")


def _typed(value: Any, kind: type) -> Any:
    if value is None:
        return None
    if kind is UUID:
        return UUID(value)
    if kind is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    if kind is str and "\x00" in value:
        raise ValueError(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(kind)
    if isinstance(value, int) and not -MOST_COUNTED <= value <= MOST_COUNTED:
        raise OverflowError(value)
    return value


def page_size(first: int | None) -> int:
    """How many rows a page has: 20 where nothing is said, at most 100.

    Raises Refused (BAD_USER_INPUT at `first`) for less than 0 or more than 100.
    """
    if first is None:
        return DEFAULT_FIRST
    if not 0 <= first <= MAX_FIRST:
        raise refuse(
            Code.BAD_USER_INPUT,
            f"`first` must be between 0 and {MAX_FIRST}; it is {first}.",
            "first",
            min=0,
            max=MAX_FIRST,
        )
    return first
