"""Executes plans: one statement for the rows, one for each list below them, whatever the number of rows."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any
from uuid import UUID

from asyncpg import Record
from sqlalchemy import ColumnElement, FromClause

from db.compiled import Compiled, compile_statement
from db.errors import TimedOut
from db.paging import Page, decode_cursor, encode_cursor, page_size
from db.reading.entity import Batch, Entity, Listing, Many, Reads
from db.reading.plan import KEYS, LIMIT, Child, Plan, plan_list, plan_root
from db.reading.want import Want
from db.session import Reader

COUNT_TIMEOUT_SECONDS = 2.0
_PLANS: dict[Hashable, Plan] = {}
_MAX_PLANS = 1_000

Where = Callable[[FromClause], ColumnElement[bool]]


class Reading:
    """One viewer's reads. Knows nothing of GraphQL; statements are counted on its `reader`."""

    def __init__(self, reader: Reader, viewer: Reads) -> None:
        self.reader = reader
        self.viewer = viewer

    async def by_ids(self, entity: Entity, wanted: Want, ids: Sequence[UUID]) -> dict[UUID, Any]:
        """The rows of these ids that the viewer may see, by id."""
        many = Many(lambda: entity, key=lambda source: source.c.id)
        plan = self._plan(("ids", entity, wanted.shape), lambda: plan_list(entity, wanted, self.viewer, many))
        found = await self._run(plan, wanted, {KEYS: list(ids)})
        return {key: rows[0] for key, rows in found.items()}

    async def one(self, entity: Entity, wanted: Want, id_: UUID) -> Any | None:
        """The row of this id, or None where there is none or the viewer may not see it."""
        return (await self.by_ids(entity, wanted, [id_])).get(id_)

    async def page(
        self,
        entity: Entity,
        wanted: Want,
        listing: Listing,
        *,
        name: str,
        where: Where | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Page:
        """A page of all rows that the viewer may see, narrowed by `where` with its `values`.

        `name` tells this list from others of the same entity. Raises Refused for a page size or a cursor that is wrong.
        """
        plan = self._plan(
            ("page", name, entity, wanted.shape), lambda: plan_root(entity, wanted, self.viewer, listing, where)
        )
        found = await self._run(plan, wanted, dict(values or {}))
        page: Page = found[None]
        return page

    async def below(
        self, entity: Entity, wanted: Want, many: Many, keys: Sequence[UUID], *, name: str
    ) -> Mapping[Any, Any]:
        """The lists (or pages) of a relation by their parents' keys, for relations that no row was planned with."""
        entity = many.entity()
        plan = self._plan(("below", name, entity, wanted.shape), lambda: plan_list(entity, wanted, self.viewer, many))
        return await self._run(plan, wanted, {KEYS: list(keys)})

    async def records(self, statement: "Compiled | Any", values: Mapping[str, Any], *, name: str = "") -> list[Record]:
        """The records of a statement of one's own; `name` remembers its text, so it must name its shape."""
        compiled = statement if isinstance(statement, Compiled) else _compiled(name, statement)
        return await self.reader.fetch(compiled.sql, compiled.arguments(self._values(values)))

    # -------------------------------------------------------------------------------------------- inside

    def _plan(self, shape: Hashable, make: Callable[[], Plan]) -> Plan:
        key = (shape, self.viewer.shape)
        plan = _PLANS.get(key)
        if plan is None:
            if len(_PLANS) >= _MAX_PLANS:
                _PLANS.clear()
            plan = _PLANS[key] = make()
        return plan

    def _values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.reader.clock.parameters, **self.viewer.parameters, **values}

    async def _run(self, plan: Plan, wanted: Want, values: dict[str, Any]) -> Mapping[Any, Any]:
        if plan.listing is not None:
            values.update(_list_values(plan, wanted))
        bound = self._values(values)
        records = await self.reader.fetch(
            plan.compiled.sql, plan.compiled.arguments(bound), is_planned_anew=plan.is_skewed
        )
        loaded = [await self._child(child, wanted, records) for child in plan.children]
        if plan.listing is None:
            return self._grouped(plan, records, loaded)
        return await self._pages(plan, wanted, records, loaded, bound)

    async def _child(self, child: Child, wanted: Want, records: list[Record]) -> Mapping[Any, Any]:
        for number in child.path:
            wanted = wanted.wants[number]
        keys = list({record[child.parent_index] for record in records} - {None})
        if not keys:
            return {}
        if isinstance(child.plan, Batch):
            return await child.plan.load(self, keys, wanted)
        return await self._run(child.plan, wanted, {KEYS: keys})

    def _grouped(self, plan: Plan, records: list[Record], loaded: list[Mapping[Any, Any]]) -> Mapping[Any, Any]:
        groups: dict[Any, list[Any]] = {}
        index = plan.key_index
        assert index is not None  # noqa: S101 - a plan without pages always has a key
        for record in records:
            groups.setdefault(record[index], []).append(plan.make(record, loaded, self.viewer))
        return groups

    async def _pages(
        self,
        plan: Plan,
        wanted: Want,
        records: list[Record],
        loaded: list[Mapping[Any, Any]],
        bound: dict[str, Any],
    ) -> Mapping[Any, Any]:
        groups: dict[Any, list[Record]] = {} if plan.key_index is not None else {None: []}
        for record in records:
            groups.setdefault(None if plan.key_index is None else record[plan.key_index], []).append(record)
        size = page_size(wanted.args.get("first"))
        has_previous = wanted.args.get("after") is not None
        counts = await self._counts(plan, bound) if wanted.counts else {}
        for key in bound.get(KEYS, ()):
            groups.setdefault(key, [])
        return {
            key: Page(
                [plan.make(record, loaded, self.viewer) for record in group[:size]],
                [encode_cursor(plan.order_name, [record[i] for i in plan.order_indexes]) for record in group[:size]],
                has_next_page=len(group) > size,
                has_previous_page=has_previous,
                total_count=counts if isinstance(counts, Exception) else counts.get(key, 0),
            )
            for key, group in groups.items()
        }

    async def _counts(self, plan: Plan, bound: dict[str, Any]) -> Mapping[Any, int] | Exception:
        assert plan.count is not None  # noqa: S101 - planned because the want counts
        arguments = plan.count.arguments(bound)
        try:
            records = await self.reader.fetch(
                plan.count.sql, arguments, timeout_seconds=COUNT_TIMEOUT_SECONDS, is_planned_anew=plan.is_skewed
            )
        except TimeoutError:
            return TimedOut(f"Counting this list took longer than {COUNT_TIMEOUT_SECONDS:g} s.")
        if plan.key_index is None:
            return {None: records[0][0]}
        return {record[0]: record[1] for record in records}


def _list_values(plan: Plan, wanted: Want) -> dict[str, Any]:
    values: dict[str, Any] = {LIMIT: page_size(wanted.args.get("first")) + 1}
    for name, narrow in plan.filters:
        given = wanted.args[name]
        values[name] = given if narrow.convert is None else narrow.convert(given)
    after = wanted.args.get("after")
    if after is not None and plan.order is not None:
        decoded = decode_cursor(after, plan.order_name, plan.order.kinds)
        values.update({f"page_after{i}": value for i, value in enumerate(decoded)})
    return values


_COMPILED: dict[str, Compiled] = {}


def _compiled(name: str, statement: Any) -> Compiled:
    if not name:
        return compile_statement(statement)
    made = _COMPILED.get(name)
    if made is None:
        made = _COMPILED[name] = compile_statement(statement)
    return made
