"""The work that the state machine asks for, and the ways in which an attempt at it may end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import text

from db.ledger.jobs import Recurring, Timetable, Work
from db.ledger.rules import (
    JobError,
    Verdict,
    decide_fault,
    decide_refusal,
    decide_release,
    decide_snooze,
    decide_stop,
)
from jobs.attempt import Attempt, Declared

EFFECT = text("INSERT INTO effects VALUES (:id, :step, :attempt)")


@dataclass(frozen=True)
class Plain(Work):
    """Something that every worker knows."""

    kind: ClassVar[str] = "machine.plain"
    max_attempts: ClassVar[int] = 3


@dataclass(frozen=True)
class Rare(Plain):
    """Something that only one of the workers knows."""

    kind: ClassVar[str] = "machine.rare"


@dataclass(frozen=True)
class One(Plain):
    """At most one of a name."""

    kind: ClassVar[str] = "machine.one"
    name: str = "a"

    def unique_key(self) -> str:
        return self.name


@dataclass(frozen=True)
class Tight(Plain):
    """In a queue with limits."""

    kind: ClassVar[str] = "machine.tight"
    queue: ClassVar[str] = "tight"
    key: str | None = None

    def concurrency_key(self) -> str | None:
        return self.key


@dataclass(frozen=True)
class Tock(Plain):
    """What a schedule asks for."""

    kind: ClassVar[str] = "machine.tock"


async def once(attempt: Attempt, work: Work) -> None:
    """The handler of all of them: one effect, with the completion."""
    async with attempt.completing() as end:
        await end.tx.execute(EFFECT, {"id": attempt.job_id, "step": 0, "attempt": attempt.number})


WORKS: Sequence[Work] = (Plain(), Rare(), One("a"), One("b"), Tight(), Tight("x"), Tight("x"), Tight("y"))
KINDS: Mapping[str, Declared] = {work.kind: Declared(work, once) for work in (Plain, Rare, One, Tight, Tock)}
TICKS = Recurring("machine.tock", Timetable("@every 1m"), Tock())
ALL, COMMON = tuple(KINDS), (Plain.kind, One.kind, Tight.kind, Tock.kind)
# The ways of an attempt to end, but for the completion.
VERDICTS: Sequence[Callable[[Attempt], Verdict]] = (
    lambda attempt: decide_fault(
        error=JobError("INTERNAL", "It broke."),
        failures=attempt.claimed.failures,
        max_attempts=attempt.claimed.max_attempts,
        is_cancel_requested=False,
        jitter=0.5,
    ),
    lambda _: decide_refusal(error=JobError("NO", "A rule says no.")),
    lambda _: decide_snooze(seconds=30, reason=None, is_cancel_requested=False),
    lambda _: decide_stop(),
    lambda _: decide_release(is_cancel_requested=False),
)
