"""From a ticket to an outcome. The steps of one attempt, in order: claim, decode, handle, judge, settle.

What goes wrong with a store on the way leaves the job to the sweep: an unclaimed ticket is made anew, a job whose end
could not be written is rescued once our lease is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from db import endings, tracing
from db.ledger import commands as ledger
from db.ledger.rules import TERMINAL, WORK_IS_DUE, AttemptOutcome, JobState, Verdict, decide_release, decide_stop
from db.session import STORE_ERRORS, Database, is_data_error, is_retryable
from db.telemetry import get_logger
from jobs import metrics
from jobs.attempt import COMPLETED, Attempt, Declared, Journal, Stop
from jobs.attempt.journal import aged
from jobs.runner.grouping import Grouped
from jobs.runner.judging import BadArguments, judge, look_away
from jobs.runner.supervision import Supervision
from jobs.settings import WorkerSettings

log = get_logger(__name__)

Claim = Callable[[Sequence[ledger.Ticket]], Awaitable["Sequence[Supervision | None]"]]
# How long to wait before an end that could not be written is written again, doubling.
WRITE_AGAIN_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
# Handlers free their slots when they return. So many more than there are slots may wait for their ends to be written.
MOST_ENDING = 200


class Runner:
    """Runs the attempts of one process, the handlers of `settings.slots` at a time."""

    def __init__(
        self,
        *,
        database: Database,
        card: ledger.WorkerCard,
        kinds: Mapping[str, Declared],
        settings: WorkerSettings,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self.card = card
        self.journal = Journal(database)
        self.running: dict[UUID, Supervision] = {}
        self.is_claiming = True
        self._database = database
        self._kinds = kinds
        self._settings = settings
        self._on_free = on_free
        # Handlers that run, and tickets that are being claimed: each has a slot.
        self._busy = 0
        self._claiming = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._claim = Grouped(self._claim_group)
        self._end = Grouped(self._end_group)

    @property
    def free_slots(self) -> int:
        """How many more attempts could begin now."""
        taken = self._busy + self._claiming
        return min(self._settings.slots - taken, self._settings.slots + MOST_ENDING - len(self.running))

    def held(self) -> dict[UUID, int]:
        """The jobs that this process believes to hold, each with its fence."""
        # Also read by the heartbeat's thread, so the items are copied in one step.
        return {job_id: each.attempt.claimed.fence for job_id, each in list(self.running.items())}

    async def until_idle(self) -> None:
        """Wait until nothing runs here, and nothing is being claimed."""
        await self._idle.wait()

    async def take(self, tickets: Sequence[ledger.Ticket]) -> None:
        """Claim the jobs of these tickets and start them, or let them go where we claim no more."""
        for supervision in await self._claimed(tickets, self._claim_group):
            task = asyncio.create_task(self._attempt(supervision))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)

    async def run(self, ticket: ledger.Ticket) -> bool:
        """Claim one ticket's job and run it to its outcome. False: the ticket was out of date, or we claim no more."""
        claimed = await self._claimed([ticket], self._claim_with_others)
        for supervision in claimed:
            await self._attempt(supervision)
        return bool(claimed)

    def stop(self, job_id: UUID, fence: int, why: Stop, reason: str | None = None) -> None:
        """Ask one attempt to stop, if it runs here. A later one at the same job goes on."""
        supervision = self.running.get(job_id)
        if supervision is not None and supervision.attempt.claimed.fence == fence:
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
            await ledger.end_attempts(tx, endings=[ending])
            tx.hint(WORK_IS_DUE)

    async def _hand_back(self, tickets: Sequence[ledger.Ticket]) -> None:
        async with self._database.transaction() as tx:
            await ledger.hand_back(tx, tickets=tickets)
            tx.hint(WORK_IS_DUE)

    def _begin(self, claimed: ledger.Claimed) -> Supervision:
        """From here on the job is in our hands, and known to the heartbeat."""
        notes = self.journal.open(job_id=claimed.job_id, fence=claimed.fence, progress=claimed.progress)
        supervision = Supervision(Attempt(claimed=claimed, database=self._database, notes=notes), self._settings)
        self.running[claimed.job_id] = supervision
        self._busy += 1
        self._idle.clear()
        return supervision

    def _forget(self, supervision: Supervision) -> None:
        attempt = supervision.attempt
        # A job that was taken away may be back already, as another attempt of ours.
        if self.running.get(attempt.job_id) is supervision:
            del self.running[attempt.job_id]
        self.journal.close(attempt.notes)
        self._see_whether_idle()
        self._on_free()

    def _see_whether_idle(self) -> None:
        if not self.running and not self._claiming:
            self._idle.set()

    # ------------------------------------------------------------------------------------------------ steps

    async def _claimed(self, tickets: Sequence[ledger.Ticket], claim: Claim) -> list[Supervision]:
        if not self.is_claiming:
            await self._hand_back(tickets)
            return []
        self._claiming += len(tickets)
        self._idle.clear()
        try:
            return [begun for begun in await claim(tickets) if begun is not None]
        except STORE_ERRORS as error:
            log.warning("job.not_claimed", tickets=len(tickets), error=type(error).__name__)
            return []
        finally:
            self._claiming -= len(tickets)
            self._see_whether_idle()

    async def _claim_with_others(self, tickets: Sequence[ledger.Ticket]) -> Sequence[Supervision | None]:
        return [await self._claim(ticket) for ticket in tickets]

    async def _claim_group(self, tickets: Sequence[ledger.Ticket]) -> Sequence[Supervision | None]:
        async with self._database.single() as single:
            claimed = await ledger.claim(
                single,
                tickets=tickets,
                worker_id=self.card.id,
                worker_name=self.card.name,
                kinds=self.card.kinds,
                takes_suspect=not any(each.attempt.claimed.is_suspect for each in self.running.values()),
            )
        metrics.claimed(len(tickets), claimed)
        by_job = {job.job_id: job for job in claimed}
        # Two tickets of one job cannot both be in date: the claim goes to the first that asks for it.
        ours = [by_job.pop(t.job_id) if _is_for(by_job.get(t.job_id), t) else None for t in tickets]
        return [None if job is None else self._begin(job) for job in ours]

    async def _attempt(self, supervision: Supervision) -> None:
        """One attempt: handle, judge, settle. Raises nothing but what cancels this task itself."""
        attempt = supervision.attempt
        claimed = attempt.claimed
        structlog.contextvars.bind_contextvars(job_id=str(claimed.job_id), kind=claimed.kind, attempt=claimed.number)
        with _traced(claimed, self.card) as span:
            try:
                log.info("job.started", waited_seconds=round(claimed.waited_seconds, 3))
                body = await self._handle(supervision)
                verdict, result = judge(attempt, body)
                _tell(span, await self._settle(attempt, verdict, result))
            finally:
                self._forget(supervision)

    async def _handle(self, supervision: Supervision) -> "asyncio.Task[Any]":
        attempt = supervision.attempt
        try:
            with metrics.handling(attempt.claimed.kind):
                body = await supervision.run(self._body(attempt), timeout_seconds=attempt.claimed.timeout_seconds)
        finally:
            self._busy -= 1
            self._on_free()
        if supervision.is_given_up:
            log.error("job.left_behind", why=attempt.stop)
            body.add_done_callback(look_away)
        return body

    def _body(self, attempt: Attempt) -> Coroutine[Any, Any, Mapping[str, Any] | None]:
        return _call(self._kinds[attempt.claimed.kind], attempt)

    async def _settle(
        self, attempt: Attempt, verdict: Verdict | None, result: Mapping[str, Any] | None
    ) -> Verdict | None:
        """Write the end, until it is written or the job is not ours any more (None). The end that counts."""
        wait, is_alone = WRITE_AGAIN_SECONDS, False
        while verdict is not None and attempt.stop is not Stop.LOST:
            try:
                if await self._write_end(attempt, verdict, result, is_alone=is_alone):
                    metrics.ended(attempt.claimed.kind, verdict.outcome)
                    log.info("job.ended", state=verdict.state, outcome=verdict.outcome, message=verdict.message)
                    return verdict
                verdict, is_alone = await self._reconsidered(attempt, verdict), True
            except Exception as error:
                if is_retryable(error):
                    continue
                log.warning("job.end_not_written", exc_info=error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        if attempt.is_completed:
            metrics.ended(attempt.claimed.kind, AttemptOutcome.COMPLETED)
            log.info("job.ended", state=JobState.COMPLETED, outcome=AttemptOutcome.COMPLETED, message="Completed.")
            return COMPLETED
        log.warning("job.not_ours", why=attempt.stop)
        return None

    async def _write_end(
        self, attempt: Attempt, verdict: Verdict, result: Mapping[str, Any] | None, *, is_alone: bool
    ) -> bool:
        """Write the end, with others' ends where that is possible. False: see `_reconsidered`."""
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
                if not lines and not is_alone and not _has_hook(claimed.kind, verdict):
                    return await self._end(ending)
                async with self._database.transaction() as tx:
                    # Lines are written to the job's row too, and the subject is always locked before it.
                    await endings.lock_subject(tx, kind=claimed.kind, subject_id=claimed.subject_id)
                    if lines:
                        await ledger.note(tx, lines={(claimed.job_id, claimed.fence): aged(lines)})
                    is_written = await endings.end_attempt(
                        tx, ending=ending, kind=claimed.kind, subject_id=claimed.subject_id
                    )
            except BaseException:
                notes.put_back(lines)
                raise
            return is_written

    async def _end_group(self, group: Sequence[ledger.Ending]) -> Sequence[bool]:
        try:
            async with self._database.single() as single:
                written = await ledger.end_attempts(single, endings=group)
        except STORE_ERRORS as error:
            if not is_data_error(error):
                raise
            # One of them has something that Postgres does not take: let each find out by itself.
            return [False] * len(group)
        # Of two attempts at one job, the older one's end is not what was written.
        newest = {ending.job_id: ending.fence for ending in sorted(group, key=lambda each: each.fence)}
        return [ending.job_id in written and newest[ending.job_id] == ending.fence for ending in group]

    async def _reconsidered(self, attempt: Attempt, verdict: Verdict) -> Verdict | None:
        """What to write where the first end was not written.

        Nothing where the job has been taken away, another end where it was to go on and has been asked to stop, the
        same one where it was left out of its group.
        """
        async with self._database.transaction() as tx:
            answer = await ledger.standing(tx, worker_id=self.card.id, held={attempt.job_id: attempt.claimed.fence})
        held = (attempt.job_id, attempt.claimed.fence)
        if held in answer.lost:
            attempt.stop = Stop.LOST
            return None
        if held in answer.cancelled and verdict.state not in TERMINAL:
            return decide_stop(reason=answer.cancelled[held], error=verdict.error)
        return verdict


async def _call(declared: Declared, attempt: Attempt) -> Mapping[str, Any] | None:
    try:
        work = declared.work.restored(attempt.claimed.args_version, attempt.claimed.args)
    except ValueError as error:
        raise BadArguments(f"Stored arguments that {declared.work.__name__} does not take.") from error
    return await declared.handler(attempt, work)


def _traced(claimed: ledger.Claimed, card: ledger.WorkerCard) -> tracing.Span:
    return tracing.attempting(
        job_id=claimed.job_id,
        kind=claimed.kind,
        queue=claimed.queue,
        number=claimed.number,
        waited_seconds=claimed.waited_seconds,
        worker=card.name,
        trace_context=claimed.trace_context,
    )


def _tell(span: tracing.Span, verdict: Verdict | None) -> None:
    if verdict is None:
        tracing.attempted(span, outcome=None)
    elif verdict.error is None:
        tracing.attempted(span, outcome=verdict.outcome)
    else:
        tracing.attempted(span, outcome=verdict.outcome, code=verdict.error.code, words=verdict.error.message)


def _has_hook(kind: str, verdict: Verdict) -> bool:
    return verdict.state is not JobState.COMPLETED and endings.rules_of(kind).on_end is not None


def _is_for(claimed: ledger.Claimed | None, ticket: ledger.Ticket) -> bool:
    return claimed is not None and claimed.fence == ticket.fence + 1
