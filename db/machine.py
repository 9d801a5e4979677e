"""State machines are tables: what may follow what is data, checked by rules, constraints, tests and diagrams alike."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class Machine(Generic[S]):
    """Which status may follow which, and why. A status that nothing follows is terminal.

    `edges` maps (from, to) to the reason in words; the words label the arrows of the diagrams in docs/.
    """

    name: str
    states: type[S]
    initial: S
    edges: Mapping[tuple[S, S], str]

    def allows(self, before: S, after: S) -> bool:
        """Whether `after` may follow `before` directly."""
        return (before, after) in self.edges

    def before(self, after: S) -> frozenset[S]:
        """Every status from which `after` can be reached in one step: for the WHERE of its UPDATE."""
        return frozenset(source for source, target in self.edges if target == after)

    @property
    def terminal(self) -> frozenset[S]:
        """The statuses that nothing follows."""
        sources = {source for source, _ in self.edges}
        return frozenset(state for state in self.states if state not in sources)

    @property
    def illegal(self) -> Iterator[tuple[S, S]]:
        """Every ordered pair of different statuses that is not an edge: what the tests try one by one."""
        for source in self.states:
            for target in self.states:
                if source != target and not self.allows(source, target):
                    yield source, target

    def mermaid(self) -> str:
        """The machine as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial.value}"]
        lines += [f"    {source.value} --> {target.value}: {why}" for (source, target), why in self.edges.items()]
        lines += [f"    {state.value} --> [*]" for state in self.states if state in self.terminal]
        return "\n".join(lines)
