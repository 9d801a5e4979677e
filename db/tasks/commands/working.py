"""How tasks are worked on: starting, completing, completing steps."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from db.accounts.rules import Viewer
from db.errors import Code, refuse
from db.session import Tx
from db.tasks.commands import statements as sql
from db.tasks.commands.trees import By, Opened, close, move, open_task, touch, write_note
from db.tasks.rules import (
    CLOSED,
    decide_complete,
    decide_start,
    decide_step,
    decide_with,
    note_of,
    note_problem,
    require_may_work,
)

Steps = dict[UUID, tuple[str, datetime | None]]


@dataclass(frozen=True, slots=True)
class StepDone:
    """A completed step and its task."""

    task_id: UUID
    template_id: UUID


async def start_task(tx: Tx, *, actor: Viewer, task_id: UUID, now: datetime) -> None:
    """Begin to work on a task. Raises Refused: NOT_FOUND, FORBIDDEN at `taskId`, and what `decide_start` finds."""
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_work(opened.standing)
    after = decide_start(opened.facts, now=now)
    await move(tx, opened.target, opened.status, after, By(actor.user_id, now))


async def complete_task(tx: Tx, *, actor: Viewer, task_id: UUID, note: str | None, now: datetime) -> None:
    """Say that a task is done; a note that is not blank is kept. An open hold ends with it.

    Raises Refused: NOT_FOUND, FORBIDDEN at `taskId`, and what `decide_complete` finds, BAD_USER_INPUT at
    `instructions`.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_work(opened.standing)
    await _steps(tx, opened)
    after = decide_with(lambda: decide_complete(opened.facts, now=now), note_problem(note))
    by = By(actor.user_id, now)
    await write_note(tx, task_id, note_of(note), by)
    await close(tx, opened, after, by)


async def complete_step(tx: Tx, *, actor: Viewer, task_id: UUID, template_id: UUID, now: datetime) -> StepDone:
    """Complete a step: the first one starts the task, the last one completes it; again does nothing.

    Raises Refused: NOT_FOUND, FORBIDDEN at `stepId`, and what `decide_step` finds.
    """
    opened = await open_task(
        tx, actor=actor, task_id=task_id, path="stepId", hold_is=Code.NOT_FOUND, not_found="There is no such step."
    )
    require_may_work(opened.standing, "stepId")
    step = (await _steps(tx, opened)).get(template_id)
    if step is None:
        raise refuse(Code.NOT_FOUND, "There is no such step.", "stepId")
    key, completed_at = step
    decision = decide_step(opened.facts, is_completed=completed_at is not None, now=now)
    if not decision.completes_step:
        return StepDone(task_id, template_id)
    values = {"task_id": task_id, "key": key, "template_id": template_id, "now": now}
    await tx.execute(sql.COMPLETE_STEP, values)
    by = By(actor.user_id, now)
    for after in decision.statuses:
        if after in CLOSED:
            await close(tx, opened, after, by)
        else:
            await move(tx, opened.target, opened.status, after, by)
        opened.facts = replace(opened.facts, status=after)
    if not decision.statuses:
        await touch(tx, opened.target)
    return StepDone(task_id, template_id)


# ------------------------------------------------------------------------------------------------- inside


async def _steps(tx: Tx, opened: Opened) -> Steps:
    """A task's steps by their templates; the facts know of them from now on."""
    row = opened.row
    if row.plan_id is None:
        return {}
    values = {
        "task_id": row.id,
        "plan_id": row.plan_id,
        "generation": row.generation,
        "selection": row.selection or [],
    }
    steps = _shown(await tx.execute(sql.STEPS, values))
    completed = sum(completed_at is not None for _, completed_at in steps.values())
    opened.facts = replace(opened.facts, step_count=len(steps), completed_steps=completed)
    return steps


def _shown(found: Any) -> Steps:
    """A learner's steps: a completed one stands for its newer template."""
    rows = list(found)
    done = {row.key for row in rows if row.completed_at is not None}
    completed = {row.id: (row.key, row.completed_at) for row in rows if row.completed_at is not None}
    return completed | {row.id: (row.key, None) for row in rows if row.key not in done}
