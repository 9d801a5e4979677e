"""Types of ledger: a job, its attempts, its log, its events."""

import dataclasses
from datetime import datetime
from typing import Annotated, Any

import strawberry

from db.ledger.queries import JOB
from db.ledger.rules import AttemptOutcome, EventType, JobStatus, LogLevel
from db.reading import Entity
from resolvers.accounts.types import Actor
from resolvers.context import Info
from resolvers.fields import Node, Row, attr, computed, enum_type, listed, node_id, related
from resolvers.ids import with_ids
from resolvers.paging import After, Connection, First, described
from resolvers.scalars import JSON

enum_type(
    JobStatus,
    name="JobStatus",
    description="Where a job is. The last three are final.",
    values={
        "QUEUED": "It waits: for a worker, for its time, or for its next attempt.",
        "RUNNING": "A worker runs it.",
        "COMPLETED": "It is done, and all of its effects are there.",
        "FAILED": "It was refused by a rule, or its attempts are used up.",
        "CANCELLED": "It was stopped on request, or a newer job took its place.",
    },
)
enum_type(
    AttemptOutcome,
    name="AttemptOutcome",
    description="How one attempt at a job ended.",
    values={
        "COMPLETED": "The job is done.",
        "RETRY": "A fault; another attempt follows.",
        "SNOOZED": "There was nothing to do yet; another attempt follows, at no cost.",
        "CANCELLED": "It was stopped on request.",
        "FAILED": "A refusal, or a fault with no attempts left.",
        "LOST": "The worker died or lost its lease.",
        "INTERRUPTED": "The worker was shut down; another attempt follows, at no cost.",
    },
)
enum_type(
    LogLevel,
    name="LogLevel",
    description="How much a line of a log matters.",
    values={
        "DEBUG": "For whoever works on the server.",
        "INFO": "What happens.",
        "WARNING": "Something to look at.",
        "ERROR": "Something went wrong.",
    },
)
enum_type(
    EventType,
    name="JobEventType",
    description="What an event of a job tells.",
    values={
        "SNAPSHOT": "The job as it is; the first event of a stream, never stored.",
        "PROGRESS": "It has come further.",
        "LOG": "A line was added to its log: see `log`.",
        "STATUS": "Its status has changed, it was asked to stop, or it waits for another attempt.",
    },
)


@strawberry.type(description="Why a job or an attempt failed.")
class JobError:
    """An error of a job."""

    code: str = attr("What kind of problem it is, for programs: an `ErrorCode`, or a code of the job kind's own.")
    message: str = attr("What went wrong, for people.")

    @computed()
    def details(self: Any) -> JSON | None:
        """The values of the message, or null. Who is named in them as `{type, id, name}` is found by `node(id:)`."""
        return JSON(with_ids(self.details)) if self.details else None


@strawberry.type(description="One run of a job by one worker.")
class JobAttempt(Row):
    """An attempt."""

    number: int = attr("1 for the first.")
    started_at: datetime = attr("When the worker took the job.")
    finished_at: datetime | None = attr("When the attempt ended; null while it runs.")
    outcome: AttemptOutcome | None = attr("How it ended; null while it runs.")
    error: JobError | None = attr("What went wrong in it; null where nothing did.")
    worker: str = attr("The name of the worker.")


@strawberry.type(description="A line of a job's log.")
class JobLog(Row):
    """A line of the log."""

    seq: int = attr("The number of its event: between two lines numbers may be missing.")
    at: datetime = attr("When it was told.")
    level: LogLevel = attr("How much it matters.")
    message: str = attr("The line, for people.")
    data: JSON | None = attr("Values that go with it; null where there are none.")


@strawberry.type(
    description="Work that takes time: asked for by a mutation, done by a worker, watched with `jobProgress`. "
    "A job exists from the moment its mutation has answered, and ends COMPLETED, FAILED or CANCELLED, once and for all."
)
class Job(Row, Node):
    """A durable job."""

    id: strawberry.ID = node_id()
    uuid: str = attr("Its key without wrapping: `GET /jobs/{uuid}` answers the same facts as plain JSON.")
    kind: str = attr("What it does: a stable name such as `plan.publish`.")
    queue: str = attr("The queue that it waits in.")
    status: JobStatus = attr("Where it is.")
    is_quarantined: bool = attr(
        "FAILED because several workers died of it; it should not be tried again before somebody has looked."
    )
    progress: int = attr("0 to 100. Never decreases, and is 100 only when the job is COMPLETED.")
    step: str | None = attr("What it does now, or did last, in words; null before the first.")
    done: int | None = attr("Units of work done so far; null where the kind does not count them.")
    total: int | None = attr("Units of work in all; null where the kind does not count them, or not yet.")
    attempt: int = attr("The number of the newest attempt; 0 before the first.")
    max_attempts: int = attr("How often a fault is tried. Snoozes and restarts of workers do not count.")
    priority: int = attr("0 runs first, 9 last.")
    params: JSON = attr("What it was asked to do. Holds no secrets.")
    result: JSON | None = attr("What came of it; null before it is COMPLETED, and for kinds without a result.")
    error: JobError | None = attr("Why it FAILED; null otherwise.")
    last_seq: int = attr("The number of its newest event: `jobProgress(after:)` goes on from there.")
    subject: Node | None = attr(
        "The thing that it works on; null where there is none, it is gone, or the viewer may not see it."
    )
    subject_label: str | None = attr("The subject's name when the job was asked for; null where there is no subject.")
    requested_by: Actor = attr("Who asked for it; the system where nobody did.")
    retry_of: "Job | None" = attr("The job that it does again; null where it is the first, or not visible.")
    retried_as: "Job | None" = attr(
        "The newest job that does it again; null where there is none, or it is not visible."
    )
    enqueued_at: datetime = attr("When it was asked for.")
    scheduled_at: datetime = attr("When it may begin, or the time of its next attempt.")
    started_at: datetime | None = attr("When its first attempt began; null before.")
    finished_at: datetime | None = attr("When it ended; null before.")
    cancel_requested_at: datetime | None = attr("When it was asked to stop; null where it was not.")
    cancel_reason: str | None = attr("The reason given by who asked it to stop; null where none was.")
    can_cancel: bool = attr("Whether `cancelJob` by this viewer would have an effect now.")
    can_retry: bool = attr("Whether `retryJob` by this viewer would be accepted now.")

    @listed
    def attempts(self, info: Info, first: First = None, after: After = None) -> Connection[JobAttempt]:
        """Its attempts, newest first."""
        return related(self, info)

    @listed
    def logs(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        min_level: Annotated[LogLevel, described("Leave out what matters less.")] = LogLevel.DEBUG,
        newest_first: Annotated[bool, described("The newest line first.")] = False,
    ) -> Connection[JobLog]:
        """The lines of its log, oldest first unless `newestFirst` is given."""
        return related(self, info)


@strawberry.type(
    description="One line of a job's history. `seq` starts at 1 and has no gaps; the last event of a job is a STATUS "
    "with a final status. `status` to `total` are as they were after this event; `job` is the job as it is when the "
    "event is sent, so a cache keyed by `job.id` never goes back, not even in a replay."
)
class JobEvent:
    """An event, made for all subscribers who selected the same of its `job` and may see the same.

    `answers` is the edge's place for what it makes of the event, once for all of them.
    """

    answers: strawberry.Private[dict[Any, Any]] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    seq: int = attr("Its number. Resume with `after:` the highest one received.")
    at: datetime = attr("When it happened; for a SNAPSHOT, now.")
    job: Job = attr("The job as it is now: as new as the event or newer.")
    type: EventType = attr("What it tells.")
    message: str | None = attr("What happened, in words; null where the other fields say it.")
    status: JobStatus = attr("The job's status after this event.")
    progress: int = attr("The job's progress after this event.")
    step: str | None = attr("What the job did then, in words.")
    done: int | None = attr("Units of work done by then.")
    total: int | None = attr("Units of work in all, as known then.")
    attempt: int = attr("The number of the attempt that it belongs to; 0 before the first.")
    log: JobLog | None = attr("The line of the log, for a LOG; null otherwise.")


@strawberry.type(description="A queue of jobs: how much waits and runs in it, and what is set for it.")
class QueueStats(Row):
    """A queue as operators see it."""

    queue: str = attr("Its name: `Job.queue`.")
    is_paused: bool = attr("Whether nothing new is begun in it: see `pauseQueue`.")
    paused_at: datetime | None = attr("Since when it is paused; null where it is not.")
    paused_by: Actor | None = attr(
        "Who paused it; the system where it was done from the command line, null where it is not paused."
    )
    pause_reason: str | None = attr("Why it is paused, in that person's words; null where none were given.")
    queued: int = attr("Jobs that could run now and wait for a worker.")
    scheduled: int = attr("Jobs that wait for their time, such as that of their next attempt.")
    running: int = attr("Jobs that a worker runs now.")
    completed_last_hour: int = attr("Jobs that were COMPLETED within the last hour.")
    failed_last_hour: int = attr("Jobs that FAILED for good within the last hour.")
    oldest_queued_seconds: float | None = attr(
        "For how long the oldest of `queued` could have run; null where there are none. Grows while it is paused."
    )
    workers: int = attr("Workers that take jobs from it: alive, and not about to stop.")
    limit: int | None = attr("How many of its jobs run at once, over all workers; null: as many as there are slots.")
    limit_per_key: int | None = attr(
        "How many of its jobs of one concurrency key run at once, over all workers; null: no such limit."
    )


@strawberry.type(
    description="A process that runs jobs. One that has died stays in the list for a while (an hour, unless set "
    "otherwise): see `seenAt`. One that was stopped in good order is gone at once."
)
class JobWorker(Row):
    """A worker as operators see it."""

    uuid: str = attr("Its key: new at every start, never used again.")
    name: str = attr("Its name, by default host and process id: `JobAttempt.worker`.")
    queues: list[str] = attr("The queues that it takes jobs from.")
    kinds: list[str] = attr("The kinds of job that it can run.")
    slots: int = attr("How many jobs it runs at once at most.")
    running: int = attr("How many jobs it runs now.")
    started_at: datetime = attr("When it started.")
    seen_at: datetime = attr(
        "When it last said that it lives; it does so every 2 seconds, and after 10 its jobs are run elsewhere."
    )
    is_draining: bool = attr("Whether it is about to stop: it begins nothing new.")


@strawberry.type(description="Work that comes again and again: one job at each tick.")
class JobSchedule(Row):
    """A schedule as operators see it."""

    name: str = attr("Its name.")
    kind: str = attr("The kind of its jobs: `Job.kind`.")
    rule: str = attr("When it ticks, in the words of the setting.")
    last_tick_at: datetime | None = attr("When it last ticked; null before the first time.")
    next_tick_at: datetime | None = attr("When it ticks next; null where it is switched off.")
    last_job: Job | None = attr("The job of its newest tick; null before the first, and once that job is forgotten.")


@strawberry.input(description="Which jobs: all that is given must hold. A list means any of its values.")
class JobFilter:
    """A filter of jobs."""

    kinds: list[str] | None = attr("Their kinds, such as `plan.publish`.", default=None)
    statuses: list[JobStatus] | None = attr("Their statuses.", default=None)
    subject_id: strawberry.ID | None = attr("The thing that they work on.", default=None)
    requested_by_id: strawberry.ID | None = attr("The person who asked for them.", default=None)
    queue: str | None = attr("Their queue.", default=None)
    uuid: str | None = attr("Their key.", default=None)
    is_quarantined: bool | None = attr("Whether several workers died of them.", default=None)
    enqueued_from: datetime | None = attr("Asked for at this instant or later.", default=None)
    enqueued_to: datetime | None = attr("Asked for before this instant.", default=None)


NODES: dict[str, Entity] = {"Job": JOB}
TYPES: list[type] = [Job, QueueStats, JobWorker, JobSchedule]
