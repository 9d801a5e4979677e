"""How tasks are worked on: starting, completing, completing steps.

Locks are always taken in one order: the plan's key (shared, so that learners never wait for each other, and a
publication that goes live waits for all of them), then the task.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from db.accounts.rules import Viewer
from db.errors import Code, refuse
from db.session import Tx
from db.tasks.models import TaskNote, TaskTransition
from db.tasks.rules import (
    TASK,
    TaskFacts,
    TaskStatus,
    decide_complete,
    decide_start,
    decide_step,
    task_topic,
)

LONGEST_NOTE = 10_000

_LOCK_PLAN = text(
    """
    SELECT p.id, p.live_generation, p.first_published_at, p.state,
        EXISTS (SELECT FROM course_teachers t WHERE t.course_id = p.course_id AND t.user_id = :user_id)
        OR EXISTS (
            SELECT FROM classes k LEFT JOIN class_co_teachers o ON o.class_id = k.id AND o.user_id = :user_id
            WHERE k.course_id = p.course_id AND (k.teacher_id = :user_id OR o.user_id IS NOT NULL)
        ) AS teaches
    FROM plans p WHERE p.id = (SELECT plan_id FROM tasks WHERE id = :task_id)
    FOR KEY SHARE OF p
    """
)
_LOCK_TASK = text(
    """
    SELECT t.id, t.status, t.plan_id, t.generation, t.assignee_user_id, t.assigned_by_id, t.opens_at, t.closes_at,
        t.started_at, t.selection,
        EXISTS (
            SELECT FROM team_members m WHERE m.team_id = t.assignee_team_id AND m.user_id = :user_id
        ) AS is_team_member
    FROM tasks t WHERE t.id = :task_id FOR UPDATE OF t
    """
)
_STEPS = text(
    """
    SELECT s.id, s.key, c.completed_at FROM task_step_templates s
    LEFT JOIN task_step_completions c ON c.task_id = :task_id AND c.key = s.key
    WHERE s.plan_id = :plan_id AND s.generation = :generation
        AND (NOT s.is_dynamic OR s.position = ANY(CAST(:selection AS smallint[])))
        AND (c.template_id IS NULL OR c.template_id = s.id)
    UNION
    SELECT c.template_id, c.key, c.completed_at FROM task_step_completions c WHERE c.task_id = :task_id
    """
)
_COMPLETE_STEP = text(
    """
    INSERT INTO task_step_completions (task_id, key, template_id, completed_at)
    VALUES (:task_id, :key, :template_id, :now)
    """
)
# The old status is part of the condition: no row means that somebody else was faster.
_MOVE = text(
    """
    UPDATE tasks SET
        status = :after, is_touched = true, version = version + 1,
        started_at = CASE WHEN :after = 'IN_PROGRESS' THEN coalesce(started_at, :now) ELSE started_at END,
        closed_at = CASE WHEN :after IN ('COMPLETED', 'CANCELLED') THEN :now ELSE closed_at END
    WHERE id = :task_id AND status = :before
    """
)


@dataclass(frozen=True, slots=True)
class StepDone:
    """A completed step and its task."""

    task_id: UUID
    template_id: UUID


@dataclass(slots=True)
class _Locked:
    """A task under its lock, and what the rules need to know of it."""

    row: Row[Any]
    facts: TaskFacts
    steps: dict[UUID, tuple[str, datetime | None]]


async def start_task(tx: Tx, *, actor: Viewer, task_id: UUID, now: datetime) -> None:
    """Begin to work on a task. Raises Refused: NOT_FOUND, FORBIDDEN, and what `decide_start` finds."""
    locked = await _lock(tx, actor, task_id, "taskId")
    await _move(tx, locked.row, decide_start(locked.facts, now=now), actor=actor, now=now)


async def complete_task(tx: Tx, *, actor: Viewer, task_id: UUID, note: str | None, now: datetime) -> None:
    """Say that a task is done; a note that is not blank is kept. Raises Refused like `decide_complete`."""
    locked = await _lock(tx, actor, task_id, "taskId")
    after = decide_complete(locked.facts, now=now)
    if note is not None and len(note) > LONGEST_NOTE:
        message = f"A note has at most {LONGEST_NOTE} characters; this one has {len(note)}."
        raise refuse(Code.BAD_USER_INPUT, message, "instructions", max=LONGEST_NOTE)
    if note is not None and note.strip():
        await tx.insert(TaskNote(task_id=task_id, at=now, actor_id=actor.user_id, text=note.strip()))
    await _move(tx, locked.row, after, actor=actor, now=now)


async def complete_step(tx: Tx, *, actor: Viewer, task_id: UUID, template_id: UUID, now: datetime) -> StepDone:
    """Complete a step: the first one starts the task, the last one completes it; again does nothing.

    Raises Refused: NOT_FOUND at `stepId`, FORBIDDEN, and what `decide_step` finds.
    """
    locked = await _lock(tx, actor, task_id, "stepId")
    step = locked.steps.get(template_id)
    if step is None:
        raise refuse(Code.NOT_FOUND, "There is no such step.", "stepId")
    key, completed_at = step
    decision = decide_step(locked.facts, is_completed=completed_at is not None, now=now)
    if decision.completes_step:
        values = {"task_id": task_id, "key": key, "template_id": template_id, "now": now}
        await tx.execute(_COMPLETE_STEP, values)
    before = locked.facts.status
    for after in decision.statuses:
        await _move(tx, locked.row, after, actor=actor, now=now, before=before)
        before = after
    if decision.completes_step and not decision.statuses:
        await tx.execute(text("UPDATE tasks SET version = version + 1 WHERE id = :task_id"), {"task_id": task_id})
        tx.hint(task_topic(task_id))
    return StepDone(task_id, template_id)


# ------------------------------------------------------------------------------------------------- inside


async def _lock(tx: Tx, actor: Viewer, task_id: UUID, path: str) -> _Locked:
    values = {"task_id": task_id, "user_id": actor.user_id}
    plan = (await tx.execute(_LOCK_PLAN, values)).one_or_none()
    row = (await tx.execute(_LOCK_TASK, values)).one_or_none()
    if row is None or not _may_see(actor, row, plan, tx.now):
        raise refuse(Code.NOT_FOUND, "There is no such task.", path)
    if not (actor.is_admin or row.assignee_user_id == actor.user_id or row.is_team_member):
        raise refuse(Code.FORBIDDEN, "Only the assignee, their team or an ADMIN may do this.", path)
    steps: dict[UUID, tuple[str, datetime | None]] = {}
    if plan is not None:
        found = await tx.execute(
            _STEPS,
            {
                "task_id": task_id,
                "plan_id": plan.id,
                "generation": row.generation,
                "selection": row.selection or [],
            },
        )
        steps = _shown(found)
    completed = sum(completed_at is not None for _, completed_at in steps.values())
    is_withdrawn = plan is not None and plan.state == "WITHDRAWN"
    facts = TaskFacts(TaskStatus(row.status), row.opens_at, row.closes_at, is_withdrawn, len(steps), completed)
    return _Locked(row, facts, steps)


def _shown(found: Any) -> dict[UUID, tuple[str, datetime | None]]:
    """A learner's steps: a completed one stands for its newer template."""
    rows = list(found)
    done = {row.key for row in rows if row.completed_at is not None}
    completed = {row.id: (row.key, row.completed_at) for row in rows if row.completed_at is not None}
    return completed | {row.id: (row.key, None) for row in rows if row.key not in done}


def _may_see(actor: Viewer, row: Row[Any], plan: Row[Any] | None, now: datetime) -> bool:
    if plan is not None:
        if plan.live_generation != row.generation:
            return False
        if row.assignee_user_id == actor.user_id:
            return plan.first_published_at is not None and row.opens_at <= now
        return bool(plan.teaches) or actor.is_editor
    return actor.is_editor or actor.user_id in {row.assignee_user_id, row.assigned_by_id} or bool(row.is_team_member)


async def _move(
    tx: Tx, row: Row[Any], after: TaskStatus, *, actor: Viewer, now: datetime, before: TaskStatus | None = None
) -> None:
    before = before or TaskStatus(row.status)
    if not TASK.allows(before, after):
        raise refuse(Code.INVALID_TRANSITION, f"A task that is {before} cannot become {after}.")
    values = {"task_id": row.id, "before": before.value, "after": after.value, "now": now}
    if await tx.affect(_MOVE, values) != 1:
        raise refuse(Code.CONFLICT, "Somebody else has changed this task meanwhile. Load it again.")
    await tx.insert(TaskTransition(task_id=row.id, at=now, actor_id=actor.user_id, from_status=before, to_status=after))
    tx.hint(task_topic(row.id))
