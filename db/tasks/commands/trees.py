"""A task under the lock of its tree, and the changes that every command is made of.

Locks are always taken in one order: the plan's key (shared, so that learners never wait for each other, and a
publication that goes live waits for all of them), then the root of the tree. Whoever holds the root may change every
task of the tree: two who work in one tree take turns, whatever they do, and nobody can wait in a circle.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from db.accounts.rules import Viewer
from db.errors import Code, refuse
from db.session import Tx
from db.tasks.commands import statements as sql
from db.tasks.models import TaskNote
from db.tasks.rules import (
    CLOSED,
    HOLD,
    HOLD_TYPE,
    TASK,
    HoldEndReason,
    HoldExpiry,
    HoldOnAssign,
    HoldPolicy,
    ParentFacts,
    Standing,
    TaskFacts,
    TaskStatus,
    decide_after_child,
    queue_topic,
    task_topic,
)

# A tree is moved under another root by a reassignment: whoever waited for the old one asks again.
TRIES = 5


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, when and why. `actor_id` None: the system."""

    actor_id: UUID | None
    now: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A task that is written, and whose queue it is in."""

    id: UUID
    user_id: UUID | None
    team_id: UUID | None


@dataclass(slots=True)
class Opened:
    """A task whose tree is ours, what the rules need to know of it, and what the actor is to it.

    `facts` know nothing of steps: whoever needs them reads them (`commands.working`).
    """

    row: Row[Any]
    plan: Row[Any] | None
    facts: TaskFacts
    standing: Standing
    hold_id: UUID | None

    @property
    def id(self) -> UUID:
        """The task's key."""
        key: UUID = self.row.id
        return key

    @property
    def target(self) -> Target:
        """The task as it is written."""
        return target_of(self.row)

    @property
    def root_id(self) -> UUID:
        """The key of the tree."""
        key: UUID = self.row.root_id or self.row.id
        return key

    @property
    def status(self) -> TaskStatus:
        """Where the task is."""
        return self.facts.status

    @property
    def policy(self) -> HoldPolicy | None:
        """What holds its type allows."""
        row = self.row
        if row.hold_min_days is None:
            return None
        return HoldPolicy(
            row.hold_min_days,
            row.hold_max_days,
            row.hold_presets,
            HoldExpiry(row.hold_on_expiry),
            HoldOnAssign(row.hold_on_assign),
            row.hold_note_required,
        )


async def open_task(
    tx: Tx,
    *,
    actor: Viewer,
    task_id: UUID,
    path: str = "taskId",
    hold_is: Code = Code.BAD_USER_INPUT,
    not_found: str = "There is no such task.",
) -> Opened:
    """Lock the tree of a task and read it. Raises Refused at `path`: NOT_FOUND; `hold_is` where it is a hold.

    `not_found`: the message where the caller knows the task as a part of something else.
    """
    values = {"task_id": task_id, "user_id": actor.user_id}
    for _ in range(TRIES):
        plan = (await tx.execute(sql.LOCK_PLAN, values)).one_or_none()
        root_id = (await tx.execute(sql.LOCK_ROOT, values)).scalar()
        row = (await tx.execute(sql.READ_TASK, values)).one_or_none()
        if row is None or (row.root_id or row.id) == root_id:
            break
    else:
        raise refuse(Code.CONFLICT, "This task is being moved again and again. Try again.", path)
    if row is None:
        raise refuse(Code.NOT_FOUND, not_found, path)
    own_plan = plan if row.plan_id is not None else None
    standing = _standing(actor, row, own_plan)
    is_live = own_plan is None or own_plan.live_generation == row.generation
    is_shown = own_plan is None or (own_plan.first_published_at is not None and row.opens_at <= tx.now)
    # A hold has its task's assignee, so this reads it as its task is read; a plan's task is asked for itself.
    if not standing.may_read(is_of_plan=row.plan_id is not None, is_live=is_live, is_shown=is_shown):
        raise refuse(Code.NOT_FOUND, not_found, path)
    if row.type_name == HOLD_TYPE:
        is_a_hold = f"This is a hold. `{path}` names a task: the one that is on hold."
        raise refuse(hold_is, not_found if hold_is is Code.NOT_FOUND else is_a_hold, path)
    return Opened(row, own_plan, _facts(row, own_plan), standing, row.hold_id)


def _standing(actor: Viewer, row: Row[Any], plan: Row[Any] | None) -> Standing:
    return Standing(
        is_admin=actor.is_admin,
        is_editor=actor.is_editor,
        is_assignee=row.assignee_user_id == actor.user_id,
        is_team_member=row.is_team_member,
        is_team_admin=row.is_team_admin,
        is_assigner=row.plan_id is None and row.assigned_by_id == actor.user_id,
        teaches=plan is not None and bool(plan.teaches),
    )


def _facts(row: Row[Any], plan: Row[Any] | None) -> TaskFacts:
    return TaskFacts(
        status=TaskStatus(row.status),
        opens_at=row.opens_at,
        closes_at=row.closes_at,
        is_withdrawn=plan is not None and plan.state == "WITHDRAWN",
        step_count=0,
        completed_steps=0,
        open_children=row.open_children,
        has_open_hold=row.hold_id is not None,
        allows_holds=row.hold_min_days is not None,
        is_team_task=row.assignee_team_id is not None,
        is_of_plan=row.plan_id is not None,
    )


def target_of(row: Row[Any]) -> Target:
    """The task of a row that has its key and its assignee."""
    return Target(row.id, row.assignee_user_id, row.assignee_team_id)


# --- the changes ------------------------------------------------------------------------------------------------------


async def move(tx: Tx, target: Target, before: TaskStatus, after: TaskStatus, by: By) -> None:
    """Write a change of status with its stamps and its transition.

    Raises Refused (CONFLICT) where somebody changed it without the lock of its tree.
    """
    if not TASK.allows(before, after):
        raise refuse(Code.INVALID_TRANSITION, f"A task that is {before} cannot become {after}.", "taskId")
    values = {
        "task_id": target.id,
        "before": before.value,
        "after": after.value,
        "now": by.now,
        "actor_id": by.actor_id,
        "reason": by.reason,
    }
    if await tx.affect(sql.MOVE, values) != 1:
        raise refuse(Code.CONFLICT, "Somebody else has changed this task meanwhile. Load it again.", "taskId")
    tell(tx, target)


async def touch(tx: Tx, target: Target) -> None:
    """Say that a task has changed in something else than its status."""
    await tx.execute(sql.TOUCH, {"task_id": target.id})
    tell(tx, target)


async def write_note(tx: Tx, task_id: UUID, note: str | None, by: By) -> None:
    """Append to a task's instructions; None appends nothing."""
    if note is not None:
        await tx.insert(TaskNote(task_id=task_id, at=by.now, actor_id=by.actor_id, text=note))


async def hold_back(tx: Tx, target: Target, status: TaskStatus, by: By) -> None:
    """Put a task on hold because something has opened below it; one that is on hold stays so."""
    if status is TaskStatus.ON_HOLD:
        await touch(tx, target)
    else:
        await move(tx, target, status, TaskStatus.ON_HOLD, by)


async def close_hold(tx: Tx, hold_id: UUID, end_reason: HoldEndReason, by: By) -> None:
    """End an open hold and its timer. What that makes of its task is the caller's to write.

    Raises Refused (CONFLICT) where it was closed without the lock of its tree.
    """
    after = TaskStatus.COMPLETED if end_reason is HoldEndReason.EXPIRED else TaskStatus.CANCELLED
    if not HOLD.allows(TaskStatus.ASSIGNED, after):
        raise AssertionError(after)
    values = {
        "hold_id": hold_id,
        "after": after.value,
        "end_reason": end_reason.value,
        "now": by.now,
        "actor_id": by.actor_id,
        "reason": by.reason,
    }
    if await tx.affect(sql.CLOSE_HOLD, values) != 1:
        raise refuse(Code.CONFLICT, "Somebody else has ended this hold meanwhile. Load the task again.", "taskId")
    tx.hint(task_topic(hold_id))


async def climb(tx: Tx, parent_id: UUID | None, child_type: str, by: By) -> None:
    """What the tasks above become now that a child has closed: as far up as one closes with it."""
    while parent_id is not None:
        row = (await tx.execute(sql.READ_PARENT, {"task_id": parent_id})).one()
        parent = ParentFacts(
            status=TaskStatus(row.status),
            type_name=row.type_name,
            is_team_task=row.assignee_team_id is not None,
            open_children=row.open_children,
            has_kept_child=row.has_kept_child,
        )
        after = decide_after_child(parent, child_type=child_type)
        if after is None:
            # It stays as it is, and shows one open child less.
            if parent.status not in CLOSED:
                await touch(tx, target_of(row))
            return
        await move(tx, target_of(row), parent.status, after, By(by.actor_id, by.now))
        if after not in CLOSED:
            return
        parent_id, child_type = row.parent_id, row.type_name


async def close(tx: Tx, opened: Opened, after: TaskStatus, by: By) -> None:
    """Close a task with the hold that is open on it, and let the tasks above know."""
    if opened.hold_id is not None:
        await close_hold(tx, opened.hold_id, HoldEndReason.TASK_CLOSED, By(by.actor_id, by.now))
    await move(tx, opened.target, opened.status, after, by)
    await climb(tx, opened.row.parent_id, opened.row.type_name, by)


def tell(tx: Tx, target: Target) -> None:
    """Have whoever watches a task, or the queue that it is in, look again after the commit."""
    tx.hint(task_topic(target.id), queue_topic(user_id=target.user_id, team_id=target.team_id))
