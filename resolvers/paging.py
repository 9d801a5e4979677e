"""Relay connections over the planner's pages."""

from typing import Annotated, Any, Generic, TypeVar

import strawberry

from resolvers.fields import attr

T = TypeVar("T")

First = Annotated[
    int | None,
    strawberry.argument(description="How many rows, from 0 to 100; 20 where it is absent."),
]
After = Annotated[
    str | None,
    strawberry.argument(description="The cursor after which the page starts: `pageInfo.endCursor` of the one before."),
]


@strawberry.type(description="Where a page stands among the others.")
class PageInfo:
    """Relay's facts about a page."""

    has_next_page: bool = attr("Whether there are more rows after this page.")
    has_previous_page: bool = attr("Whether there are rows before this page.")
    start_cursor: str | None = attr("The cursor of the first row; null where the page is empty.")
    end_cursor: str | None = attr("The cursor of the last row: `after` of the next page; null where the page is empty.")


@strawberry.type(description="A row of a page, with its cursor.")
class Edge(Generic[T]):
    """A row and where it stands."""

    cursor: str = attr("Where this row stands in the list, for `after`.")
    node: T = attr("The row.")


@strawberry.type(description="A page of a list. Pages are found by key, so late ones cost what the first costs.")
class Connection(Generic[T]):
    """A page of rows of one type."""

    edges: list[Edge[T]] = attr("The rows of this page with their cursors.")
    nodes: list[T] = attr("The rows of this page.")
    page_info: PageInfo = attr("Where this page stands among the others.")
    total_count: int | None = attr(
        "How many rows the whole list has. Costs a query; null, with an error, where counting takes too long."
    )


def described(text: str) -> Any:
    """An argument's description, for `Annotated[int, described("…")]`."""
    return strawberry.argument(description=text)
