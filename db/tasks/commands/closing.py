"""Cancelling: one task, or with everything that is open below it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.accounts.rules import Viewer
from db.session import Tx
from db.tasks.commands import statements as sql
from db.tasks.commands.trees import By, close, open_task, target_of, tell, write_note
from db.tasks.rules import decide_cancel, decide_with, note_of, note_problem, require_may_cancel, task_topic


async def cancel_task(tx: Tx, *, actor: Viewer, task_id: UUID, cascade: bool, reason: str | None, now: datetime) -> int:
    """Say that a task is no longer needed; how many tasks below it were cancelled with it (holds not counted).

    The reason is appended to each. Closed tasks, the one above and its other children stay as they are, but that the
    one above may go on. Raises Refused: NOT_FOUND, FORBIDDEN at `taskId`, and what `decide_cancel` finds,
    BAD_USER_INPUT at `reason`.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_cancel(opened.standing, is_of_plan=opened.facts.is_of_plan)
    after = decide_with(lambda: decide_cancel(opened.facts, cascade=cascade), note_problem(reason, "reason"))
    by = By(actor.user_id, now, note_of(reason))
    below = 0
    if opened.facts.open_children:
        # With the hold of the task itself, which is one of its open children.
        below = await cancel_below(tx, task_ids=[task_id], by=by)
        opened.hold_id = None
    await write_note(tx, task_id, by.reason, by)
    await close(tx, opened, after, by)
    return below


async def cancel_below(tx: Tx, *, task_ids: Sequence[UUID], by: By) -> int:
    """Cancel every open task and hold below these, whose trees are ours; how many tasks (holds not counted).

    Set-based, so a plan that is published anew can end a thousand trees at once. The tasks themselves are the caller's.
    """
    values = {"task_ids": list(task_ids), "now": by.now, "actor_id": by.actor_id, "reason": by.reason}
    rows = (await tx.execute(sql.CANCEL_BELOW, values)).all()
    for row in rows:
        if row.is_hold:
            tx.hint(task_topic(row.id))
        else:
            tell(tx, target_of(row))
    return sum(not row.is_hold for row in rows)
