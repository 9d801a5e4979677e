"""What is told of a piece of work while it goes on. `Span` itself records nothing: so it is where traces are off."""

from collections.abc import Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

Fact = str | int | float | bool


class Role(Enum):
    """Which side of a call or of a message a span is."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span:
    """A piece of work, for as long as its block runs. What is asked for or logged meanwhile belongs to it."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def rename(self, name: str) -> None:
        """Call it by a name that is known only now: one of few, for people count by it."""

    def tell(self, facts: Mapping[str, Fact | None]) -> None:
        """Add facts about it. None: nothing is known."""

    def fail(self, words: str | None = None) -> None:
        """Say that it failed, by a fault of ours."""


class Recorder(Protocol):
    """Who records spans. There is none where traces are off."""

    def span(
        self,
        role: Role,
        name: str,
        facts: Mapping[str, Fact | None],
        *,
        parent: str | Mapping[str, str] | None = None,
        links: Sequence[str | None] = (),
    ) -> Span:
        """A span that begins now. Its parent: what a job carries, a caller's headers, or (None) the span around it."""

    def carried(self) -> str | None:
        """The span around us, in the form that a job's row keeps."""

    def ids(self) -> Mapping[str, str]:
        """The span around us, for a line of the log."""

    def stop(self) -> None:
        """Send what is left, for a few seconds at most."""


NOTHING = Span()
