"""Events of streams, each encoded once however many subscribers it goes to.

Subscribers share an answer where nothing in it can differ: the payload is one object for all of them (the source says
so with its `answers`: a place for what is made of it), and so are the document, the operation, and the variables that
are used below the root field. The root field's own arguments, such as the cursor to resume at, choose among payloads.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import orjson
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    Node,
    OperationDefinitionNode,
    VariableNode,
)

from server.graphql.documents import Document


class Event:
    """One event of a stream: an answer, and its cursor where it has one."""

    __slots__ = ("_frames", "_json", "_text", "body", "seq")

    def __init__(self, body: dict[str, Any], seq: int | None = None) -> None:
        self.body = body
        self.seq = seq
        self._json: bytes | None = None
        self._text: str | None = None
        self._frames: dict[str, bytes] = {}

    @property
    def json(self) -> bytes:
        """The answer as JSON."""
        if self._json is None:
            self._json = orjson.dumps(self.body)
        return self._json

    @property
    def text(self) -> str:
        """The answer as JSON, as text."""
        if self._text is None:
            self._text = self.json.decode()
        return self._text

    def framed(self, name: str, frame: Callable[["Event"], bytes]) -> bytes:
        """The event in a framing, made once for each."""
        made = self._frames.get(name)
        if made is None:
            made = self._frames[name] = frame(self)
        return made


def answer_key(document: Document, node: OperationDefinitionNode, variables: dict[str, Any], cost: int) -> Hashable:
    """What two subscribers must have in common for the answers to one payload to be the same."""
    fragments = {
        each.name.value: each for each in document.node.definitions if isinstance(each, FragmentDefinitionNode)
    }
    below: list[Node | None] = []
    for selection in node.selection_set.selections:
        below.append(selection.selection_set if isinstance(selection, FieldNode) else selection)
        below += selection.directives or ()
    given = {name: variables[name] for name in set(_variables(below, fragments)) & variables.keys()}
    # The document itself, not its text: it lives as long as this key does, so no other can be mistaken for it.
    return document, node.name and node.name.value, orjson.dumps(given, option=orjson.OPT_SORT_KEYS), cost


def _variables(nodes: list[Node | None], fragments: dict[str, FragmentDefinitionNode]) -> Iterator[str]:
    """The names of all variables in these nodes and in the fragments spread there."""
    seen: set[str] = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, VariableNode):
            yield node.name.value
        elif node is not None:
            if isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                nodes.append(fragments[node.name.value])
            for name in node.keys:
                child = getattr(node, name, None)
                nodes += [each for each in (child if isinstance(child, tuple) else (child,)) if isinstance(each, Node)]
