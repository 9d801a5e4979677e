"""Where a job ends outside its handler, its subject is settled in the same transaction: by the rules of its kind.

The one place that knows the kinds of every domain, above all of them. Resolvers cancel and retry jobs through here, and
workers write the ends of attempts through here. A job that completes needs no hook: its handler's last transaction has
settled everything.

The subject is always locked before its job, here as in the domains' own commands: two that settle one subject wait for
each other and never for ever.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, exists, false, or_, select

from db.errors import Code, refuse
from db.ledger import commands as ledger
from db.ledger.models import Job
from db.ledger.rules import TERMINAL, EndedJob, JobStatus, reason_of, status_of
from db.plans import commands as plans
from db.plans.jobs import PublishPlan
from db.plans.models import Plan
from db.session import Tx

# Settle the subject of a job that has just ended; the outcome is FAILED or CANCELLED.
OnEnd = Callable[[Tx, EndedJob, JobStatus], Awaitable[None]]
# Move the subject's pointer from a job to the new one that does it again.
OnRetry = Callable[[Tx, "Retried"], Awaitable[None]]
# Whether the subject shows a job of this kind now, so that it is to be kept: a condition over rows of `jobs`.
IsShown = Callable[[FromClause], ColumnElement[bool]]
# Lock the subject of this id, where it is still there.
Lock = Callable[[Tx, UUID], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Retried:
    """A job that a person has had done again."""

    kind: str
    args: Mapping[str, object]
    subject_id: UUID | None
    old_job_id: UUID
    new_job_id: UUID
    actor_id: UUID | None
    now: datetime


@dataclass(frozen=True, slots=True)
class KindRules:
    """What a kind's subject needs when a job ends or is done again outside of its handler, and when it grows old.

    A hook that raises Refused undoes the request that it belongs to.
    """

    lock: Lock | None = None
    on_end: OnEnd | None = None
    on_retry: OnRetry | None = None
    is_shown: IsShown | None = None


async def _settle_publication(tx: Tx, ended: EndedJob, status: JobStatus) -> None:
    if ended.subject_id is not None:
        was_cancelled = status is JobStatus.CANCELLED
        await plans.settle_publication(tx, plan_id=ended.subject_id, job_id=ended.id, was_cancelled=was_cancelled)


async def _follow_publication(tx: Tx, retried: Retried) -> None:
    if retried.subject_id is not None:
        await plans.follow_retry(
            tx,
            plan_id=retried.subject_id,
            old_job_id=retried.old_job_id,
            new_job_id=retried.new_job_id,
            keeps_tasks=bool(retried.args.get("keeps_tasks")),
            now=retried.now,
        )


def _is_newest_publication(job: FromClause) -> ColumnElement[bool]:
    return exists().where(Plan.id == job.c.subject_id, Plan.publish_job_id == job.c.id)


# Kind of job → its rules. Filled here and nowhere else.
KINDS: dict[str, KindRules] = {
    PublishPlan.kind: KindRules(
        lock=plans.lock_plan,
        on_end=_settle_publication,
        on_retry=_follow_publication,
        is_shown=_is_newest_publication,
    ),
}

_NO_RULES = KindRules()


def rules_of(kind: str) -> KindRules:
    """The rules of a kind; without an entry: nothing to settle."""
    return KINDS.get(kind, _NO_RULES)


def is_shown(job: FromClause) -> ColumnElement[bool]:
    """Whether a job's subject shows it now: then it is kept, however long ago it ended. A condition over `jobs`."""
    conditions = [
        and_(job.c.kind == kind, rules.is_shown(job)) for kind, rules in KINDS.items() if rules.is_shown is not None
    ]
    return or_(false(), *conditions)


async def cancel_job(
    tx: Tx, *, job_id: UUID, actor_id: UUID | None, reason: str | None, now: datetime
) -> ledger.CancelOutcome:
    """Cancel a job that has not begun, and settle its subject; or ask one that runs to stop.

    Raises Refused (BAD_USER_INPUT for a reason that is too long, NOT_FOUND, JOB_NOT_CANCELLABLE).
    """
    why = reason_of(reason)
    await _lock_subject_of(tx, job_id)
    outcome = await ledger.request_cancel(tx, job_id=job_id, actor_id=actor_id, reason=why, now=now)
    if outcome.ended is not None:
        await settle(tx, outcome.ended)
    return outcome


async def retry_job(tx: Tx, *, job_id: UUID, actor_id: UUID | None, now: datetime) -> UUID:
    """Make a new job like one that FAILED or was CANCELLED, and move its subject's pointer to it. The new one's id.

    Raises Refused (NOT_FOUND, JOB_NOT_RETRYABLE, and what the kind refuses).
    """
    old = await _lock_subject_of(tx, job_id)
    new_job_id = await ledger.enqueue_again(tx, job_id=job_id, actor_id=actor_id, now=now)
    on_retry = rules_of(old.kind).on_retry
    if on_retry is not None:
        await on_retry(
            tx,
            Retried(
                kind=old.kind,
                args=old.args,
                subject_id=old.subject_id,
                old_job_id=job_id,
                new_job_id=new_job_id,
                actor_id=actor_id,
                now=now,
            ),
        )
    return new_job_id


async def end_attempt(tx: Tx, *, ending: ledger.Ending, kind: str, subject_id: UUID | None) -> bool:
    """Write the end of an attempt, and settle the subject where the job has ended with it.

    False: the job was not held under this fence any more, or was to go on and has been asked to stop; nothing was
    written.
    """
    if ending.verdict.state in TERMINAL:
        await lock_subject(tx, kind=kind, subject_id=subject_id)
    written = await ledger.end_attempts(tx, endings=[ending])
    if ending.job_id not in written:
        return False
    ended = written[ending.job_id]
    if ended is not None:
        await settle(tx, ended)
    return True


async def settle(tx: Tx, ended: EndedJob) -> None:
    """Call the hook of the job's kind, unless the job completed."""
    on_end = rules_of(ended.kind).on_end
    status = status_of(ended.state)
    if on_end is not None and status is not JobStatus.COMPLETED:
        await on_end(tx, ended, status)


@dataclass(frozen=True, slots=True)
class _Known:
    kind: str
    args: Mapping[str, object]
    subject_id: UUID | None


async def _lock_subject_of(tx: Tx, job_id: UUID) -> _Known:
    # Kind, arguments and subject of a job never change, so they may be read before anything is locked.
    row = (await tx.execute(select(Job.kind, Job.args, Job.subject_id).where(Job.id == job_id))).one_or_none()
    if row is None:
        raise refuse(Code.NOT_FOUND, "There is no such job.", "jobId")
    await lock_subject(tx, kind=row.kind, subject_id=row.subject_id)
    return _Known(row.kind, row.args, row.subject_id)


async def lock_subject(tx: Tx, *, kind: str, subject_id: UUID | None) -> None:
    """Lock the subject of a job: before anything is written to the job itself in the same transaction."""
    lock = rules_of(kind).lock
    if lock is not None and subject_id is not None:
        await lock(tx, subject_id)
