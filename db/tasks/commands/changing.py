"""Changes that are no change of status: a task's title, dates and notes; the types of tasks."""

from datetime import datetime
from typing import TypedDict
from uuid import UUID

from sqlalchemy import Label, literal_column, update
from sqlalchemy.dialects.postgresql import insert

from db.accounts.rules import Viewer, require_admin
from db.session import Tx
from db.tasks.commands.trees import By, open_task, touch, write_note
from db.tasks.models import Task, TaskType
from db.tasks.rules import (
    HoldPolicy,
    TaskValues,
    decide_type,
    decide_update,
    note_of,
    require_may_edit,
    require_may_note,
)

_API_NAMES = {"title": "title", "opens_at": "opensAt", "due_at": "dueAt", "closes_at": "closesAt"}


class TaskChanges(TypedDict, total=False):
    """What `updateTask` was given. A name that is missing stays as it is; None clears a date, and is no title."""

    title: str | None
    opens_at: datetime | None
    due_at: datetime | None
    closes_at: datetime | None


async def update_task(
    tx: Tx, *, actor: Viewer, task_id: UUID, changes: TaskChanges, instructions: str | None, now: datetime
) -> None:
    """Change a task's title and dates, append a note; never its status. A plan's task only takes notes.

    Raises Refused: NOT_FOUND, FORBIDDEN at `taskId` or at each field that is not theirs to change; else everything
    that is wrong: TASK_CLOSED, BAD_USER_INPUT, DATES_OUT_OF_ORDER.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_note(opened.standing)
    changed = [api for name, api in _API_NAMES.items() if name in changes]
    require_may_edit(opened.standing, *changed)
    row = opened.row
    before = TaskValues(row.title, row.opens_at, row.due_at, row.closes_at)
    wanted = TaskValues(
        title=changes.get("title", before.title) or "",
        opens_at=changes.get("opens_at", before.opens_at),
        due_at=changes.get("due_at", before.due_at),
        closes_at=changes.get("closes_at", before.closes_at),
    )
    after = decide_update(opened.facts, wanted, changed=changed, note=instructions)
    note = note_of(instructions)
    if after == before and note is None:
        return
    values = {
        "title": after.title,
        "opens_at": after.opens_at,
        "due_at": after.due_at,
        "closes_at": after.closes_at,
    }
    await tx.execute(update(Task).where(Task.id == task_id).values(**values))
    await write_note(tx, task_id, note, By(actor.user_id, now))
    await touch(tx, opened.target)


async def upsert_task_type(tx: Tx, *, actor: Viewer, name: str, label: str, hold: HoldPolicy | None) -> bool:
    """Make a type of task, or change its label and what holds it allows; whether it is new. Running holds stay.

    Raises Refused: FORBIDDEN for anybody but an ADMIN, BAD_USER_INPUT with everything that is wrong.
    """
    require_admin(actor)
    decide_type(name=name, label=label, hold=hold)
    values = {
        "label": label.strip(),
        "hold_min_days": hold and hold.min_days,
        "hold_max_days": hold and hold.max_days,
        "hold_presets": list(hold.presets) if hold else [],
        "hold_on_expiry": hold and hold.on_expiry,
        "hold_on_assign": hold and hold.on_assign,
        "hold_note_required": bool(hold and hold.note_required),
    }
    written = insert(TaskType).values(name=name, **values)
    # A row that is new has never been locked or replaced: the usual way to tell an insert from an update.
    is_new: Label[bool] = literal_column("(task_types.xmax = 0)").label("is_new")
    statement = written.on_conflict_do_update(index_elements=["name"], set_=values).returning(is_new)
    return bool((await tx.execute(statement)).scalar_one())
