"""Jobs as people see them: what each shows, who may see it, and the lists it stands in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    FromClause,
    Text,
    and_,
    any_,
    cast,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
)

from db.accounts.queries import SYSTEM, USER
from db.accounts.rules import Viewer
from db.base import table_of
from db.ledger.models import Job, JobAttempt, JobEvent
from db.ledger.rules import (
    LIVE,
    RETRYABLE,
    AttemptOutcome,
    JobError,
    JobState,
    JobStatus,
    LogLevel,
    is_retryable,
    states_of,
    status_of,
)
from db.reading import Batch, Derived, Either, Entity, Filter, Listing, Many, One, Order, Reading, Want, bind
from db.session import Tx

_JOBS = table_of(Job)
_EVENTS = table_of(JobEvent)
_ATTEMPTS = table_of(JobAttempt)

_NOTHING = UUID(int=0)


# --- who may ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubjectAccess:
    """What a type of subject says of its jobs: how it is read, and who may see and change them.

    `readable` and `writable` are conditions over the key of a subject; they may bind the viewer's parameters
    (`viewer_id`, `viewer_is_editor`). `retryable` is one over a job: whether its subject still takes another try of it.
    """

    entity: Callable[[], Entity]
    readable: Callable[[ColumnElement[Any]], ColumnElement[bool]]
    writable: Callable[[ColumnElement[Any]], ColumnElement[bool]]
    retryable: Callable[[FromClause], ColumnElement[bool]] | None = None


# Type of subject → its rules. The domains above add theirs in their own queries.py: `SUBJECTS["TaskPlan"] = …`.
SUBJECTS: dict[str, SubjectAccess] = {}


def _decided(
    source: FromClause, rule: Callable[[SubjectAccess], Callable[[ColumnElement[Any]], ColumnElement[bool]]]
) -> ColumnElement[bool]:
    """What the rule of a job's subject says alone; who requested the job, where its type has no rule or it is gone.

    Having asked once gives no lasting right: who teaches a course no more does not go on with the jobs of its plans.
    """
    decides: list[ColumnElement[bool]] = [false()]
    said: list[ColumnElement[bool]] = [false()]
    for name, access in SUBJECTS.items():
        is_of_type = source.c.subject_type == literal_column(f"'{name}'")
        subject = access.entity().table.alias("subject")
        said.append(and_(is_of_type, rule(access)(source.c.subject_id)))
        decides.append(and_(is_of_type, exists().where(subject.c.id == source.c.subject_id)))
    no: ColumnElement[bool] = literal_column("false")
    asked = and_(source.c.actor_id == bind("viewer_id"), not_(func.coalesce(or_(*decides), no)))
    # Postgres asks a rule in this form once for all jobs; whether the subject is there it asks of one's own jobs only.
    return func.coalesce(or_(*said, asked), no)


def _visible(source: FromClause, viewer: Viewer) -> ColumnElement[bool] | None:
    """Who may read its subject, ADMIN; who requested it, where no subject decides."""
    return None if viewer.is_admin else _decided(source, lambda access: access.readable)


def _may_write(source: FromClause) -> ColumnElement[bool]:
    """Who may write its subject, ADMIN; who requested it, where no subject decides."""
    return or_(bind("viewer_is_admin", Boolean), _decided(source, lambda access: access.writable))


async def may_write_job(tx: Tx, *, viewer: Viewer, job_id: UUID) -> bool | None:
    """Whether the viewer may cancel and retry this job; None: they may not even see that it is there."""
    readable = _visible(_JOBS, viewer)
    statement = select(_may_write(_JOBS), text("true") if readable is None else readable).where(_JOBS.c.id == job_id)
    row = (await tx.execute(statement, {**viewer.parameters})).one_or_none()
    return None if row is None or not row[1] else bool(row[0])


# --- what a job shows -------------------------------------------------------------------------------------------------


def _has_live_successor(source: FromClause) -> ColumnElement[bool]:
    newer = _JOBS.alias("newer")
    return exists().where(newer.c.retry_of == source.c.id, newer.c.state.in_(_literal(LIVE)))


def _is_wanted(source: FromClause) -> ColumnElement[bool]:
    """Whether the subject of an ended job takes another try of it; of one without a rule, always."""
    asked = [
        or_(source.c.subject_type != literal_column(f"'{name}'"), access.retryable(source))
        for name, access in SUBJECTS.items()
        if access.retryable is not None
    ]
    ended = source.c.state.in_(_literal(RETRYABLE))
    return and_(ended, or_(source.c.subject_type.is_(None), and_(true(), *asked)))


def _newest_successor(source: FromClause) -> ColumnElement[Any]:
    newer = _JOBS.alias("newest")
    newest = select(newer.c.id).where(newer.c.retry_of == source.c.id).order_by(newer.c.id.desc()).limit(1)
    return newest.scalar_subquery()


def _literal(states: frozenset[JobState]) -> list[ColumnElement[Any]]:
    # Written out, so that Postgres sees which partial index answers.
    return [literal_column(f"'{state.value}'") for state in sorted(states)]


def _subject_key(source: FromClause) -> ColumnElement[Any]:
    return source.c.subject_type + ":" + cast(source.c.subject_id, Text)


async def _subjects(reading: Reading, keys: Sequence[Any], wanted: Want) -> Mapping[Any, Any]:
    """The subjects of these keys that the viewer may see: one statement for each of their types."""
    found: dict[Any, Any] = {}
    for type_name, access in SUBJECTS.items():
        ids = {UUID(key.partition(":")[2]): key for key in keys if key.partition(":")[0] == type_name}
        if ids:
            rows = await reading.by_ids(access.entity(), wanted, list(ids))
            found.update({ids[id_]: row for id_, row in rows.items()})
    return found


def _error(stored: Mapping[str, Any] | None) -> JobError | None:
    return None if stored is None else JobError(stored["code"], stored["message"], stored.get("details"))


def _can_cancel(state: str, cancel_requested_at: datetime | None, may_write: bool) -> bool:
    return may_write and JobState(state) in LIVE and cancel_requested_at is None


def _can_retry(state: str, has_live_successor: bool, may_write: bool, is_wanted: bool) -> bool:
    return may_write and is_wanted and is_retryable(state=JobState(state), has_live_successor=has_live_successor)


JOB = Entity(
    "Job",
    _JOBS,
    columns={
        "uuid": lambda source: cast(source.c.id, Text),
        "is_quarantined": lambda source: source.c.state == literal_column("'quarantined'"),
        "params": lambda source: source.c.args,
        "stored_error": lambda source: source.c.error,
        "subject_key": _subject_key,
        "may_write": _may_write,
        "has_live_successor": _has_live_successor,
        "is_wanted": _is_wanted,
    },
    visible=_visible,
)

JOB_ATTEMPT = Entity(
    "JobAttempt",
    _ATTEMPTS,
    columns={
        "worker": lambda source: source.c.worker_name,
        "stored_error": lambda source: source.c.error,
        "stored_outcome": lambda source: source.c.outcome,
    },
    relations={
        "error": Derived(("stored_error",), _error),
        "outcome": Derived(("stored_outcome",), lambda stored: None if stored is None else AttemptOutcome(stored)),
    },
)

JOB_LOG = Entity(
    "JobLog",
    _EVENTS,
    columns={"stored_level": lambda source: source.c.level},
    relations={"level": Derived(("stored_level",), LogLevel)},
)

_LEVELS = list(LogLevel)


def _from_level(level: Any) -> list[str]:
    return [each.value for each in _LEVELS[_LEVELS.index(LogLevel(getattr(level, "value", level))) :]]


JOB.relations.update(
    {
        "status": Derived(("state",), lambda state: status_of(JobState(state))),
        "error": Derived(("stored_error",), _error),
        "actor": One(lambda: USER, on=lambda job, user: user.c.id == job.c.actor_id),
        "requested_by": Either(("actor",), default=SYSTEM),
        "subject": Batch(_subjects, parent="subject_key"),
        "retry_of": One(lambda: JOB, on=lambda job, old: old.c.id == job.c.retry_of, is_guarded=True),
        "retried_as": One(lambda: JOB, on=lambda job, new: new.c.id == _newest_successor(job), is_guarded=True),
        "can_cancel": Derived(("state", "cancel_requested_at", "may_write"), _can_cancel),
        "can_retry": Derived(("state", "has_live_successor", "may_write", "is_wanted"), _can_retry),
        "attempts": Many(
            lambda: JOB_ATTEMPT,
            key=lambda attempt: attempt.c.job_id,
            listing=Listing(orders={"NUMBER_DESC": Order((lambda attempt: attempt.c.number,), (int,), (True,))}),
        ),
        "logs": Many(
            lambda: JOB_LOG,
            key=lambda event: event.c.job_id,
            listing=Listing(
                orders={
                    "SEQ_ASC": Order((lambda event: event.c.seq,), (int,), (False,)),
                    "SEQ_DESC": Order((lambda event: event.c.seq,), (int,), (True,)),
                },
                filters={
                    "min_level": Filter(
                        lambda event: event.c.level == any_(bind("min_level", Text, many=True)), convert=_from_level
                    )
                },
                default=lambda args: "SEQ_DESC" if args.get("newest_first") else "SEQ_ASC",
            ),
            where=lambda event: event.c.type == literal_column("'LOG'"),
        ),
    }
)


# --- lists of jobs ----------------------------------------------------------------------------------------------------


def _is_among(job: FromClause, statuses: Sequence[Any]) -> ColumnElement[bool]:
    shown = {JobStatus(getattr(status, "value", status)) for status in statuses}
    states = frozenset(state for status in shown for state in states_of(status))
    return job.c.state.in_(_literal(states)) if states else false()


def _ended_or_live(job: FromClause) -> ColumnElement[bool]:
    """True of every job. Said so that partial indexes can answer: that over the ended, and one over the few live."""
    return or_(job.c.finished_at.is_not(None), job.c.state.in_(_literal(LIVE)))


def _as_uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        return _NOTHING


_INSTANT = DateTime(timezone=True)
_QUARANTINED: ColumnElement[str] = literal_column(f"'{JobState.QUARANTINED.value}'")

JOBS = Listing(
    orders={
        "ENQUEUED_DESC": Order((lambda job: job.c.id,), (UUID,), (True,)),
        "ENQUEUED_ASC": Order((lambda job: job.c.id,), (UUID,), (False,)),
        "FINISHED_DESC": Order((lambda job: job.c.finished_at, lambda job: job.c.id), (datetime, UUID), (True, True)),
        "DISPATCH_ASC": Order(
            (lambda job: job.c.priority, lambda job: job.c.scheduled_at, lambda job: job.c.id),
            (int, datetime, UUID),
            (False, False, False),
        ),
    },
    filters={
        "kinds": Filter(
            lambda job: and_(job.c.kind == any_(bind("kinds", Text, many=True)), _ended_or_live(job)), is_skewed=True
        ),
        "statuses": Filter(_is_among, is_written=True),
        "subject_id": Filter(lambda job: job.c.subject_id == bind("subject_id")),
        "requested_by_id": Filter(lambda job: job.c.actor_id == bind("requested_by_id")),
        "queue": Filter(lambda job: and_(job.c.queue == bind("queue", Text), _ended_or_live(job)), is_skewed=True),
        "uuid": Filter(lambda job: job.c.id == bind("uuid"), convert=_as_uuid),
        "is_quarantined": Filter(
            lambda job, is_: job.c.state == _QUARANTINED if is_ else job.c.state != _QUARANTINED, is_written=True
        ),
        "enqueued_from": Filter(lambda job: job.c.enqueued_at >= bind("enqueued_from", _INSTANT)),
        "enqueued_to": Filter(lambda job: job.c.enqueued_at < bind("enqueued_to", _INSTANT)),
    },
    default="ENQUEUED_DESC",
)


def narrowing(order: str) -> Callable[[FromClause], ColumnElement[bool]] | None:
    """Which jobs an order is about: FINISHED_DESC those that have ended, DISPATCH_ASC those that wait."""
    match order:
        case "FINISHED_DESC":
            return lambda job: job.c.finished_at.is_not(None)
        case "DISPATCH_ASC":
            return lambda job: job.c.state.in_(_literal(LIVE - {JobState.RUNNING}))
        case _:
            return None


def jobs_of_subject(*kinds: str) -> Many:
    """The jobs of a thing, newest first; with `kinds`, only those."""

    def of_kinds(job: FromClause) -> ColumnElement[bool]:
        return or_(false(), *[job.c.kind == literal_column(f"'{kind}'") for kind in kinds])

    return Many(
        lambda: JOB,
        key=lambda job: job.c.subject_id,
        listing=Listing(orders={"ENQUEUED_DESC": JOBS.orders["ENQUEUED_DESC"]}),
        where=of_kinds if kinds else None,
    )


JOBS_OF_SUBJECT = jobs_of_subject()
