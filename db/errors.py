"""Every error of Holdfast, and the codes that clients may rely on.

    HoldfastError
    ├── Refused            an expected "no": data for the caller (`userErrors`), nothing was written
    ├── Unauthenticated    no identity, or one that no longer holds
    ├── AccessDenied       known, and not allowed to ask this at all
    ├── LimitExceeded      more than the server takes in one request
    ├── TimedOut           the server gave up waiting
    └── Outage             a store does not answer; the caller may try again

    SetupError             not part of a request: what a person started is not set up as it must be

Anything else that is raised is a bug: it is logged, masked, and told as INTERNAL.
`resolvers/errors.py` is the one place that turns these into GraphQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Stable codes of refusals and errors. A client treats one that it does not know as BAD_USER_INPUT."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    CONFLICT = "CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    INTERNAL = "INTERNAL"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    TIMEOUT = "TIMEOUT"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    # tasks and holds
    TASK_CLOSED = "TASK_CLOSED"
    OPEN_CHILDREN = "OPEN_CHILDREN"
    HOLD_NOT_ALLOWED = "HOLD_NOT_ALLOWED"
    HOLD_DURATION_OUT_OF_RANGE = "HOLD_DURATION_OUT_OF_RANGE"
    NO_ACTIVE_HOLD = "NO_ACTIVE_HOLD"
    ASSIGNEE_INACTIVE = "ASSIGNEE_INACTIVE"
    DUPLICATE_TASK = "DUPLICATE_TASK"
    INVALID_PARENT = "INVALID_PARENT"
    TASK_ON_HOLD = "TASK_ON_HOLD"
    TASK_NOT_OPEN = "TASK_NOT_OPEN"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    STEPS_INCOMPLETE = "STEPS_INCOMPLETE"
    # plans
    INVALID_SETTINGS = "INVALID_SETTINGS"
    NO_TASKING_PLANS = "NO_TASKING_PLANS"
    DATES_OUT_OF_ORDER = "DATES_OUT_OF_ORDER"
    OUTSIDE_COURSE_DATES = "OUTSIDE_COURSE_DATES"
    DUPLICATE_TARGET = "DUPLICATE_TARGET"
    NOT_UPDATABLE_AFTER_OPEN = "NOT_UPDATABLE_AFTER_OPEN"
    DUE_DATE_PASSED = "DUE_DATE_PASSED"
    OPEN_DATE_PASSED = "OPEN_DATE_PASSED"
    EMPTY_PLAN = "EMPTY_PLAN"
    EMPTY_TASKS = "EMPTY_TASKS"
    PLAN_WITHDRAWN = "PLAN_WITHDRAWN"
    PLAN_NOT_WITHDRAWN = "PLAN_NOT_WITHDRAWN"
    COURSE_ENDED = "COURSE_ENDED"
    DATE_NOT_LATER = "DATE_NOT_LATER"
    # rescoping
    RESCOPE_NOT_ENABLED = "RESCOPE_NOT_ENABLED"
    # releases
    VERSION_NOT_DRAFT = "VERSION_NOT_DRAFT"
    VERSION_LOCKED = "VERSION_LOCKED"
    VERSION_ARCHIVED = "VERSION_ARCHIVED"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    TILES_MISSING = "TILES_MISSING"
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA"
    UPLOAD_MISSING = "UPLOAD_MISSING"
    UPLOAD_EXPIRED = "UPLOAD_EXPIRED"
    # jobs
    JOB_NOT_CANCELLABLE = "JOB_NOT_CANCELLABLE"
    JOB_NOT_RETRYABLE = "JOB_NOT_RETRYABLE"
    # resources
    UNKNOWN_KIND = "UNKNOWN_KIND"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    BAD_FIELD_TYPE = "BAD_FIELD_TYPE"
    MISSING_STATE = "MISSING_STATE"
    DESYNCHRONIZED = "DESYNCHRONIZED"
    TASK_ALREADY_RUNNING = "TASK_ALREADY_RUNNING"
    ALARM_STATE = "ALARM_STATE"
    UNKNOWN_TASK = "UNKNOWN_TASK"
    MISSING_FIELD = "MISSING_FIELD"
    MISSING_TRANSITION = "MISSING_TRANSITION"
    RESOURCE_STOPPED = "RESOURCE_STOPPED"
    ENCODE_ERROR = "ENCODE_ERROR"
    KEY_MISSING = "KEY_MISSING"
    DECRYPT_ERROR = "DECRYPT_ERROR"


# So many reasons of a refusal are told; whoever gathers them may stop after one more.
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason for a refusal: its code, where in the input it is, and what would be right.

    `path` is relative to the mutation's input, in the names of the API, list positions as text:
    ("taskingPlans", "0", "dueAt"). Empty where it is about the whole request. `details` are the values of the
    message, for a text of the client's own.
    """

    code: Code
    message: str
    path: tuple[str, ...] = ()
    details: Mapping[str, Any] | None = None


class HoldfastError(Exception):
    """The root of the tree. `code` is what a client sees."""

    code: Code = Code.INTERNAL


_MORE = Problem(
    Code.BAD_USER_INPUT,
    f"There is more that is wrong than these {MOST_PROBLEMS} problems. Put them right and ask again.",
    details={"max": MOST_PROBLEMS},
)


class Refused(HoldfastError):
    """An expected "no", with all of its reasons at once. Whoever raises it has written nothing.

    Of more than MOST_PROBLEMS the first ones are kept, and one that says so: nobody reads ten thousand, and an answer
    must not be many times as long as the request.
    """

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("a refusal has at least one reason")
        if len(problems) > MOST_PROBLEMS:
            problems = (*problems[:MOST_PROBLEMS], _MORE)
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
        self.code = problems[0].code


def written(instant: datetime) -> str:
    """An instant as messages and details have it: like the API's DateTime, in UTC."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def refuse(code: Code, message: str, *path: str, **details: Any) -> Refused:
    """A refusal for one reason: `raise refuse(Code.NOT_FOUND, "There is no such plan.", "planId")`."""
    return Refused(Problem(code, message, path, details or None))


class Unauthenticated(HoldfastError):
    """No identity was given, or the one given is wrong, expired or revoked."""

    code = Code.UNAUTHENTICATED


class AccessDenied(HoldfastError):
    """A field that the viewer may not use at all."""

    code = Code.FORBIDDEN


class LimitExceeded(HoldfastError):
    """A request asks for more than the server takes: which limit, how much is allowed, how much was asked."""

    code = Code.LIMIT_EXCEEDED

    def __init__(self, message: str, *, limit: str, allowed: float, asked: float | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.allowed = allowed
        self.asked = asked


class TimedOut(HoldfastError):
    """The server gave up after its own time limit."""

    code = Code.TIMEOUT


class Outage(HoldfastError):
    """Postgres does not answer now. Nothing is lost; the caller may try again."""


class SetupError(Exception):
    """A setting, a port, a file or another server is not as it must be: what a person started, they can put right.

    The message is for the person at the terminal: what is wrong, and what would be right. No traceback is shown.
    """
