"""Who may see a job, asked for many viewers and many jobs at once: for streams, which have many of both."""

from collections.abc import Collection, Hashable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    ColumnElement,
    FromClause,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.sql.visitors import replacement_traverse

from db.accounts.rules import Viewer
from db.base import table_of
from db.compiled import Compiled, compile_statement
from db.ledger.models import Job
from db.ledger.queries.jobs import JOB
from db.reading import Many, Reading, Want

_JOBS = table_of(Job)

# What a job shows to everybody who may see it in the same way.
SAME_FOR_ALL = frozenset(
    {
        *("id", "uuid", "kind", "queue", "status", "is_quarantined", "progress", "step", "done", "total", "attempt"),
        *("max_attempts", "priority", "params", "result", "error", "last_seq", "subject_label", "enqueued_at"),
        *("scheduled_at", "started_at", "finished_at", "cancel_requested_at", "cancel_reason"),
    }
)

_ANY_JOB = Many(lambda: JOB, key=lambda job: job.c.id, is_guarded=False)
_IDS = "$jobs"
_BOUND: dict[str, type[Uuid[UUID]] | type[Boolean]] = {
    "viewer_id": Uuid,
    "viewer_is_editor": Boolean,
    "viewer_is_admin": Boolean,
}


def is_same_for_all(wanted: Want) -> bool:
    """Whether everybody who may see a job sees the same of what is wanted of it."""
    return all(one.name in SAME_FOR_ALL and not one.wants and not one.args for one in wanted.wants)


async def who_sees(
    reading: Reading, *, viewers: Collection[Viewer], job_ids: Collection[UUID]
) -> set[tuple[Viewer, UUID]]:
    """Which of these viewers may see which of these jobs.

    At most one statement for each kind of access, however many viewers and jobs there are; none for those who may see
    every job.
    """
    seen: set[tuple[Viewer, UUID]] = set()
    for shape in {viewer.shape for viewer in viewers}:
        alike = [viewer for viewer in viewers if viewer.shape == shape]
        statement = _who_sees(shape, alike[0])
        if statement is None:
            seen.update((viewer, job_id) for viewer in alike for job_id in job_ids)
            continue
        values: dict[str, Any] = {f"${name}": [each.parameters[name] for each in alike] for name in _BOUND}
        records = await reading.records(statement, values | {_IDS: list(job_ids)})
        seen.update((alike[record[0] - 1], record[1]) for record in records)
    return seen


_STATEMENTS: dict[Hashable, Compiled | None] = {}


def _who_sees(shape: Hashable, one: Viewer) -> Compiled | None:
    """The rule of one job and one viewer, over lists of both; None where it lets them see every job."""
    if shape not in _STATEMENTS:
        source = _JOBS.alias("job")
        rule = None if JOB.visible is None else JOB.visible(source, one)
        _STATEMENTS[shape] = None if rule is None else _over_lists(source, rule)
    return _STATEMENTS[shape]


def _over_lists(source: FromClause, rule: ColumnElement[bool]) -> Compiled:
    lists = [bindparam(f"${name}", type_=ARRAY(kind)) for name, kind in _BOUND.items()]
    asking = func.unnest(*lists).table_valued(*_BOUND, with_ordinality="place").render_derived(name="asking")

    def in_place(element: Any, **_: Any) -> Any:
        # Written out, not columns of `asking`: subqueries of the rule must not list it among their own tables.
        if isinstance(element, BindParameter) and element.key in _BOUND:
            return literal_column(f"asking.{element.key}", _BOUND[element.key])
        return None

    statement = select(asking.c.place, source.c.id).select_from(asking.join(source, true()))
    narrowed = source.c.id == any_(bindparam(_IDS, type_=ARRAY(Uuid)))
    return compile_statement(statement.where(narrowed, replacement_traverse(rule, {}, in_place)))


async def jobs_unguarded(reading: Reading, wanted: Want, job_ids: Collection[UUID]) -> Mapping[UUID, Any]:
    """Jobs whoever may see them, for callers who ask `who_sees` besides. `wanted` must be the same for all."""
    rows = await reading.below(JOB, wanted, _ANY_JOB, list(job_ids), name="ledger.unguarded")
    return {job_id: found[0] for job_id, found in rows.items()}
