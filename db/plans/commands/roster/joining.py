"""Learners who join a class after its plans were published: each gets what they have not got, and no more changes."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.ledger.commands import Asked, enqueue_many
from db.ledger.jobs import Subject
from db.plans.commands.roster import statements as sql
from db.plans.commands.roster.leaving import cancel_untouched, note_roster_change
from db.plans.jobs import EnrollLearner
from db.session import Tx
from db.tasks.rules import queue_topic

ASKED_AT_ONCE = 1_000
CLASS = "CourseClass"


async def ask_to_enroll(tx: Tx, *, class_id: UUID, user_ids: Sequence[UUID], moves: bool, actor_id: UUID | None) -> int:
    """Ask for one job for each of these learners, where the class's course has plans that were published; how many.

    None for a class that is archived or has no course: no plan reaches anybody through it.
    """
    found = (await tx.execute(sql.READ_CLASS, {"class_id": class_id})).one_or_none()
    if found is None:
        return 0
    subject = Subject(CLASS, class_id, found.name)
    for part in _parts(user_ids):
        works = [EnrollLearner(course_id=found.course_id, user_id=user_id, moves=moves) for user_id in part]
        await enqueue_many(tx, asked=[Asked(work, subject) for work in works], actor_id=actor_id)
    return len(user_ids)


async def ask_to_redate(
    tx: Tx, *, class_id: UUID, user_ids: Sequence[UUID], course_ids: Sequence[UUID], actor_id: UUID | None
) -> int:
    """Ask for one job for each of these learners who has lost the class and has tasks that went by it; how many.

    They are those whom plans of these courses reach through another class all the same, at other times.
    """
    asked = 0
    for part in _parts(user_ids):
        values = {"class_id": class_id, "learners": list(part), "course_ids": list(course_ids)}
        rows = (await tx.execute(sql.READ_REDATED, values)).all()
        works = [
            Asked(EnrollLearner(row.course_id, row.user_id, moves=True), Subject(CLASS, class_id, row.name))
            for row in rows
        ]
        if works:
            await enqueue_many(tx, asked=works, actor_id=actor_id)
        asked += len(works)
    return asked


def _parts(user_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (user_ids[first : first + ASKED_AT_ONCE] for first in range(0, len(user_ids), ASKED_AT_ONCE))


async def enroll_learner(tx: Tx, *, work: EnrollLearner, now: datetime) -> dict[str, int]:
    """Make what the learner has not got of the course's published plans; what they have stays as it is.

    Nothing where they have left meanwhile, and nothing twice, whoever does the same at this moment. A publication under
    way is told of the learner. The job's result.
    """
    values: dict[str, Any] = {"course_id": work.course_id, "user_id": work.user_id, "now": now}
    await tx.execute(sql.LOCK_LEARNERS, {"learners": [work.user_id]})
    # No publication goes live between our statements: what we make is in the generation that learners see.
    await tx.execute(sql.LOCK_PLANS_THAT_OPEN, values)
    await tx.execute(sql.LOCK_PLANS_OF_COURSE, values)
    await note_roster_change(tx, user_ids=[work.user_id], course_ids=[work.course_id])
    cancelled = moved = 0
    if work.moves:
        cancelled = await cancel_untouched(tx, user_ids=[work.user_id], course_ids=[work.course_id], now=now)
        moved = await tx.affect(sql.MOVE_ALONG, values)
    made = await tx.affect(sql.FILL, values)
    if made or moved:
        await tx.execute(sql.OPEN_EARLIER, values)
        tx.hint(queue_topic(user_id=work.user_id))
    return {"tasks_created": made, "tasks_moved": moved, "tasks_cancelled": cancelled}
