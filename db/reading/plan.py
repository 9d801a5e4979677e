"""From an entity and a wanted tree to statements: done once for each shape, then remembered.

A `Plan` is one statement and how its records become rows. To-one relations are joined into it; each to-many relation
hangs below it as a plan of its own, keyed by a column of its parent.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)

from db.clock import sql_now
from db.compiled import Compiled, compile_statement
from db.reading.entity import (
    NOW,
    VIEWER,
    Asked,
    Batch,
    Derived,
    Either,
    Entity,
    Filter,
    Join,
    Listing,
    Many,
    One,
    Order,
    Reads,
)
from db.reading.want import Want

KEYS = "$keys"
LIMIT = "page_limit"
Slot = Callable[[Record, "list[Mapping[Any, Any]]", Any], Any]
Where = Callable[[FromClause], ColumnElement[bool]]


@dataclass(slots=True)
class Child:
    """A to-many relation below a plan: where its parents' keys are in the record, and which want it answers."""

    parent_index: int
    path: tuple[int, ...]
    plan: "Plan | Batch"
    default: Callable[[], Any]


@dataclass(slots=True)
class Plan:
    """One statement, how its records become rows, and the plans below it."""

    compiled: Compiled
    make: Slot
    children: list[Child]
    listing: Listing | None = None
    order_name: str = ""
    order: Order | None = None
    key_index: int | None = None
    order_indexes: tuple[int, ...] = ()
    count: Compiled | None = None
    filters: tuple[tuple[str, Filter], ...] = ()

    @property
    def is_skewed(self) -> bool:
        """Whether the way to the rows depends on the values of its filters."""
        return any(narrow.is_skewed for _, narrow in self.filters)


@dataclass(slots=True)
class _Scope:
    """What grows while one statement is written: its columns, its joins, and the plans below it."""

    reads: Reads
    joined: FromClause
    columns: list[ColumnElement[Any]] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def index(self, expression: ColumnElement[Any]) -> int:
        """The place of an expression in the record."""
        self.columns.append(expression.label(f"c{len(self.columns)}"))
        return len(self.columns) - 1

    def select(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """The statement as it stands."""
        return select(*self.columns).select_from(self.joined).where(*conditions)


@dataclass(frozen=True, slots=True)
class _Place:
    """An entity under the alias it has in the statement."""

    entity: Entity
    source: FromClause


@dataclass(frozen=True, slots=True)
class _Draft:
    """A statement before its paging: whose rows they are, and what they must satisfy."""

    scope: _Scope
    source: FromClause
    key: ColumnElement[Any] | None
    make: Slot
    conditions: list[ColumnElement[bool]]


def plan_list(entity: Entity, wanted: Want, reads: Reads, many: Many) -> Plan:
    """The plan of the rows of `entity` that belong to some parents: a list, or a page for each."""
    source = entity.table.alias("t")
    joined = source if many.link is None or many.link_on is None else _linked(source, many.link, many.link_on)
    scope = _Scope(reads, joined)
    key = many.key(source if many.link is None else many.link)
    make = _row(scope, _Place(entity, source), wanted.wants, ())
    conditions = _conditions(entity, source, reads, many)
    if many.listing is not None:
        return _page(_Draft(scope, source, key, make, conditions), wanted, many.listing)
    key_index = scope.index(key)
    statement = scope.select(key == any_(bindparam(KEYS, type_=ARRAY(Uuid))), *conditions).order_by(*many.order(source))
    return Plan(compile_statement(statement), make, scope.children, key_index=key_index)


def plan_root(entity: Entity, wanted: Want, reads: Reads, listing: Listing, where: Where | None) -> Plan:
    """The plan of a page that hangs on nothing: all that the viewer may see, narrowed by `where`."""
    source = entity.table.alias("t")
    scope = _Scope(reads, source)
    make = _row(scope, _Place(entity, source), wanted.wants, ())
    many = Many(lambda: entity, key=lambda _: literal_column("NULL"), where=where)
    return _page(_Draft(scope, source, None, make, _conditions(entity, source, reads, many)), wanted, listing)


def _page(draft: _Draft, wanted: Want, listing: Listing) -> Plan:
    scope, key = draft.scope, draft.key
    key_index = None if key is None else scope.index(key)
    order_name = listing.order_name(wanted.args)
    order = listing.orders[order_name]
    keys = [expression(draft.source) for expression in order.columns]
    order_indexes = tuple(scope.index(expression) for expression in keys)
    filters = tuple(
        (name, narrow) for name, narrow in listing.filters.items() if narrow.is_given(wanted.args.get(name))
    )
    conditions = [*draft.conditions, *(narrow.narrowed(draft.source, wanted.args[name]) for name, narrow in filters)]
    conditions += [
        narrow.absent(draft.source)
        for name, narrow in listing.filters.items()
        if narrow.absent is not None and not narrow.is_given(wanted.args.get(name))
    ]
    counted = _count(scope, key, conditions) if wanted.counts else None
    if wanted.args.get("after") is not None:
        conditions.append(_after(order, keys))
    directions = [each.desc() if down else each.asc() for each, down in zip(keys, order.descending, strict=True)]
    if key is None:
        statement = scope.select(*conditions).order_by(*directions).limit(bindparam(LIMIT, type_=BigInteger))
    else:
        if order.among is not None:
            asked = Asked(frozenset(name for name, _ in filters), wanted.args.get("after") is not None)
            # As an array, of which the planner always expects few: it looks the rows up, and never joins them all.
            conditions.append(draft.source.c.id == any_(func.array(order.among(asked).scalar_subquery())))
        statement = _lateral(scope, key, conditions, directions)
    return Plan(
        compile_statement(statement),
        draft.make,
        scope.children,
        listing,
        order_name,
        order,
        key_index,
        order_indexes,
        counted,
        filters,
    )


def _lateral(
    scope: _Scope,
    key: ColumnElement[Any],
    conditions: Sequence[ColumnElement[bool]],
    directions: Sequence[ColumnElement[Any]],
) -> Select[Any]:
    # A page for each parent: LIMIT must count per parent, so the inner SELECT runs once for each key.
    parents = (
        func.unnest(bindparam(KEYS, type_=ARRAY(Uuid)))
        .table_valued(column("key", Uuid), name="parents")
        .render_derived(name="parents")
    )
    rows = scope.select(key == parents.c.key, *conditions).order_by(*directions)
    page = rows.limit(bindparam(LIMIT, type_=BigInteger)).lateral("page")
    return select(*page.c).select_from(parents.join(page, true()))


def _count(scope: _Scope, key: ColumnElement[Any] | None, conditions: Sequence[ColumnElement[bool]]) -> Compiled:
    if key is None:
        return compile_statement(select(func.count()).select_from(scope.joined).where(*conditions))
    wanted_keys = key == any_(bindparam(KEYS, type_=ARRAY(Uuid)))
    counted = select(key, func.count()).select_from(scope.joined).where(wanted_keys, *conditions)
    return compile_statement(counted.group_by(key))


def _after(order: Order, keys: list[ColumnElement[Any]]) -> ColumnElement[bool]:
    values = [bindparam(f"page_after{i}", type_=key.type) for i, key in enumerate(keys)]
    if len(set(order.descending)) == 1:
        # One direction: a row comparison, which an index over the same columns answers directly.
        left, right = tuple_(*keys), tuple_(*values)
        return left < right if order.descending[0] else left > right
    steps = []
    for i, (key, value, down) in enumerate(zip(keys, values, order.descending, strict=True)):
        same = [earlier == bound for earlier, bound in zip(keys[:i], values[:i], strict=True)]
        steps.append(and_(*same, key < value if down else key > value))
    return or_(*steps)


def _conditions(entity: Entity, source: FromClause, reads: Reads, many: Many) -> list[ColumnElement[bool]]:
    visible = entity.visible(source, reads) if entity.visible is not None and many.is_guarded else None
    narrowed = many.where(source) if many.where is not None else None
    return [condition for condition in (visible, narrowed) if condition is not None]


def _linked(source: FromClause, link: FromClause, on: Join) -> FromClause:
    return source.join(link, on(link, source))


# ------------------------------------------------------------------------------------------------ rows


def _row(scope: _Scope, place: _Place, wants: tuple[Want, ...], path: tuple[int, ...]) -> Slot:
    """How a record becomes a row of the entity: a named tuple with a slot for each wanted name."""
    if place.entity.variants:
        return _variant(scope, place, wants, path)
    type_name = place.entity.type_name
    slots: dict[str, Slot] = {"id": _value(scope, place, "id")} if "id" in place.source.c else {}
    for number, wanted in enumerate(wants):
        if wanted.slot not in slots and (not wanted.on or type_name in wanted.on):
            slots[wanted.slot] = _slot(scope, place, wanted, (*path, number))
    row_type = _row_type(type_name, tuple(slots))
    makers = tuple(slots.values())

    def make(record: Record, loaded: list[Mapping[Any, Any]], viewer: Any) -> Any:
        return row_type._make([slot(record, loaded, viewer) for slot in makers])

    return make


def _variant(scope: _Scope, place: _Place, wants: tuple[Want, ...], path: tuple[int, ...]) -> Slot:
    which = scope.index(place.entity.column(place.entity.which, place.source))
    makers = {
        value: _row(scope, _Place(variant, place.source), wants, path)
        for value, variant in place.entity.variants.items()
    }
    return lambda record, loaded, viewer: makers[record[which]](record, loaded, viewer)


def _slot(scope: _Scope, place: _Place, wanted: Want, path: tuple[int, ...]) -> Slot:
    match place.entity.relations.get(wanted.name):
        case None:
            return _value(scope, place, wanted.name)
        case Derived() as derived:
            return _derived(scope, place, derived, path)
        case One() as one:
            return _one(scope, place.source, one, wanted, path)
        case Either() as either:
            return _either(scope, place, either, wanted, path)
        case Many() as many:
            plan = plan_list(many.entity(), wanted, scope.reads, many)
            return _below(scope, place, many.parent, Child(0, path, plan, list))
        case Batch() as batch:
            return _below(scope, place, batch.parent, Child(0, path, batch, batch.default))


def _value(scope: _Scope, place: _Place, name: str) -> Slot:
    if name == VIEWER:
        return lambda _record, _loaded, viewer: viewer
    index = scope.index(sql_now() if name == NOW else place.entity.column(name, place.source))
    return lambda record, _loaded, _viewer: record[index]


def _derived(scope: _Scope, place: _Place, derived: Derived, path: tuple[int, ...]) -> Slot:
    needed = [_slot(scope, place, Want(name), path) for name in derived.needs]
    make = derived.make
    return lambda record, loaded, viewer: make(*[slot(record, loaded, viewer) for slot in needed])


def _one(scope: _Scope, source: FromClause, one: One, wanted: Want, path: tuple[int, ...]) -> Slot:
    target = one.entity()
    alias = target.table.alias(f"j{len(scope.columns)}")
    condition = one.on(source, alias)
    if one.is_guarded and target.visible is not None:
        visible = target.visible(alias, scope.reads)
        condition = condition if visible is None else and_(condition, visible)
    scope.joined = scope.joined.outerjoin(alias, condition)
    presence = scope.index(next(iter(alias.primary_key)))
    make = _row(scope, _Place(target, alias), wanted.wants, path)

    def made(record: Record, loaded: list[Mapping[Any, Any]], viewer: Any) -> Any:
        return None if record[presence] is None else make(record, loaded, viewer)

    return made


def _either(scope: _Scope, place: _Place, either: Either, wanted: Want, path: tuple[int, ...]) -> Slot:
    slots = []
    for choice in either.choices:
        one = place.entity.relations[choice]
        if not isinstance(one, One):
            raise TypeError(f"{place.entity.type_name}.{choice} must be declared as a One")
        slots.append(_one(scope, place.source, one, wanted, path))
    default = either.default

    def made(record: Record, loaded: list[Mapping[Any, Any]], viewer: Any) -> Any:
        for slot in slots:
            row = slot(record, loaded, viewer)
            if row is not None:
                return row
        return default

    return made


def _below(scope: _Scope, place: _Place, parent: str, child: Child) -> Slot:
    child.parent_index = index = scope.index(place.entity.column(parent, place.source))
    number = len(scope.children)
    scope.children.append(child)

    def made(record: Record, loaded: list[Mapping[Any, Any]], _viewer: Any) -> Any:
        found = loaded[number].get(record[index])
        return child.default() if found is None else found

    return made


_MOST_ROW_TYPES = 1_000
_ROW_TYPES: dict[tuple[str, tuple[str, ...]], Any] = {}


def _row_type(type_name: str, names: tuple[str, ...]) -> Any:
    made = _ROW_TYPES.get((type_name, names))
    if made is None:
        # Aliases are the clients' choice, so there is no end of them; plans keep the types that they use.
        if len(_ROW_TYPES) >= _MOST_ROW_TYPES:
            _ROW_TYPES.clear()
        base = namedtuple(type_name or "Row", names)  # type: ignore[misc]  # its fields are known when it runs
        made = type(type_name or "Row", (base,), {"__slots__": (), "type_name": type_name})
        _ROW_TYPES[type_name, names] = made
    return made
