"""Holds: what a type of task allows, what placing and ending one needs, and when its timer is tried again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from db.accounts.rules import raise_problems, text_problem
from db.errors import Code, Problem, refuse
from db.tasks.rules.statuses import HOLD_TYPE, HoldExpiry, HoldOnAssign
from db.tasks.rules.work import TaskFacts, closed_problem, require_open

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
LONGEST_HOLD_DAYS = 3_650
LONGEST_NOTE = 10_000
MOST_PRESETS = 20
FIRST_BACKOFF = timedelta(minutes=1)
LONGEST_BACKOFF = timedelta(hours=1)

_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class HoldPolicy:
    """What holds a task type allows. Days are of 24 hours."""

    min_days: int
    max_days: int
    presets: Sequence[int]
    on_expiry: HoldExpiry
    on_assign: HoldOnAssign
    note_required: bool


@dataclass(frozen=True, slots=True)
class HoldDecision:
    """A hold as it is placed."""

    duration_days: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A timer that was found due, and what must be locked before it is looked at again."""

    hold_id: UUID
    root_id: UUID
    plan_id: UUID | None

    @property
    def tree(self) -> UUID:
        """What is locked first: the plan that made the tree, else its root."""
        return self.plan_id or self.root_id


def decide_place(
    facts: TaskFacts, policy: HoldPolicy | None, *, label: str, duration_days: int, note: str | None, now: datetime
) -> HoldDecision:
    """A hold on this task from now on. `label` is the type's, `note` what was written.

    Raises Refused with everything that is wrong: TASK_CLOSED or HOLD_NOT_ALLOWED; HOLD_DURATION_OUT_OF_RANGE at
    `durationDays`; BAD_USER_INPUT at `instructions`, also where the policy wants a reason and there is none.
    """
    problems = [closed_problem(facts)]
    if policy is not None:
        problems += _placing_problems(policy, label, duration_days, note)
    elif facts.is_open:
        message = f"A task of the type “{label}” cannot be put on hold."
        problems.append(Problem(Code.HOLD_NOT_ALLOWED, message, ("taskId",)))
    raise_problems([*problems, note_problem(note)])
    return HoldDecision(duration_days, now, now + duration_days * DAY)


def _placing_problems(policy: HoldPolicy, label: str, duration_days: int, note: str | None) -> list[Problem]:
    problems = []
    if not policy.min_days <= duration_days <= policy.max_days:
        message = (
            f"A hold on a task of the type “{label}” lasts {policy.min_days} to {policy.max_days} days,"
            f" not {duration_days}."
        )
        limits = {"min": policy.min_days, "max": policy.max_days}
        problems.append(Problem(Code.HOLD_DURATION_OUT_OF_RANGE, message, ("durationDays",), limits))
    if policy.note_required and note_of(note) is None:
        message = f"Say why: a hold on a task of the type “{label}” needs a note."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("instructions",)))
    return problems


def require_hold(facts: TaskFacts) -> None:
    """Raises Refused where there is no hold to end: TASK_CLOSED, NO_ACTIVE_HOLD."""
    require_open(facts)
    if not facts.has_open_hold:
        raise refuse(Code.NO_ACTIVE_HOLD, "This task has no hold that could be ended.", "taskId")


def note_problem(text: str | None, path: str = "instructions") -> Problem | None:
    """Why this cannot be written to a task, or None where it can: it is too long."""
    if text is None or len(text) <= LONGEST_NOTE:
        return None
    message = f"A note has at most {LONGEST_NOTE} characters; this one has {len(text)}."
    return Problem(Code.BAD_USER_INPUT, message, (path,), {"max": LONGEST_NOTE})


def note_of(text: str | None) -> str | None:
    """What was written, without the space around it; None where that is blank."""
    return (text or "").strip() or None


def backoff(attempts: int) -> timedelta:
    """How long a timer waits after its n-th failure: a minute, doubling, at most an hour."""
    return min(FIRST_BACKOFF * (1 << min(attempts - 1, 10)), LONGEST_BACKOFF)


# --- task types -------------------------------------------------------------------------------------------------------


def decide_type(*, name: str, label: str, hold: HoldPolicy | None) -> None:
    """Raises Refused with everything that is wrong with a task type as it is to be."""
    problems = [text_problem(label, "label")]
    if not _TYPE_NAME.fullmatch(name):
        message = "`name` is a word for programs: a lower-case letter, then up to 62 lower-case letters, digits and _."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("name",)))
    if name == HOLD_TYPE and hold is not None:
        message = f"`{HOLD_TYPE}` is the type of holds themselves: they cannot be put on hold."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("hold",)))
    elif hold is not None:
        problems += _policy_problems(hold)
    raise_problems(problems)


def _policy_problems(hold: HoldPolicy) -> list[Problem]:
    problems = []
    limits = {"min": 1, "max": LONGEST_HOLD_DAYS}
    if not 1 <= hold.min_days <= LONGEST_HOLD_DAYS:
        message = f"`minDays` must be 1 to {LONGEST_HOLD_DAYS}; it is {hold.min_days}."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("hold", "minDays"), limits))
    if not hold.min_days <= hold.max_days <= LONGEST_HOLD_DAYS:
        message = f"`maxDays` must be from `minDays` to {LONGEST_HOLD_DAYS}; it is {hold.max_days}."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("hold", "maxDays"), limits))
    if len(hold.presets) > MOST_PRESETS:
        message = f"At most {MOST_PRESETS} presets; these are {len(hold.presets)}."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("hold", "presets"), {"max": MOST_PRESETS}))
        return problems
    for position, days in enumerate(hold.presets):
        if not hold.min_days <= days <= hold.max_days or days in hold.presets[:position]:
            message = f"Each preset is a different number of days, {hold.min_days} to {hold.max_days}; this is {days}."
            problems.append(Problem(Code.BAD_USER_INPUT, message, ("hold", "presets", str(position))))
    return problems
