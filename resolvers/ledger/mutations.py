"""The mutations of ledger."""

from typing import Any
from uuid import UUID

import strawberry

from db import endings
from db.accounts.rules import Viewer, require_admin
from db.errors import Code, refuse
from db.ledger import commands as ledger
from db.ledger.queries import JOB, may_write_job, queue_stats
from db.session import Tx
from resolvers.context import Info
from resolvers.fields import MutationPayload, attr, mutation, shown
from resolvers.ids import not_found, require_id
from resolvers.inputs import IDEMPOTENCY_KEY
from resolvers.ledger.types import Job, QueueStats
from resolvers.selection import wanted


@strawberry.input(description="Which job to cancel.")
class CancelJobInput:
    """A request to cancel."""

    job_id: strawberry.ID = attr("The job.")
    reason: str | None = attr("Why, for its history; at most 500 characters.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which job to do again.")
class RetryJobInput:
    """A request to try again."""

    job_id: strawberry.ID = attr("A job that FAILED or was CANCELLED, and is not being tried again already.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which queue to pause.")
class PauseQueueInput:
    """A queue to pause."""

    queue: str = attr("Its name: `QueueStats.queue`.")
    reason: str | None = attr("Why, for other operators; at most 500 characters.", default=None)
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.input(description="Which queue to go on with.")
class ResumeQueueInput:
    """A queue to resume."""

    queue: str = attr("Its name: `QueueStats.queue`.")
    idempotency_key: str | None = attr(IDEMPOTENCY_KEY, default=None)


@strawberry.type(description="What `cancelJob` did.")
class CancelJobPayload(MutationPayload):
    """A cancelled job, or one that is asked to stop."""

    job_id: strawberry.Private[UUID | None] = None
    job: Job | None = shown(
        JOB,
        "job_id",
        "The job: CANCELLED at once where it had not begun, else still RUNNING, with `cancelRequestedAt`. "
        "Null where the mutation was refused.",
    )


@strawberry.type(description="What `retryJob` did.")
class RetryJobPayload(MutationPayload):
    """A new job."""

    job_id: strawberry.Private[UUID | None] = None
    job: Job | None = shown(JOB, "job_id", "The new job, with `retryOf`. Null where the mutation was refused.")


async def _queue(self: Any, info: Info) -> Any:
    if self.queue_name is None:
        return None
    found = await queue_stats(info.context.reading, wanted(info), name=self.queue_name)
    return found[0] if found else None


@strawberry.type(description="What `pauseQueue` did.")
class PauseQueuePayload(MutationPayload):
    """A paused queue."""

    queue_name: strawberry.Private[str | None] = None
    queue: QueueStats | None = strawberry.field(
        resolver=_queue, description="The queue as it is now. Null where the mutation was refused."
    )


@strawberry.type(description="What `resumeQueue` did.")
class ResumeQueuePayload(MutationPayload):
    """A queue that goes on."""

    queue_name: strawberry.Private[str | None] = None
    queue: QueueStats | None = strawberry.field(
        resolver=_queue, description="The queue as it is now. Null where the mutation was refused."
    )


@mutation
async def cancel_job(tx: Tx, viewer: Viewer, input: CancelJobInput) -> CancelJobPayload:
    """Stop a job. For who may change its subject, who asked for it where it has none, and ADMIN.

    One that waits is CANCELLED at once. One that runs is asked to stop and ends at its next safe point; if it is done
    before it gets there, it is COMPLETED. JOB_NOT_CANCELLABLE where it has ended.
    """
    job_id = await _writable(tx, viewer, input.job_id)
    await endings.cancel_job(tx, job_id=job_id, actor_id=viewer.user_id, reason=input.reason, now=tx.now)
    return CancelJobPayload(job_id=job_id)


@mutation
async def retry_job(tx: Tx, viewer: Viewer, input: RetryJobInput) -> RetryJobPayload:
    """Do a job again, as a new job with the same parameters.

    For who may change its subject, who asked for it where it has none, and ADMIN.

    JOB_NOT_RETRYABLE unless it FAILED or was CANCELLED and no newer try of it is under way.
    """
    job_id = await _writable(tx, viewer, input.job_id)
    return RetryJobPayload(job_id=await endings.retry_job(tx, job_id=job_id, actor_id=viewer.user_id, now=tx.now))


@mutation
async def pause_queue(tx: Tx, viewer: Viewer, input: PauseQueueInput) -> PauseQueuePayload:
    """Begin nothing new in a queue: its jobs wait, those that run go on. For ADMIN.

    Where it is paused already nothing happens, and the first reason stays. NOT_FOUND for a queue that no worker serves,
    that has no jobs and that nothing is set for; `details.known` names those that there are.
    """
    require_admin(viewer)
    await ledger.pause_queue(tx, name=input.queue, actor_id=viewer.user_id, reason=input.reason, now=tx.now)
    return PauseQueuePayload(queue_name=input.queue)


@mutation
async def resume_queue(tx: Tx, viewer: Viewer, input: ResumeQueueInput) -> ResumeQueuePayload:
    """Go on with a paused queue, at once. For ADMIN.

    Where it is not paused nothing happens; NOT_FOUND as in `pauseQueue`.
    """
    require_admin(viewer)
    await ledger.resume_queue(tx, name=input.queue)
    return ResumeQueuePayload(queue_name=input.queue)


async def _writable(tx: Tx, viewer: Viewer, id: str) -> UUID:
    key = require_id(id, "jobId", types=("Job",), thing="job")
    may_write = await may_write_job(tx, viewer=viewer, job_id=key)
    if may_write is None:
        raise not_found("job", "jobId")
    if not may_write:
        raise refuse(Code.FORBIDDEN, "You may see this job, and not change it.", "jobId")
    return key


MUTATIONS: list[Any] = [cancel_job, retry_job, pause_queue, resume_queue]
