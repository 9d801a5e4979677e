"""What the end of a handler means for its job."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from db.errors import Code, Refused
from db.ledger.rules import (
    JobError,
    Verdict,
    decide_fault,
    decide_refusal,
    decide_release,
    decide_snooze,
    decide_stop,
)
from db.telemetry import get_logger
from jobs.attempt import COMPLETED, Attempt, Cancelled, Snooze, Stop
from jobs.attempt.journal import plain_json, plain_text

log = get_logger(__name__)


class BadArguments(Exception):
    """A job was stored with arguments that today's code has no way to read."""


def judge(attempt: Attempt, body: "asyncio.Task[Any]") -> tuple[Verdict | None, Mapping[str, Any] | None]:
    """What the handler's end means, and its result. No verdict: everything is written already, or not ours to write."""
    verdict, result = _judge(attempt, body)
    return verdict and _writable(verdict), result


def _writable(verdict: Verdict) -> Verdict:
    # Words and details come from handlers, and what Postgres does not take would never be written.
    error = verdict.error
    if error is not None:
        try:
            details = plain_json(error.details)
        except TypeError:
            details = None
        error = replace(error, code=plain_text(error.code), message=plain_text(error.message), details=details)
    return replace(verdict, message=plain_text(verdict.message), error=error)


def _judge(attempt: Attempt, body: "asyncio.Task[Any]") -> tuple[Verdict | None, Mapping[str, Any] | None]:
    if attempt.is_completed or attempt.stop is Stop.LOST:
        look_away(body)
        return None, None
    if not body.done() or body.cancelled():
        return _judge_interruption(attempt), None
    error = body.exception()
    if error is None:
        return _judge_result(attempt, body.result())
    return _judge_error(attempt, error), None


def _judge_result(attempt: Attempt, result: Any) -> tuple[Verdict, Mapping[str, Any] | None]:
    try:
        plain = plain_json(result)
    except TypeError as error:
        return _judge_error(attempt, error), None
    return COMPLETED, plain


def _judge_interruption(attempt: Attempt) -> Verdict:
    match attempt.stop:
        case Stop.CANCEL:
            return decide_stop(reason=attempt.stop_reason)
        case Stop.TIMEOUT:
            seconds = attempt.claimed.timeout_seconds
            return _fault(attempt, JobError(Code.TIMEOUT, f"It took longer than {seconds} s."))
        case Stop.RELEASE:
            return decide_release(is_cancel_requested=False)
        case _:
            return _fault(attempt, JobError(Code.INTERNAL, "The handler interrupted itself."))


def _judge_error(attempt: Attempt, error: BaseException) -> Verdict:
    is_cancel_requested = attempt.stop is Stop.CANCEL
    match error:
        case Cancelled():
            return decide_stop(reason=error.reason or attempt.stop_reason)
        case Snooze():
            return decide_snooze(seconds=error.seconds, reason=error.reason, is_cancel_requested=is_cancel_requested)
        case Refused():
            return decide_refusal(error=JobError.from_refusal(error))
        case BadArguments():
            return decide_refusal(error=JobError("BAD_ARGUMENTS", str(error)))
    if attempt.stop is Stop.TIMEOUT or attempt.stop is Stop.RELEASE:
        # The handler answered the interruption with an error of its own.
        return _judge_interruption(attempt)
    log.error("job.fault", exc_info=error)
    return _fault(attempt, _masked(error))


def _fault(attempt: Attempt, error: JobError) -> Verdict:
    return decide_fault(
        error=error,
        failures=attempt.claimed.failures,
        max_attempts=attempt.claimed.max_attempts,
        is_cancel_requested=attempt.stop is Stop.CANCEL,
        jitter=random.random(),
    )


def _masked(error: BaseException) -> JobError:
    # People read a job's error; what an exception says may be none of their business. The log has all of it.
    return JobError(Code.INTERNAL, f"Something went wrong ({type(error).__name__}).")


def look_away(body: "asyncio.Task[Any]") -> None:
    """Nobody waits for this handler any more."""
    # An exception that nobody asks for is reported by asyncio as forgotten.
    if body.done() and not body.cancelled():
        body.exception()
