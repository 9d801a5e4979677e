"""How far a plan's learners are, in all and class by class: one statement for any number of plans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from asyncpg import Record

from db.courses.queries import COURSE_CLASS
from db.reading import Many, Reading, Want

# Plans of which the viewer sees everybody: their teachers, those of the course's classes, EDITOR and ADMIN.
# A learner of two classes counts in both, and once in all. Who has left still has the task that they have begun: it
# counts in all, and in no class. Each learner's task is looked up by its index: what Postgres expects of the rows of
# `reached` is a guess, and must not decide between a second and an hour.
_STATS = """
    WITH seen AS (
        SELECT p.id, p.course_id, p.live_generation FROM plans p
        WHERE p.id = ANY($1) AND (
            $3 OR EXISTS (SELECT FROM course_teachers t WHERE t.course_id = p.course_id AND t.user_id = $2)
            OR EXISTS (
                SELECT FROM classes k LEFT JOIN class_co_teachers o ON o.class_id = k.id AND o.user_id = $2
                WHERE k.course_id = p.course_id AND (k.teacher_id = $2 OR o.user_id IS NOT NULL)
            )
        )
    ), targeted AS (
        SELECT s.id AS plan_id, k.id AS class_id, NULL::uuid AS user_id
        FROM seen s JOIN tasking_plans g ON g.plan_id = s.id
        JOIN classes k ON k.id = g.class_id AND k.course_id = s.course_id AND NOT k.is_archived
        UNION
        SELECT s.id, k.id, NULL
        FROM seen s JOIN tasking_plans g ON g.plan_id = s.id
        JOIN classes k ON k.course_id = g.course_id AND NOT k.is_archived
        UNION
        SELECT s.id, k.id, e.user_id
        FROM seen s JOIN tasking_plans g ON g.plan_id = s.id
        JOIN enrollments e ON e.user_id = g.user_id AND e.status = 'ACTIVE'
        JOIN classes k ON k.id = e.class_id AND k.course_id = s.course_id AND NOT k.is_archived
    ), reached AS (
        SELECT DISTINCT g.plan_id, s.live_generation AS generation, g.class_id, u.id AS user_id
        FROM targeted g JOIN seen s ON s.id = g.plan_id
        LEFT JOIN enrollments e ON e.class_id = g.class_id AND e.status = 'ACTIVE'
            AND (g.user_id IS NULL OR e.user_id = g.user_id)
        LEFT JOIN users u ON u.id = e.user_id AND u.is_active
    ), counted AS (
        SELECT r.plan_id, r.class_id, r.user_id, t.status, t.due_at
        FROM reached r LEFT JOIN tasks t ON t.plan_id = r.plan_id AND t.generation = r.generation
            AND t.assignee_user_id = r.user_id AND t.status <> 'CANCELLED'
        UNION ALL
        SELECT r.plan_id, NULL, r.user_id, NULL, NULL FROM (SELECT DISTINCT plan_id, user_id FROM reached) r
        UNION ALL
        SELECT s.id, NULL, NULL, t.status, t.due_at
        FROM seen s LEFT JOIN tasks t
            ON t.plan_id = s.id AND t.generation = s.live_generation AND t.status <> 'CANCELLED'
    )
    SELECT c.plan_id, c.class_id, count(c.user_id) AS learners, count(c.status) AS assigned,
        count(*) FILTER (WHERE c.status = 'ASSIGNED') AS not_started,
        count(*) FILTER (WHERE c.status = 'IN_PROGRESS') AS in_progress,
        count(*) FILTER (WHERE c.status = 'ON_HOLD') AS on_hold,
        count(*) FILTER (WHERE c.status = 'COMPLETED') AS completed,
        count(*) FILTER (
            WHERE c.status IN ('ASSIGNED', 'IN_PROGRESS', 'ON_HOLD') AND c.due_at < statement_timestamp() + $4::interval
        ) AS overdue
    FROM counted c LEFT JOIN classes k ON k.id = c.class_id
    GROUP BY c.plan_id, c.class_id, k.name ORDER BY lower(k.name), c.class_id
"""
_COUNTS = ("learners", "assigned", "not_started", "in_progress", "on_hold", "completed", "overdue")
_CLASS = Many(lambda: COURSE_CLASS, key=lambda class_: class_.c.id, is_guarded=False)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many learners a plan reaches, how many of them have a task, and how these are; cancelled ones left out."""

    learners: int
    assigned: int
    not_started: int
    in_progress: int
    on_hold: int
    completed: int
    overdue: int


@dataclass(frozen=True, slots=True)
class ClassStats(Counts):
    """The learners of one class."""

    class_: Any


@dataclass(frozen=True, slots=True)
class Stats(Counts):
    """All learners of a plan."""

    by_class: list[ClassStats] = field(default_factory=list)


async def plan_stats(reading: Reading, ids: Sequence[UUID], wanted: Want) -> Mapping[UUID, Stats]:
    """The statistics of these plans, as far as the viewer sees everybody of them."""
    viewer, clock = reading.viewer.parameters, reading.reader.clock
    arguments = (list(ids), viewer["viewer_id"], viewer["viewer_is_editor"], clock.shift)
    records = await reading.reader.fetch(_STATS, arguments)
    found = {record["plan_id"]: Stats(**_counts(record)) for record in records if record["class_id"] is None}
    by_class = wanted.child("by_class")
    if by_class is None:
        return found
    keys = {record["class_id"] for record in records} - {None}
    shown = by_class.child("class_")
    # Who sees a plan's statistics sees the names of the classes that they are of.
    classes: Mapping[UUID, Any] = {}
    if shown is not None and keys:
        rows = await reading.below(COURSE_CLASS, shown, _CLASS, list(keys), name="classes_of_stats")
        classes = {key: each[0] for key, each in rows.items()}
    for record in records:
        if record["class_id"] is not None:
            row = ClassStats(**_counts(record), class_=classes.get(record["class_id"]))
            found[record["plan_id"]].by_class.append(row)
    return found


def _counts(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in _COUNTS}
