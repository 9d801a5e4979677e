"""From a field's selection to a plain tree of wanted names: what lets the database be asked for just that.

GraphQL's part ends here: `db/` sees names of attributes, arguments as values, and the names of types where a relation
may be one of several. Ids become keys, a connection becomes its rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionSetNode,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.values import VariableValues, get_argument_values, get_directive_values

from db.reading import Want, merged
from resolvers.ids import NOTHING, decode_any
from resolvers.inputs import check_arguments

DEFINITION = "strawberry-definition"
Nodes = dict[tuple[str, frozenset[str]], list[tuple[GraphQLNamedType, FieldNode]]]
# A field, its arguments, and where the document asks for it with these.
Alike = tuple[GraphQLField, Mapping[str, Any], list[FieldNode]]


class Slots:
    """Where the lists of one operation are kept in their rows: a slot for each name with its arguments.

    A row may stand at several places of the answer, each with lists of its own, so neither an alias nor a place tells
    them apart: what is asked for does. A field of a document has the same arguments wherever it stands.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._of_nodes: dict[int, tuple[FieldNode, str]] = {}

    def number(self, name: str, args: Mapping[str, Any], nodes: Iterable[FieldNode]) -> str:
        """What tells this list from others of its name, remembered of these fields, which ask for it."""
        given = repr(sorted((each, value) for each, value in args.items() if value is not None))
        known = str(self._numbers.setdefault((name, given), len(self._numbers)))
        for node in nodes:
            self._of_nodes[id(node)] = (node, known)
        return known

    def of(self, node: FieldNode) -> str:
        """What `number` has said of this field."""
        return self._of_nodes[id(node)][1]


class Selection:
    """The selections of one operation: fragments, variables and the schema they are of."""

    def __init__(self, info: "GraphQLResolveInfo[Any]") -> None:
        self.schema: GraphQLSchema = info.schema
        self.slots: Slots = info.context.slots
        self.fragments = info.fragments
        given = info.variable_values
        # Strawberry's executor hands out the plain values, graphql-core's own hands out its container.
        self.variables = given if isinstance(given, VariableValues) else VariableValues({}, given)

    def wants(self, named: GraphQLNamedType, nodes: Iterable[FieldNode]) -> tuple[Want, ...]:
        """What these fields of that type select."""
        found: Nodes = {}
        for node in nodes:
            if node.selection_set is not None:
                self._collect(named, node.selection_set, frozenset(), found)
        wanted: list[Want] = []
        for (_, on), selected in found.items():
            for same in self._alike(selected):
                wanted += self._want(on, *same)
        return merged(wanted)

    def _alike(self, selected: Iterable[tuple[GraphQLNamedType, FieldNode]]) -> Iterable["Alike"]:
        """Fields with one key, by what they ask for: those of `nodes` and of `edges` need not ask for the same."""
        alike: dict[tuple[str, str], Alike] = {}
        for parent, node in selected:
            if not node.name.value.startswith("__"):
                field: GraphQLField = parent.fields[node.name.value]  # type: ignore[attr-defined]  # objects and interfaces have fields
                args = self.arguments(field, node)
                alike.setdefault((node.name.value, repr(args)), (field, args, []))[2].append(node)
        return alike.values()

    def _collect(
        self, parent: GraphQLNamedType, selections: SelectionSetNode, on: frozenset[str], found: Nodes
    ) -> None:
        for node in selections.selections:
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                found.setdefault((key, on), []).append((parent, node))
                continue
            if isinstance(node, FragmentSpreadNode):
                fragment = self.fragments[node.name.value]
            elif isinstance(node, InlineFragmentNode):
                fragment = node  # type: ignore[assignment]  # both have a condition and selections
            condition = fragment.type_condition
            target = self.schema.type_map[condition.name.value] if condition is not None else parent
            narrowed = on if target is parent else self._possible(target, on)
            # Fragments whose types cannot meet select nothing; an empty `on` would mean all types.
            if narrowed or target is parent:
                self._collect(target, fragment.selection_set, narrowed, found)

    def _want(
        self, on: frozenset[str], field: GraphQLField, args: Mapping[str, Any], nodes: list[FieldNode]
    ) -> Iterable[Want]:
        definition = field.extensions[DEFINITION]
        for needed in definition.metadata.get("needs", ()):
            yield Want(needed, on=on)
        if definition.metadata.get("is_computed"):
            return
        named, name = get_named_type(field.type), definition.python_name
        alias = self.slots.number(name, args, nodes) if field.args else ""
        if is_connection(named):
            rows, counts = self.connection(named, nodes)
            yield Want(name, rows, args, alias, on, counts)
        else:
            yield Want(name, self.wants(named, nodes), args, alias, on)

    def connection(self, named: GraphQLNamedType, nodes: Iterable[FieldNode]) -> tuple[tuple[Want, ...], bool]:
        """What is wanted of a connection's rows, and whether they are to be counted."""
        parts: Nodes = {}
        for node in nodes:
            if node.selection_set is not None:
                self._collect(named, node.selection_set, frozenset(), parts)
        chosen: list[FieldNode] = []
        counts = False
        for _, node in (each for selected in parts.values() for each in selected):
            name = node.name.value
            counts = counts or name == "totalCount"
            if name == "nodes":
                chosen.append(node)
            elif name == "edges":
                chosen += self._edge_nodes(named, [node])
        rows = field_type(named, "nodes")
        return self.wants(rows, chosen), counts

    def _edge_nodes(self, named: GraphQLNamedType, nodes: list[FieldNode]) -> list[FieldNode]:
        edge = field_type(named, "edges")
        parts: Nodes = {}
        for node in nodes:
            if node.selection_set is not None:
                self._collect(edge, node.selection_set, frozenset(), parts)
        return [node for selected in parts.values() for _, node in selected if node.name.value == "node"]

    def _possible(self, target: GraphQLNamedType, on: frozenset[str]) -> frozenset[str]:
        names = (
            frozenset(each.name for each in self.schema.get_possible_types(target))
            if is_abstract_type(target)
            else frozenset({target.name})
        )
        return names & on if on else names

    def _is_included(self, node: FieldNode | FragmentSpreadNode | InlineFragmentNode | Any) -> bool:
        skip = get_directive_values(GraphQLSkipDirective, node, self.variables)
        if skip is not None and skip["if"]:
            return False
        include = get_directive_values(GraphQLIncludeDirective, node, self.variables)
        return include is None or bool(include["if"])

    def arguments(self, field: GraphQLField, node: FieldNode) -> Mapping[str, Any]:
        """A field's arguments by attribute name: input objects taken apart, ids as keys."""
        if not field.args:
            return {}
        values = get_argument_values(field, node, self.variables)
        check_arguments(values)
        plain: dict[str, Any] = {}
        for name, value in values.items():
            definition = field.args[name]
            named = get_named_type(definition.type)
            if isinstance(named, GraphQLInputObjectType):
                plain.update(as_keys(named, value) if value is not None else {})
            else:
                plain[python_name(name)] = as_key(definition.type, value)
        return plain


def as_keys(named: GraphQLInputObjectType, value: Mapping[str, Any]) -> dict[str, Any]:
    """An input object's values by attribute name, its ids as keys."""
    return {python_name(name): as_key(named.fields[name].type, each) for name, each in value.items()}


def as_key(type_: Any, value: Any) -> Any:
    """An argument's value for the database: an id becomes its key, a malformed one a key that matches nothing."""
    if isinstance(type_, GraphQLNonNull):
        return as_key(type_.of_type, value)
    if value is None:
        return None
    if isinstance(type_, GraphQLList):
        return [as_key(type_.of_type, each) for each in value]
    if isinstance(type_, GraphQLEnumType):
        return getattr(value, "value", value)
    if getattr(type_, "name", "") == "ID":
        decoded = decode_any(value)
        return decoded[1] if decoded is not None else NOTHING
    return value


def python_name(name: str) -> str:
    """An argument's name as an attribute's: `minLevel` → `min_level`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def field_type(named: Any, name: str) -> GraphQLNamedType:
    """The type of a connection's or edge's field, without its wrappers."""
    found: GraphQLNamedType = get_named_type(named.fields[name].type)
    return found


def is_connection(named: GraphQLNamedType) -> bool:
    """Whether a type is a page of rows."""
    return isinstance(named, GraphQLObjectType) and named.name.endswith("Connection")


def wanted(info: Any, *, args: Mapping[str, Any] | None = None) -> Want:
    """What the field being resolved selects of its rows: for an object, a list or a connection.

    `args` are the list's arguments; absent, those of the field itself.
    """
    raw: GraphQLResolveInfo[Any] = info._raw_info  # noqa: SLF001 - Strawberry hands graphql-core's info out only so
    selection = Selection(raw)
    named = get_named_type(raw.return_type)
    if is_connection(named):
        rows, counts = selection.connection(named, raw.field_nodes)
        field = raw.parent_type.fields[raw.field_name]
        given = selection.arguments(field, raw.field_nodes[0]) if args is None else args
        return Want("", rows, given, counts=counts)
    return Want("", selection.wants(named, raw.field_nodes), args or {})


def slot(info: Any) -> str:
    """The attribute that holds what a field with arguments was planned to load."""
    raw: GraphQLResolveInfo[Any] = info._raw_info  # noqa: SLF001 - as above
    return f"{info.python_name}__{info.context.slots.of(raw.field_nodes[0])}"
