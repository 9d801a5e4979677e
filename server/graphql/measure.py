"""What a document asks for, found in one linear pass over its text's tree, before anything is validated or run.

The pass visits each definition once: a fragment that is spread a thousand times is measured once and then counted, so a
short hostile document costs no more than its length. It needs no valid document: unknown fields count as one, a cycle
of fragments counts once around, and validation reports them afterwards.

The cost of an operation is the number of fields it would resolve if every connection were full: each field counts as
many times as the product of the `first` arguments above it. A `first` may be a variable, so the pass leaves an
expression (`Cost`), which each request evaluates with its own variables.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
)
from graphql.utilities.coerce_input_value import coerce_default_value

INTROSPECTION = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class First:
    """How many rows a connection is asked for: a number, or a variable with what holds where it is absent."""

    rows: int
    variable: str | None = None

    def value(self, variables: Mapping[str, Any]) -> int:
        """The number for one request. What is no number is refused later, with its reason, by execution."""
        if self.variable is None:
            return self.rows
        asked = variables.get(self.variable)
        if isinstance(asked, bool) or not isinstance(asked, int | float) or asked != asked // 1:
            return self.rows
        # For GraphQL 100.0 is an Int too.
        return int(asked)


@dataclass(frozen=True, slots=True, eq=False)
class Cost:
    """A number of fields: `fixed`, plus each part as often as its factor says (None: once)."""

    fixed: int
    parts: tuple[tuple[First | None, "Cost"], ...] = ()

    def value(self, variables: Mapping[str, Any]) -> int:
        """The number for one request, each shared part worked out once."""
        return self.add_up(variables, {})

    def add_up(self, variables: Mapping[str, Any], known: dict[int, int]) -> int:
        """The same, with the parts that are known already."""
        total = known.get(id(self))
        if total is None:
            total = self.fixed
            for first, part in self.parts:
                times = 1 if first is None else max(first.value(variables), 0)
                total += times * part.add_up(variables, known)
            known[id(self)] = total
        return total


@dataclass(frozen=True, slots=True)
class Extent:
    """How deep a selection goes, and what it costs."""

    depth: int
    cost: Cost


NOTHING = Extent(0, Cost(0))


@dataclass(frozen=True, slots=True)
class OperationMeasure:
    """One operation of a document."""

    node: OperationDefinitionNode
    root_fields: tuple[str, ...]
    depth: int
    cost: Cost

    @property
    def root_keys(self) -> int:
        """How many root fields would run."""
        return len(self.root_fields)


@dataclass(frozen=True, slots=True)
class DocumentMeasure:
    """A whole document. Counts are of its text: what repeats through fragments is in the operations' cost."""

    tokens: int
    aliases: int
    directives: int
    overlaps: int
    longest_list: int
    firsts: tuple[First, ...]
    operations: tuple[OperationMeasure, ...]


@dataclass(slots=True)
class _Pass:
    """The state of one pass over a document."""

    schema: GraphQLSchema
    default_first: int
    fragments: dict[str, FragmentDefinitionNode]
    extents: dict[str, Extent] = field(default_factory=dict)
    aliases: int = 0
    directives: int = 0
    spreads: int = 0
    longest_list: int = 0
    firsts: dict[First, None] = field(default_factory=dict)
    repeats: Counter[tuple[str, str]] = field(default_factory=Counter)
    defaults: dict[str, int] = field(default_factory=dict)

    def selection(self, selections: SelectionSetNode, parent: GraphQLNamedType | None) -> Extent:
        """Measure a selection set. Recursion stays inside one definition, whose nesting the parser bounds."""
        depth = fixed = 0
        parts: list[tuple[First | None, Cost]] = []
        for node in selections.selections:
            self.directives += len(node.directives or ())
            if isinstance(node, FieldNode):
                fixed += 1
                below, first = self.field(node, parent)
                depth = max(depth, 1 + below.depth)
            elif isinstance(node, FragmentSpreadNode):
                self.spreads += 1
                below, first = self.extents.get(node.name.value, NOTHING), None
                depth = max(depth, below.depth)
            elif isinstance(node, InlineFragmentNode):
                narrowed = self.schema.get_type(node.type_condition.name.value) if node.type_condition else parent
                inline = self.selection(node.selection_set, narrowed)
                depth = max(depth, inline.depth)
                # Poured out rather than nested: hundreds of them inside each other stay one level.
                below, first = Extent(0, Cost(inline.cost.fixed)), None
                parts.extend(inline.cost.parts)
            fixed += _absorb(parts, first, below.cost)
        return Extent(depth, Cost(fixed, tuple(parts)))

    def field(self, node: FieldNode, parent: GraphQLNamedType | None) -> tuple[Extent, First | None]:
        """Measure one field: what is below it, and how often that counts."""
        name = node.name.value
        self.aliases += node.alias is not None
        self.repeats[parent.name if parent else "", node.alias.value if node.alias else name] += 1
        definition = _field_of(self.schema, parent, name)
        for argument in node.arguments or ():
            self.longest_list = max(self.longest_list, _longest_literal(argument.value))
        if node.selection_set is None:
            return NOTHING, None
        below = self.selection(node.selection_set, get_named_type(definition.type) if definition else None)
        if name in INTROSPECTION:
            # Tools ask 15 deep here. What it may cost is bounded by the schema and by a rule of its own.
            return Extent(0, below.cost), None
        return below, self.first(node, definition)

    def first(self, node: FieldNode, definition: GraphQLField | None) -> First | None:
        """How many rows the field is asked for, where it is one that takes `first`."""
        if definition is None or "first" not in definition.args:
            return None
        default = coerce_default_value(definition.args["first"])
        first = self.argument(node.arguments or (), default if isinstance(default, int) else self.default_first)
        self.firsts[first] = None
        return first

    def argument(self, arguments: Iterable[ArgumentNode], default: int) -> First:
        """The `first` among arguments: written out, a variable, or absent."""
        for argument in arguments:
            if argument.name.value == "first":
                value = argument.value
                if isinstance(value, IntValueNode):
                    return First(int(value.value))
                if isinstance(value, VariableNode):
                    name = value.name.value
                    return First(self.defaults.get(name, default), name)
        return First(default)

    @property
    def overlaps(self) -> int:
        """How many pairs of fields or fragments validation would compare, at the most."""
        pairs = sum(count * (count - 1) // 2 for count in self.repeats.values())
        return pairs + self.spreads * (self.spreads - 1) // 2


def measure(schema: GraphQLSchema, document: DocumentNode, *, default_first: int) -> DocumentMeasure:
    """Measure a parsed document."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    state = _Pass(schema, default_first, fragments)
    for operation in operations:
        for variable in operation.variable_definitions or ():
            state.directives += len(variable.directives or ())
            if isinstance(variable.default_value, IntValueNode):
                # Of two operations with the same variable the larger default counts for the fragments they share.
                name = variable.variable.name.value
                state.defaults[name] = max(int(variable.default_value.value), state.defaults.get(name, 0))
    for fragment in _innermost_first(fragments):
        state.directives += len(fragment.directives or ())
        parent = schema.get_type(fragment.type_condition.name.value)
        state.extents[fragment.name.value] = state.selection(fragment.selection_set, parent)
    measured = tuple(_operation(state, node) for node in operations)
    return DocumentMeasure(
        tokens=document.token_count or 0,
        aliases=state.aliases,
        directives=state.directives,
        overlaps=state.overlaps,
        longest_list=state.longest_list,
        firsts=tuple(state.firsts),
        operations=measured,
    )


def longest_list(value: Any) -> int:
    """The length of the longest list anywhere in a value that came as JSON."""
    longest = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(child for child in item.values() if isinstance(child, dict | list))
        elif isinstance(item, list):
            longest = max(longest, len(item))
            waiting.extend(child for child in item if isinstance(child, dict | list))
    return longest


def _operation(state: _Pass, node: OperationDefinitionNode) -> OperationMeasure:
    state.directives += len(node.directives or ())
    extent = state.selection(node.selection_set, state.schema.get_root_type(node.operation))
    return OperationMeasure(node, tuple(_root_fields(state.fragments, node)), extent.depth, extent.cost)


def _absorb(parts: list[tuple[First | None, Cost]], first: First | None, cost: Cost) -> int:
    """Keep as a part only what depends on variables; give back what is a number already."""
    if cost.parts or (first is not None and first.variable is not None):
        parts.append((first, cost))
        return 0
    return cost.fixed * (1 if first is None else max(first.rows, 0))


def _field_of(schema: GraphQLSchema, parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if parent is None:
        return None
    # Meta fields included; a type without fields (a union, a scalar) has no other.
    return schema.get_field(parent, name)  # type: ignore[arg-type]  # any named type is looked up safely


def _innermost_first(fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[FragmentDefinitionNode]:
    """Fragments in an order in which each comes after those it spreads; a cycle is entered once."""
    spreads = {name: tuple(_spreads(fragment.selection_set)) for name, fragment in fragments.items()}
    seen: set[str] = set()
    for start in fragments:
        path = [] if start in seen else [(start, iter(spreads[start]))]
        seen.add(start)
        while path:
            name, inner = path[-1]
            for other in inner:
                if other in fragments and other not in seen:
                    seen.add(other)
                    path.append((other, iter(spreads[other])))
                    break
            else:
                path.pop()
                yield fragments[name]


def _spreads(selections: SelectionSetNode) -> Iterator[str]:
    waiting = [selections]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                yield node.name.value
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)


def _root_fields(fragments: Mapping[str, FragmentDefinitionNode], node: OperationDefinitionNode) -> Iterator[str]:
    """The names of the fields that would run at the root: each response key once."""
    keys: set[str] = set()
    spread: set[str] = set()
    waiting = [node.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                name = selection.name.value
                key = selection.alias.value if selection.alias else name
                if key not in keys:
                    keys.add(key)
                    yield name
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                fragment = fragments.get(selection.name.value)
                if fragment is not None and fragment.name.value not in spread:
                    spread.add(fragment.name.value)
                    waiting.append(fragment.selection_set)


def _longest_literal(value: ValueNode) -> int:
    longest = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, ListValueNode):
            longest = max(longest, len(item.values))
            waiting.extend(item.values)
        elif isinstance(item, ObjectValueNode):
            waiting.extend(child.value for child in item.fields)
    return longest
