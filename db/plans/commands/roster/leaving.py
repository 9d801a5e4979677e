"""What a plan takes back from learners whom it no longer reaches: the tasks that they have not touched."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.plans.commands.roster import statements as sql
from db.session import Tx
from db.tasks.rules import queue_topic, task_topic


async def wait_for_publications(tx: Tx, *, course_ids: Sequence[UUID] | None) -> None:
    """Let the batches of publications end that may have read the classes as they were before they changed.

    Of these courses, or of all. To be called once after a change and before `drop_learners`, which then finds what they
    have made: a batch that begins later reads the classes as they are. Each lock goes before the next is taken.
    """
    keeping = (await tx.scalars(sql.KEEPING_PUBLICATIONS, {"course_ids": _listed(course_ids)})).all()
    await tx.execute(sql.BEFORE_WAITING)
    for plan_id in keeping:
        await tx.execute(sql.WAIT_FOR_BATCH, {"plan_id": plan_id})
        await tx.execute(sql.LET_GO)


async def drop_learners(tx: Tx, *, user_ids: Sequence[UUID], course_ids: Sequence[UUID] | None, now: datetime) -> int:
    """Cancel what these learners have not touched of plans that no longer reach them; how many tasks.

    They have left a class, or it is out of reach. Only plans of the courses that it has, or had, are looked at; None:
    of all. Whatever they have touched stays theirs. The publications under way are told: when they go live, who is
    reached gets a task and nobody else has one left. It may be done again, or for some of a class at a time.
    """
    if not user_ids:
        return 0
    values: dict[str, Any] = {"learners": list(user_ids), "course_ids": _listed(course_ids)}
    # What is being made for one of them, by the classes as they were before, is found; and whoever is to make something
    # for one of them waits, and finds what we have taken back.
    await tx.execute(sql.LOCK_LEARNERS, values)
    # Sharing the plans' keys, we come wholly before a publication that goes live or wholly after it.
    await tx.execute(sql.LOCK_PLANS_OF_LEARNERS, values)
    # Noted first, as where somebody joins: two that concern one learner meet there, before either has changed a task.
    await note_roster_change(tx, user_ids=user_ids, course_ids=course_ids)
    return await cancel_untouched(tx, user_ids=user_ids, course_ids=course_ids, now=now)


async def cancel_untouched(
    tx: Tx,
    *,
    user_ids: Sequence[UUID],
    plan_id: UUID | None = None,
    course_ids: Sequence[UUID] | None = None,
    now: datetime,
) -> int:
    """The cancelling alone, of one plan, of the plans of these courses, or of all; the caller holds what it is of."""
    values: dict[str, Any] = {
        "learners": list(user_ids),
        "plan_id": plan_id,
        "course_ids": _listed(course_ids),
        "now": now,
    }
    ended = (await tx.execute(sql.CANCEL_UNTOUCHED, values)).all()
    for row in ended:
        tx.hint(task_topic(row.id), queue_topic(user_id=row.assignee_user_id))
    return len(ended)


async def note_roster_change(tx: Tx, *, user_ids: Sequence[UUID], course_ids: Sequence[UUID] | None) -> None:
    """Have every publication under way, of these courses or of all, look at these learners again when it goes live.

    The caller holds the plans, so that none of these publications goes live before we have committed.
    """
    await tx.execute(sql.NOTE_CHANGE, {"learners": list(user_ids), "course_ids": _listed(course_ids)})


def _listed(course_ids: Sequence[UUID] | None) -> list[UUID] | None:
    return None if course_ids is None else list(course_ids)
