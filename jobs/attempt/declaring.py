"""How a handler says which work it does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from db.ledger.jobs import Work
from jobs.attempt.attempt import Attempt

W = TypeVar("W", bound=Work)
Result = Mapping[str, Any] | None
Handler = Callable[[Attempt, Any], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Declared:
    """A kind of work and the function that does it."""

    work: type[Work]
    handler: Handler


# Filled when the modules of jobs/handlers/ are imported; read through jobs/registry.py.
DECLARED: dict[str, Declared] = {}


def handles(work: type[W]) -> Callable[[Callable[[Attempt, W], Awaitable[Result]]], Handler]:
    """Declare the handler of this work. Raises ValueError where the kind has another one already."""

    def declare(handler: Callable[[Attempt, W], Awaitable[Result]]) -> Handler:
        known = DECLARED.get(work.kind)
        if known is not None and known.handler.__qualname__ != handler.__qualname__:
            raise ValueError(f"{work.kind} is handled by {known.handler.__module__} already")
        DECLARED[work.kind] = Declared(work, handler)
        return handler

    return declare
