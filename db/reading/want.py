"""What a reader wants of a row: names of attributes, and below relations the same again."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# Arguments whose values are written into the text of a statement, each of them an enum or a list of an enum's values.
WRITTEN = frozenset({"order_by", "tab", "statuses"})


@dataclass(frozen=True, slots=True)
class Want:
    """One wanted name. `args` narrow a list (a page, a filter); `alias` tells two lists of one name apart, by these.

    `on` names the GraphQL types for which it is wanted, where the relation may be one of several; empty: for all.
    `counts` asks for the number of all rows of a page's list, which costs a statement.
    """

    name: str
    wants: tuple["Want", ...] = ()
    args: Mapping[str, Any] = field(default_factory=dict)
    alias: str = ""
    on: frozenset[str] = frozenset()
    counts: bool = False

    @property
    def slot(self) -> str:
        """The attribute of the row that holds it."""
        return f"{self.name}__{self.alias}" if self.alias else self.name

    @property
    def shape(self) -> Hashable:
        """All of it but the values of its arguments: what decides the text of the statements."""
        given = tuple(sorted((name, _kind(name, value)) for name, value in self.args.items() if value is not None))
        return (self.name, self.alias, self.on, self.counts, given, tuple(child.shape for child in self.wants))

    def child(self, name: str) -> "Want | None":
        """The first wanted child of that name."""
        return next((child for child in self.wants if child.name == name), None)

    def names(self) -> frozenset[str]:
        """The names wanted directly below."""
        return frozenset(child.name for child in self.wants)


def merged(wants: Iterable[Want]) -> tuple[Want, ...]:
    """The same wants with one for each slot: what is wanted of a relation twice, under two aliases or in a fragment
    beside the field itself, is wanted of it together. Lists whose arguments differ have slots of their own.
    """
    kept: list[Want] = []
    for want_ in wants:
        twin = next((i for i, one in enumerate(kept) if one.slot == want_.slot), None)
        if twin is None:
            kept.append(want_)
            continue
        one = kept[twin]
        on = one.on | want_.on if one.on and want_.on else frozenset()
        children = merged([*one.wants, *want_.wants])
        kept[twin] = replace(one, wants=children, on=on, counts=one.counts or want_.counts)
    return tuple(kept)


def _kind(name: str, value: Any) -> str:
    # The order and the tab of a list decide the statement's text, and so does a flag; other values are its parameters.
    if isinstance(value, list):
        return str(sorted(map(str, value))) if name in WRITTEN else ""
    return str(value) if name in WRITTEN or isinstance(value, bool) else ""


def want(*names: "str | Want", args: Mapping[str, Any] | None = None) -> Want:
    """A wanted tree by hand: `want("title", Want("course", want("title").wants))`."""
    children = tuple(name if isinstance(name, Want) else Want(name) for name in names)
    return Want("", children, args or {})
