"""What a plan takes back from learners whom it no longer reaches: the tasks that they have not touched."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.plans.commands.roster import statements as sql
from db.session import Tx
from db.tasks.rules import queue_topic, task_topic


async def drop_learners(tx: Tx, *, user_ids: Sequence[UUID], course_id: UUID | None = None, now: datetime) -> int:
    """Cancel what these learners have not touched of plans that no longer reach them; how many tasks.

    Whatever they have touched stays theirs. The publications under way, of this course or of all, are told: when they
    go live, who is reached gets a task and nobody else has one left.
    """
    if not user_ids:
        return 0
    values: dict[str, Any] = {"learners": list(user_ids), "course_id": course_id}
    await _wait_for_makers(tx, values)
    # Sharing the plans' keys, we come wholly before a publication that goes live or wholly after it.
    await tx.execute(sql.LOCK_PLANS_OF_LEARNERS, values)
    # Noted first, as where somebody joins: two that concern one learner meet there, before either has changed a task.
    await note_roster_change(tx, user_ids=user_ids, course_id=course_id)
    return await cancel_untouched(tx, user_ids=user_ids, now=now)


async def _wait_for_makers(tx: Tx, values: dict[str, Any]) -> None:
    # Whoever makes tasks at this moment may have read the classes as they were before: we find what they have made.
    # Whoever begins after us reads the classes as they are, so nobody has to wait for us, and the locks go at once.
    await tx.execute(sql.BEFORE_WAITING)
    await tx.execute(sql.WAIT_FOR_ENROLLING, values)
    await tx.execute(sql.WAIT_FOR_BATCHES, values)
    await tx.execute(sql.LET_GO)


async def cancel_untouched(tx: Tx, *, user_ids: Sequence[UUID], plan_id: UUID | None = None, now: datetime) -> int:
    """The cancelling alone, of one plan or of all; the caller holds what it is of."""
    values: dict[str, Any] = {"learners": list(user_ids), "plan_id": plan_id, "now": now}
    ended = (await tx.execute(sql.CANCEL_UNTOUCHED, values)).all()
    for row in ended:
        tx.hint(task_topic(row.id), queue_topic(user_id=row.assignee_user_id))
    return len(ended)


async def note_roster_change(tx: Tx, *, user_ids: Sequence[UUID], course_id: UUID | None = None) -> None:
    """Have every publication under way, of this course or of all, look at these learners again when it goes live.

    The caller holds the plans, so that none of these publications goes live before we have committed.
    """
    await tx.execute(sql.NOTE_CHANGE, {"learners": list(user_ids), "course_id": course_id})
