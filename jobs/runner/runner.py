"""From a ticket to an outcome. The steps of one attempt, in order: claim, decode, handle, judge, settle.

What goes wrong with a store on the way leaves the job to the sweep: an unclaimed ticket is made anew, a job whose end
could not be written is rescued once our lease is over.
"""

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from db import endings
from db.errors import Code, Refused
from db.ledger import commands as ledger
from db.ledger.rules import (
    WORK_IS_DUE,
    AttemptOutcome,
    JobError,
    JobState,
    Verdict,
    decide_fault,
    decide_refusal,
    decide_release,
    decide_snooze,
    decide_stop,
)
from db.session import Database, is_retryable
from db.telemetry import get_logger
from jobs.attempt import COMPLETED, Attempt, Cancelled, Declared, Journal, Snooze, Stop
from jobs.attempt.journal import aged, plain_json
from jobs.runner.grouping import Grouped
from jobs.runner.supervision import Supervision
from jobs.settings import WorkerSettings

log = get_logger(__name__)

# How long to wait before an end that could not be written is written again, doubling.
WRITE_AGAIN_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
STORE_ERRORS = (SQLAlchemyError, OSError)


class BadArguments(Exception):
    """A job was stored with arguments that today's code has no way to read."""


class Runner:
    """Runs the attempts of one process, `settings.slots` at a time."""

    def __init__(
        self,
        *,
        database: Database,
        card: ledger.WorkerCard,
        kinds: Mapping[str, Declared],
        settings: WorkerSettings,
    ) -> None:
        self.card = card
        self.journal = Journal(database)
        self.running: dict[UUID, Supervision] = {}
        self.is_claiming = True
        self._database = database
        self._kinds = kinds
        self._settings = settings
        self._idle = asyncio.Event()
        self._idle.set()
        self._slots = asyncio.Semaphore(settings.slots)
        self._claim = Grouped(self._claim_group)
        self._end = Grouped(self._end_group)

    @property
    def free_slots(self) -> int:
        """How many more attempts could begin now."""
        return self._settings.slots - len(self.running)

    def held(self) -> dict[UUID, int]:
        """The jobs that this process believes to hold, each with its fence."""
        # Also read by the heartbeat's thread, so the items are copied in one step.
        return {job_id: each.attempt.claimed.fence for job_id, each in list(self.running.items())}

    async def until_idle(self) -> None:
        """Wait until nothing runs here."""
        await self._idle.wait()

    async def run(self, ticket: ledger.Ticket) -> bool:
        """Claim the ticket's job and run it to its outcome. False: the ticket was out of date, or we claim no more."""
        async with self._slots:
            if not self.is_claiming:
                return False
            try:
                claimed = await self._claim(ticket)
            except STORE_ERRORS as error:
                log.warning("job.not_claimed", job_id=str(ticket.job_id), error=type(error).__name__)
                return False
            if claimed is None:
                return False
            await self.perform(claimed)
            return True

    async def perform(self, claimed: ledger.Claimed) -> None:
        """Run a claimed job to its outcome. Raises nothing but what cancels this task itself."""
        notes = self.journal.open(job_id=claimed.job_id, fence=claimed.fence, progress=claimed.progress)
        attempt = Attempt(claimed=claimed, database=self._database, notes=notes)
        supervision = Supervision(attempt, self._settings)
        self.running[claimed.job_id] = supervision
        self._idle.clear()
        with structlog.contextvars.bound_contextvars(
            job_id=str(claimed.job_id), kind=claimed.kind, attempt=claimed.number
        ):
            try:
                log.info("job.started", waited_seconds=round(claimed.waited_seconds, 3))
                body = await supervision.run(self._body(attempt), timeout_seconds=claimed.timeout_seconds)
                if supervision.is_given_up:
                    log.error("job.left_behind", why=attempt.stop)
                    body.add_done_callback(_look_away)
                verdict, result = judge(attempt, body)
                await self._settle(attempt, verdict, result)
            finally:
                self._forget(supervision)
                self.journal.close(notes)

    def stop(self, job_id: UUID, why: Stop, reason: str | None = None) -> None:
        """Ask one running job to stop, if it runs here."""
        supervision = self.running.get(job_id)
        if supervision is not None:
            supervision.stop(why, reason)

    def stop_all(self, why: Stop) -> None:
        """Ask everything that runs here to stop."""
        for supervision in list(self.running.values()):
            supervision.stop(why)

    async def give_back(self, job_id: UUID, fence: int) -> None:
        """Let a job go that is in our name, and of which we know nothing. Raises what the database raises."""
        ending = ledger.Ending(
            job_id=job_id, fence=fence, verdict=decide_release(is_cancel_requested=False), is_taken_away=True
        )
        async with self._database.transaction() as tx:
            await ledger.end_attempts(tx, endings=[ending], now=tx.now)
            tx.hint(WORK_IS_DUE)

    def _forget(self, supervision: Supervision) -> None:
        job_id = supervision.attempt.job_id
        # A job that was taken away may be back already, as another attempt of ours.
        if self.running.get(job_id) is supervision:
            del self.running[job_id]
        if not self.running:
            self._idle.set()

    # ------------------------------------------------------------------------------------------------ steps

    async def _claim_group(self, tickets: Sequence[ledger.Ticket]) -> Sequence[ledger.Claimed | None]:
        async with self._database.transaction() as tx:
            claimed = await ledger.claim(
                tx,
                tickets=tickets,
                worker_id=self.card.id,
                worker_name=self.card.name,
                kinds=self.card.kinds,
                now=tx.now,
            )
        by_job = {job.job_id: job for job in claimed}
        # Two tickets of one job cannot both be in date: the claim goes to the first that asks for it.
        return [by_job.pop(t.job_id) if _is_for(by_job.get(t.job_id), t) else None for t in tickets]

    def _body(self, attempt: Attempt) -> Coroutine[Any, Any, Mapping[str, Any] | None]:
        return _call(self._kinds[attempt.claimed.kind], attempt)

    async def _settle(self, attempt: Attempt, verdict: Verdict | None, result: Mapping[str, Any] | None) -> None:
        wait = WRITE_AGAIN_SECONDS
        while verdict is not None and attempt.stop is not Stop.LOST:
            try:
                if await self._write_end(attempt, verdict, result):
                    log.info("job.ended", state=verdict.state, outcome=verdict.outcome, message=verdict.message)
                    return
                verdict = await self._reconsidered(attempt, verdict)
            except Exception as error:
                if is_retryable(error):
                    continue
                log.warning("job.end_not_written", exc_info=error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        if attempt.is_completed:
            log.info("job.ended", state=JobState.COMPLETED, outcome=AttemptOutcome.COMPLETED, message="Completed.")
        else:
            log.warning("job.not_ours", why=attempt.stop)

    async def _write_end(self, attempt: Attempt, verdict: Verdict, result: Mapping[str, Any] | None) -> bool:
        claimed, notes = attempt.claimed, attempt.notes
        async with notes.lock:
            lines = notes.take()
            ending = ledger.Ending(
                job_id=claimed.job_id,
                fence=claimed.fence,
                verdict=verdict,
                result=result,
                step=notes.step,
                done=notes.done,
                total=notes.total,
            )
            try:
                if not lines and not _has_hook(claimed.kind, verdict):
                    return await self._end(ending)
                async with self._database.transaction() as tx:
                    # Lines are written to the job's row too, and the subject is always locked before it.
                    await endings.lock_subject(tx, kind=claimed.kind, subject_id=claimed.subject_id)
                    if lines:
                        await ledger.note(tx, lines={(claimed.job_id, claimed.fence): aged(lines)}, now=tx.now)
                    is_written = await endings.end_attempt(
                        tx, ending=ending, kind=claimed.kind, subject_id=claimed.subject_id, now=tx.now
                    )
            except BaseException:
                notes.put_back(lines)
                raise
            return is_written

    async def _end_group(self, group: Sequence[ledger.Ending]) -> Sequence[bool]:
        async with self._database.transaction() as tx:
            written = await ledger.end_attempts(tx, endings=group, now=tx.now)
        return [ending.job_id in written for ending in group]

    async def _reconsidered(self, attempt: Attempt, verdict: Verdict) -> Verdict | None:
        """What to write instead, where the first end found the job taken away (None) or asked to stop meanwhile."""
        async with self._database.transaction() as tx:
            answer = await ledger.standing(tx, worker_id=self.card.id, held={attempt.job_id: attempt.claimed.fence})
        if attempt.job_id in answer.cancelled:
            return decide_stop(reason=answer.cancelled[attempt.job_id], error=verdict.error)
        attempt.stop = Stop.LOST
        return None


def judge(attempt: Attempt, body: "asyncio.Task[Any]") -> tuple[Verdict | None, Mapping[str, Any] | None]:
    """What the handler's end means, and its result. No verdict: everything is written already, or not ours to write."""
    if attempt.is_completed or attempt.stop is Stop.LOST:
        _look_away(body)
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


async def _call(declared: Declared, attempt: Attempt) -> Mapping[str, Any] | None:
    try:
        work = declared.work.restored(attempt.claimed.args_version, attempt.claimed.args)
    except ValueError as error:
        raise BadArguments(f"Stored arguments that {declared.work.__name__} does not take.") from error
    return await declared.handler(attempt, work)


def _has_hook(kind: str, verdict: Verdict) -> bool:
    return verdict is not COMPLETED and endings.rules_of(kind).on_end is not None


def _is_for(claimed: ledger.Claimed | None, ticket: ledger.Ticket) -> bool:
    return claimed is not None and claimed.fence == ticket.fence + 1


def _look_away(body: "asyncio.Task[Any]") -> None:
    # An exception that nobody asks for is reported by asyncio as forgotten.
    if body.done() and not body.cancelled():
        body.exception()
