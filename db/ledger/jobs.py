"""The base of every piece of work that a domain may ask for.

A domain's `jobs.py` holds frozen dataclasses; their fields are the arguments, stored as JSON with their version:

    @dataclass(frozen=True)
    class PublishPlan(Work):
        kind: ClassVar[str] = "plan.publish"
        plan_id: UUID
        generation: int
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Subject:
    """The thing a job works on: a type of the API (`TaskPlan`), its id, and its name at the time of asking."""

    type: str
    id: UUID
    label: str


@dataclass(frozen=True)
class Work:
    """A kind of job and its arguments. Subclasses are frozen dataclasses whose fields survive JSON; no secrets."""

    kind: ClassVar[str]
    queue: ClassVar[str] = "default"
    # How often a fault is tried, the first time included.
    max_attempts: ClassVar[int] = 5
    # How long one attempt may take.
    timeout_seconds: ClassVar[int] = 900
    # 0 runs first, 9 last; jobs of one priority run in the order of asking.
    priority: ClassVar[int] = 5
    # Goes up when the fields change in a way that old rows do not fit; see `upgrade`.
    args_version: ClassVar[int] = 1

    def unique_key(self) -> str | None:
        """At most one job of this kind and key waits or runs; who asks again gets that one. None: no limit."""
        return None

    def concurrency_key(self) -> str | None:
        """Jobs of one key share a limit of how many run at once. None: no limit."""
        return None

    @classmethod
    def upgrade(cls, version: int, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments of an older version in today's form. Raises ValueError where there is no way."""
        if version != cls.args_version:
            raise ValueError(f"{cls.kind} has no way from version {version} to {cls.args_version}")
        return args

    def stored(self) -> dict[str, Any]:
        """The arguments as JSON."""
        stored: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return stored

    @classmethod
    def restored(cls, version: int, args: Mapping[str, Any]) -> Self:
        """The work that was stored. Raises ValueError where the arguments do not fit."""
        work: Self = _adapter(cls).validate_python(dict(cls.upgrade(version, args)))
        return work


_ADAPTERS: dict[type[Work], TypeAdapter[Any]] = {}


def _adapter(cls: type[Work]) -> TypeAdapter[Any]:
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]
