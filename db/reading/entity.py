"""How a domain declares what can be read of it: columns, derived values, relations and lists.

A declaration is written once, in `db/<domain>/queries.py`. A domain that concerns a lower one adds its relations to the
lower entity there (`COURSE.relations["plans"] = …`), so that lower domains never import upper ones.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from sqlalchemy import ARRAY, BindParameter, ColumnElement, FromClause, Table, TextualSelect, Uuid, bindparam
from sqlalchemy.sql.type_api import TypeEngine

if TYPE_CHECKING:
    from db.reading.load import Reading
    from db.reading.want import Want

Expression = Callable[[FromClause], ColumnElement[Any]]
Join = Callable[[FromClause, FromClause], ColumnElement[bool]]
VIEWER = "$viewer"  # what a derived value names to be handed the viewer
NOW = "$now"  # what a derived value names to be handed the database's time


class Reads(Protocol):
    """Who reads: decides which rows exist for them. `db.accounts.rules.Viewer` is one."""

    @property
    def shape(self) -> Hashable:
        """What of the viewer changes the text of a statement: the kind of access, never the person."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values that access rules bind: `viewer_id` and the like."""


Visible = Callable[[FromClause, Any], "ColumnElement[bool] | None"]


def bind(name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]] = Uuid, *, many: bool = False) -> BindParameter[Any]:
    """A parameter by name; with `many`, an array to compare with `= any_(…)`: one text for any number of values."""
    return bindparam(name, type_=ARRAY(kind) if many else kind)


@dataclass(frozen=True, slots=True)
class Derived:
    """A value computed from others of the same row: `needs` are their names, in the order `make` takes them."""

    needs: tuple[str, ...]
    make: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class One:
    """At most one row of another entity, joined. `is_guarded`: null where the viewer may not see it."""

    entity: "Callable[[], Entity]"
    on: Join
    is_guarded: bool = False


@dataclass(frozen=True, slots=True)
class Either:
    """The first of several `One` relations that is there, or `default`: an assignee is a person or a team."""

    choices: tuple[str, ...]
    default: Any = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a wanted page changes the text of its statement: the filters that are given, and whether it goes on."""

    filters: frozenset[str]
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a list. Its columns must make each row's place unique, and none of them is ever null.

    `kinds` are the Python types of the columns (for cursors), `descending` is per column. `among`, for lists below a
    parent whose order no index of their own table has: a way to few rows that the page is certainly among, each with
    its key once as `id`. It names the parent's key `parents.key`, the number of rows `page_limit`, and where the page
    goes on after another one, the values of that one's last row `page_after0`, `page_after1` …
    """

    columns: tuple[Expression, ...]
    kinds: tuple[type, ...]
    descending: tuple[bool, ...]
    among: Callable[[Asked], TextualSelect] | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """An argument of a list that narrows it: its condition, which binds the argument by its own name.

    `convert` makes the argument's value what the database compares with. A condition that binds nothing applies where
    the argument is true. `absent` narrows the list where the argument is not given. With `is_written` the condition
    takes the value too and writes it into the statement, so that a partial index can answer: only for arguments of few
    values that `Want.shape` tells apart (flags, and those in `WRITTEN`). With `is_skewed` the statement is planned for
    the value at hand: some have many rows and some hardly any, and what finds the ones is no way to the others.
    """

    condition: Callable[..., ColumnElement[bool]]
    convert: Callable[[Any], Any] | None = None
    is_flag: bool = False
    absent: Callable[[FromClause], ColumnElement[bool]] | None = None
    is_written: bool = False
    is_skewed: bool = False

    def narrowed(self, source: FromClause, value: Any) -> ColumnElement[bool]:
        """The condition for an argument of this value."""
        return self.condition(source, value) if self.is_written else self.condition(source)

    def is_given(self, value: Any) -> bool:
        """Whether an argument of this value narrows the list."""
        return value is not None and not (self.is_flag and value is False)


@dataclass(frozen=True, slots=True)
class Listing:
    """How a list is paged: its orders by name, its filters by argument.

    `default` names the order where none is asked for, or picks it from the arguments.
    """

    orders: Mapping[str, Order]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    default: Callable[[Mapping[str, Any]], str] | str = ""

    def order_name(self, args: Mapping[str, Any]) -> str:
        """The order that these arguments ask for."""
        asked = args.get("order_by")
        if asked is not None:
            return str(getattr(asked, "name", asked))
        if callable(self.default):
            return self.default(args)
        return self.default or next(iter(self.orders))


@dataclass(frozen=True, slots=True)
class Many:
    """The rows of another entity that belong to this one.

    `key` is the child's column that names its parent's `parent` column; with `link`, the column of a table between the
    two, joined by `link_on`. With `listing` it is a page, else a list in `order`. `where` narrows it always.
    """

    entity: "Callable[[], Entity]"
    key: Expression
    parent: str = "id"
    link: Table | None = None
    link_on: Join | None = None
    order: Callable[[FromClause], Sequence[ColumnElement[Any]]] = lambda _: ()
    listing: Listing | None = None
    where: Callable[[FromClause], ColumnElement[bool]] | None = None
    is_guarded: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """Anything else that is loaded for all parents at once: `load` takes their keys and gives a value for each."""

    load: "Callable[[Reading, Sequence[UUID], Want], Awaitable[Mapping[UUID, Any]]]"
    parent: str = "id"
    default: Callable[[], Any] = lambda: None


Relation = Derived | One | Either | Many | Batch


@dataclass(frozen=True, eq=False)
class Entity:
    """A kind of row. Names that `columns` and `relations` do not have are columns of the table by the same name.

    `type_name` is what GraphQL calls it. `visible` is the access rule, part of each statement's WHERE. A list of
    several types that share a table is of an entity with `variants`: its column `which` says whose row each is.
    """

    type_name: str
    table: Table
    columns: Mapping[str, Expression] = field(default_factory=dict)
    relations: dict[str, Relation] = field(default_factory=dict)
    visible: Visible | None = None
    which: str = ""
    variants: "Mapping[Any, Entity]" = field(default_factory=dict)

    def column(self, name: str, source: FromClause) -> ColumnElement[Any]:
        """The expression of a plain name over an alias of the table. Raises KeyError for a name it does not have."""
        made = self.columns.get(name)
        return made(source) if made is not None else source.c[name]
