"""What a plan takes back from learners whom it no longer reaches: the tasks that they have not touched."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.plans.commands.roster import statements as sql
from db.session import Tx
from db.tasks.rules import queue_topic, task_topic


async def drop_learners(tx: Tx, *, user_ids: Sequence[UUID], now: datetime) -> int:
    """Cancel what these learners have not touched of plans that no longer reach them; how many tasks.

    Whatever they have touched stays theirs. A publication that is under way is told, so that nothing of it is left to
    them when it goes live.
    """
    if not user_ids:
        return 0
    # Sharing the plans' keys, we come wholly before a publication that goes live or wholly after it.
    await tx.execute(sql.LOCK_PLANS_OF_LEARNERS, {"learners": list(user_ids)})
    cancelled = await cancel_untouched(tx, user_ids=user_ids, now=now)
    await note_roster_change(tx, user_ids=user_ids)
    return cancelled


async def cancel_untouched(tx: Tx, *, user_ids: Sequence[UUID], now: datetime) -> int:
    """The cancelling alone; the caller holds the plans."""
    values: dict[str, Any] = {"learners": list(user_ids), "now": now}
    ended = (await tx.execute(sql.CANCEL_UNTOUCHED, values)).all()
    for row in ended:
        tx.hint(task_topic(row.id), queue_topic(user_id=row.assignee_user_id))
    return len(ended)


async def note_roster_change(tx: Tx, *, user_ids: Sequence[UUID], course_id: UUID | None = None) -> None:
    """Have every publication under way, of this course or of all, look at these learners again when it goes live.

    The caller holds the plans, so that none of these publications goes live before we have committed.
    """
    await tx.execute(sql.NOTE_CHANGE, {"learners": list(user_ids), "course_id": course_id})
