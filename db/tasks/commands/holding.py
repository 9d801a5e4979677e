"""Holds: placed, ended, and run out."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from db.accounts.rules import Viewer
from db.session import Tx
from db.tasks.commands import statements as sql
from db.tasks.commands.trees import By, climb, close_hold, hold_back, move, open_task, target_of, touch, write_note
from db.tasks.rules import (
    CLOSED,
    HOLD_TITLE,
    HOLD_TYPE,
    Due,
    HoldEndReason,
    HoldExpiry,
    ParentFacts,
    TaskStatus,
    backoff,
    decide_expiry,
    decide_place,
    decide_with,
    note_of,
    note_problem,
    require_hold,
    require_may_hold,
)

LONGEST_ERROR = 2_000


async def place_hold(
    tx: Tx, *, actor: Viewer, task_id: UUID, duration_days: int, instructions: str | None, now: datetime
) -> UUID:
    """Pause a task for so many days of 24 hours; the hold's key. An older open hold of it ends SUPERSEDED.

    The note is appended to the task, and to the hold, whose reason it is.
    Raises Refused: NOT_FOUND, FORBIDDEN at `taskId`, and what `decide_place` finds.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_hold(opened.standing)
    row, by = opened.row, By(actor.user_id, now)
    decision = decide_place(
        opened.facts, opened.policy, label=row.label, duration_days=duration_days, note=instructions, now=now
    )
    note = note_of(instructions)
    await write_note(tx, task_id, note, by)
    if opened.hold_id is not None:
        # Before the new one is written: a unique index allows one open hold at any moment.
        await close_hold(tx, opened.hold_id, HoldEndReason.SUPERSEDED, by)
    values = {
        "title": HOLD_TITLE,
        "parent_id": row.id,
        "root_id": opened.root_id,
        "assignee_user_id": row.assignee_user_id,
        "assignee_team_id": row.assignee_team_id,
        "actor_id": actor.user_id,
        "now": now,
        "duration_days": decision.duration_days,
        "starts_at": decision.starts_at,
        "ends_at": decision.ends_at,
    }
    hold_id: UUID = (await tx.execute(sql.PLACE_HOLD, values)).scalar_one()
    await write_note(tx, hold_id, note, by)
    await hold_back(tx, opened.target, opened.status, by)
    return hold_id


async def end_hold(tx: Tx, *, actor: Viewer, task_id: UUID, reason: str | None, now: datetime) -> UUID:
    """End the open hold of a task before its time; the hold's key. The task goes on, unless a child is open.

    Raises Refused: NOT_FOUND, FORBIDDEN at `taskId`; TASK_CLOSED or NO_ACTIVE_HOLD, BAD_USER_INPUT at `reason`.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_hold(opened.standing)
    decide_with(lambda: require_hold(opened.facts), note_problem(reason, "reason"))
    hold_id = opened.hold_id
    assert hold_id is not None  # noqa: S101 - the rule has refused it
    by = By(actor.user_id, now, note_of(reason))
    await close_hold(tx, hold_id, HoldEndReason.ENDED_EARLY, by)
    if opened.facts.open_children:
        await touch(tx, opened.target)
    else:
        await climb(tx, opened.id, HOLD_TYPE, by)
    return hold_id


async def expire_hold(tx: Tx, *, due: Due, now: datetime) -> bool:
    """Let a hold whose time is over end, and its task go on or be completed, by the policy of its type.

    False: somebody else has the tree, the plan or the timer now, or has ended the hold; nothing was written, and what
    is still due then is found by the next sweep. Waits for nobody.
    """
    row = await _try(tx, due, now)
    if row is None:
        return False
    by = By(None, now)
    status = TaskStatus(row.status)
    if row.hold_status != TaskStatus.ASSIGNED:
        # No command leaves it so. Found all the same, it is put right rather than found again for ever.
        await tx.execute(sql.CANCEL_TIMER, {"hold_id": due.hold_id, "now": now})
    elif status in CLOSED:
        await close_hold(tx, due.hold_id, HoldEndReason.TASK_CLOSED, by)
    else:
        await close_hold(tx, due.hold_id, HoldEndReason.EXPIRED, by)
        await _go_on(tx, row, status, by)
    return True


async def note_failure(tx: Tx, *, hold_id: UUID, error: str, now: datetime) -> datetime | None:
    """Remember that a timer failed, and why; when it is tried again. None: it is no longer pending."""
    attempts = (await tx.execute(sql.READ_ATTEMPTS, {"hold_id": hold_id})).scalar()
    if attempts is None:
        return None
    next_attempt_at = now + backoff(attempts + 1)
    values = {
        "hold_id": hold_id,
        "attempts": attempts + 1,
        "next_attempt_at": next_attempt_at,
        "error": error.replace("\x00", "")[:LONGEST_ERROR],
    }
    await tx.execute(sql.NOTE_FAILURE, values)
    return next_attempt_at


# ------------------------------------------------------------------------------------------------- inside


async def _try(tx: Tx, due: Due, now: datetime) -> Row[Any] | None:
    """Lock plan, tree, task, hold and timer, in this order, where all of them are free and as they were."""
    if due.plan_id is not None and (await tx.execute(sql.TRY_PLAN, {"plan_id": due.plan_id})).first() is None:
        return None
    if (await tx.execute(sql.TRY_ROOT, {"root_id": due.root_id})).first() is None:
        return None
    values = {"hold_id": due.hold_id, "root_id": due.root_id, "now": now}
    return (await tx.execute(sql.TRY_TIMER, values)).one_or_none()


async def _go_on(tx: Tx, row: Row[Any], status: TaskStatus, by: By) -> None:
    """What a task becomes whose hold has run out."""
    parent = ParentFacts(
        status, row.type_name, row.assignee_team_id is not None, row.open_children, has_kept_child=True
    )
    on_expiry = None if row.hold_on_expiry is None else HoldExpiry(row.hold_on_expiry)
    after = decide_expiry(parent, on_expiry=on_expiry, missing_steps=row.missing_steps)
    if after is None:
        await touch(tx, target_of(row))
        return
    await move(tx, target_of(row), status, after, by)
    if after in CLOSED:
        await climb(tx, row.parent_id, row.type_name, by)
