"""Tasks are made, given to people and given to others."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from db.accounts.rules import Viewer
from db.errors import Code, Problem, Refused
from db.session import Tx, violated_constraint
from db.tasks.commands import statements as sql
from db.tasks.commands.trees import By, Opened, Target, close_hold, hold_back, move, open_task, tell, write_note
from db.tasks.models import TaskType
from db.tasks.rules import (
    HoldEndReason,
    Person,
    Standing,
    TaskStatus,
    TaskValues,
    assignee_problem,
    decide_assign,
    decide_new,
    decide_reassign,
    duplicate_problem,
    moves_hold,
    note_of,
    parent_problem,
    require_may_delegate,
    require_within_team,
    task_topic,
)

REASSIGNED = "Reassigned."


@dataclass(frozen=True, slots=True)
class Assignee:
    """To whom a task goes, as a caller names them: a person, a team, or neither where the id was malformed."""

    user_id: UUID | None = None
    team_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """What `assign_task` and `reassign_task` made: the new task, and the one that it is of."""

    task_id: UUID
    new_task_id: UUID


async def create_task(
    tx: Tx,
    *,
    actor: Viewer,
    type_name: str,
    title: str,
    assignee: Assignee,
    parent_id: UUID | None,
    instructions: str | None,
    opens_at: datetime | None,
    due_at: datetime | None,
    closes_at: datetime | None,
    now: datetime,
) -> UUID:
    """Make a task, at the root or below another, which goes on hold; an open hold of that ends CHILD_CREATED.

    Raises Refused: FORBIDDEN at `parentId` or `assigneeId`; else everything that is wrong: NOT_FOUND, INVALID_PARENT or
    TASK_CLOSED at `parentId`; NOT_FOUND, ASSIGNEE_INACTIVE or DUPLICATE_TASK at `assigneeId`; BAD_USER_INPUT,
    DATES_OUT_OF_ORDER.
    """
    above = await _open_parent(tx, actor, parent_id)
    found = await _find(tx, actor, assignee)
    if above.unread and not (actor.is_editor or found.is_within):
        # Who may give tasks to nobody, or not to this one, is told nothing of the rest.
        raise Refused(*above.unread)
    require_within_team(Standing(is_editor=actor.is_editor), is_within=found.is_within)
    parent = above.task
    of_parent: list[Problem | None] = [*above.unread]
    is_taken = False
    if parent is not None:
        of_parent.append(parent_problem(parent.facts, level=await _level(tx, parent), path="parentId"))
        is_taken = await _has_twin(tx, parent.id, type_name, assignee)
    values = decide_new(
        TaskValues(title, opens_at, due_at, closes_at),
        type_name=type_name,
        is_known_type=await _is_type(tx, type_name),
        note=instructions,
        surroundings=[*of_parent, assignee_problem(found.person, is_taken=is_taken)],
    )
    by = By(actor.user_id, now)
    task_id = await _insert(tx, by, assignee, values, type_name=type_name, parent=parent)
    await write_note(tx, task_id, note_of(instructions), by)
    if parent is not None:
        await _end_hold_for_child(tx, parent, by)
        await hold_back(tx, parent.target, parent.status, by)
    return task_id


async def assign_task(
    tx: Tx, *, actor: Viewer, task_id: UUID, assignee: Assignee, instructions: str | None, now: datetime
) -> Assigned:
    """Give a team's task to a person: a child of the same type, title and dates. The note is the child's.

    An open hold of the team's task ends CHILD_CREATED or goes along, by the policy of the type.
    Raises Refused: NOT_FOUND or FORBIDDEN at `taskId`, FORBIDDEN at `assigneeId`, and what `decide_assign` finds.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_delegate(opened.standing)
    found = await _find(tx, actor, assignee)
    require_within_team(opened.standing, is_within=found.is_within)
    row = opened.row
    decide_assign(
        opened.facts,
        found.person,
        level=await _level(tx, opened),
        is_taken=await _has_twin(tx, opened.id, row.type_name, assignee),
        note=instructions,
    )
    note, by = note_of(instructions), By(actor.user_id, now)
    child_id = await _insert(tx, by, assignee, _values(row), type_name=row.type_name, parent=opened)
    await write_note(tx, child_id, note, by)
    if opened.hold_id is not None and moves_hold(opened.policy):
        values = {
            "hold_id": opened.hold_id,
            "parent_id": child_id,
            "root_id": opened.root_id,
            "assignee_user_id": assignee.user_id,
            "assignee_team_id": assignee.team_id,
        }
        await tx.execute(sql.MOVE_HOLD, values)
        tx.hint(task_topic(opened.hold_id))
        child = Target(child_id, assignee.user_id, assignee.team_id)
        await move(tx, child, TaskStatus.ASSIGNED, TaskStatus.ON_HOLD, by)
    else:
        await _end_hold_for_child(tx, opened, by)
    await hold_back(tx, opened.target, opened.status, by)
    return Assigned(opened.id, child_id)


async def reassign_task(
    tx: Tx, *, actor: Viewer, task_id: UUID, assignee: Assignee, instructions: str | None, now: datetime
) -> Assigned:
    """Give a task to somebody else: a sibling in its status takes its place, and the old one is cancelled.

    Its open children go along, its hold with the same key and end; closed ones stay. What was written to it is copied,
    the note is appended. A plan's task takes its steps and dates along.
    Raises Refused: NOT_FOUND or FORBIDDEN at `taskId`, FORBIDDEN at `assigneeId`, and what `decide_reassign` finds.
    """
    opened = await open_task(tx, actor=actor, task_id=task_id)
    require_may_delegate(opened.standing)
    found = await _find(tx, actor, assignee)
    require_within_team(opened.standing, is_within=found.is_within)
    row = opened.row
    is_same = (row.assignee_user_id, row.assignee_team_id) == (assignee.user_id, assignee.team_id)
    is_taken = await _is_taken(tx, opened, assignee)
    decide_reassign(opened.facts, found.person, is_same=is_same, is_taken=is_taken, note=instructions)
    note, by = note_of(instructions), By(actor.user_id, now)
    await move(tx, opened.target, opened.status, TaskStatus.CANCELLED, By(actor.user_id, now, REASSIGNED))
    new_id = await _insert(
        tx, By(actor.user_id, now, REASSIGNED), assignee, _values(row), type_name=row.type_name, replaced=opened
    )
    await _move_along(tx, opened, new_id, assignee)
    await write_note(tx, new_id, note, by)
    if row.parent_id is not None:
        await tx.execute(sql.TOUCH, {"task_id": row.parent_id})
        tx.hint(task_topic(row.parent_id))
    return Assigned(opened.id, new_id)


# ------------------------------------------------------------------------------------------------- inside


@dataclass(frozen=True, slots=True)
class _Found:
    """The assignee as they are, None where there is no such one; whether the actor's teams reach them."""

    person: Person | None
    is_within: bool


async def _find(tx: Tx, actor: Viewer, assignee: Assignee) -> _Found:
    values = {"actor_id": actor.user_id, "user_id": assignee.user_id, "team_id": assignee.team_id}
    row = (await tx.execute(sql.FIND_ASSIGNEE, values)).one()
    person = Person(assignee.user_id, assignee.team_id, row.is_active) if row.is_active is not None else None
    # Whoever administers no team at all is told so, whatever id they name.
    return _Found(person, row.is_within if person is not None else row.is_admin)


@dataclass(frozen=True, slots=True)
class _Above:
    """What a new task is to stand below: a task, nothing, or what says why the one named is none (`unread`)."""

    task: Opened | None = None
    unread: tuple[Problem, ...] = ()


async def _open_parent(tx: Tx, actor: Viewer, parent_id: UUID | None) -> _Above:
    """Raises Refused: FORBIDDEN at `parentId`. That there is no such task is told with all else that is wrong."""
    if parent_id is None:
        return _Above()
    try:
        parent = await open_task(tx, actor=actor, task_id=parent_id, path="parentId", hold_is=Code.INVALID_PARENT)
    except Refused as refusal:
        if refusal.code not in {Code.NOT_FOUND, Code.INVALID_PARENT}:
            raise
        return _Above(unread=refusal.problems)
    require_may_delegate(parent.standing, "parentId")
    return _Above(parent)


async def _is_type(tx: Tx, type_name: str) -> bool:
    return "\x00" not in type_name and await tx.get(TaskType, type_name) is not None


async def _level(tx: Tx, opened: Opened) -> int:
    """How deep a task stands in its tree, from 1 at its root."""
    level: int = (await tx.execute(sql.LEVEL, {"task_id": opened.id})).scalar_one()
    return level


async def _has_twin(tx: Tx, parent_id: UUID, type_name: str, assignee: Assignee) -> bool:
    values = {
        "parent_id": parent_id,
        "type_name": type_name,
        "assignee_user_id": assignee.user_id,
        "assignee_team_id": assignee.team_id,
    }
    return bool((await tx.execute(sql.OPEN_TWIN, values)).scalar_one())


async def _is_taken(tx: Tx, opened: Opened, assignee: Assignee) -> bool:
    row = opened.row
    if row.plan_id is not None:
        values = {"plan_id": row.plan_id, "generation": row.generation, "assignee_user_id": assignee.user_id}
        return bool((await tx.execute(sql.HAS_ONE_OF_PLAN, values)).scalar_one())
    return row.parent_id is not None and await _has_twin(tx, row.parent_id, row.type_name, assignee)


def _values(row: Row[Any]) -> TaskValues:
    return TaskValues(row.title, row.opens_at, row.due_at, row.closes_at)


async def _insert(
    tx: Tx,
    by: By,
    assignee: Assignee,
    values: TaskValues,
    *,
    type_name: str,
    parent: Opened | None = None,
    replaced: Opened | None = None,
) -> UUID:
    old = replaced.row if replaced is not None else None
    inserted = {
        "type_name": type_name,
        "title": values.title,
        "status": old.status if old is not None else TaskStatus.ASSIGNED.value,
        "parent_id": parent.id if parent is not None else old and old.parent_id,
        "root_id": parent.root_id if parent is not None else old and old.root_id,
        "replaces_id": old and old.id,
        "assignee_user_id": assignee.user_id,
        "assignee_team_id": assignee.team_id,
        "actor_id": by.actor_id,
        "now": by.now,
        "started_at": old and old.started_at,
        "placed_on_hold_at": old and old.placed_on_hold_at,
        "plan_id": old and old.plan_id,
        "generation": old and old.generation,
        "opens_at": values.opens_at,
        "due_at": values.due_at,
        "closes_at": values.closes_at,
        "selection": old and old.selection,
        "reason": by.reason,
    }
    try:
        task_id: UUID = (await tx.execute(sql.INSERT_TASK, inserted)).scalar_one()
    except IntegrityError as error:
        # Two tasks of one plan are given to one person at the same moment.
        if violated_constraint(error) == "uq_tasks_plan_generation_assignee":
            raise Refused(duplicate_problem()) from None
        raise
    tell(tx, Target(task_id, assignee.user_id, assignee.team_id))
    return task_id


async def _end_hold_for_child(tx: Tx, parent: Opened, by: By) -> None:
    if parent.hold_id is not None:
        await close_hold(tx, parent.hold_id, HoldEndReason.CHILD_CREATED, by)


async def _move_along(tx: Tx, opened: Opened, new_id: UUID, assignee: Assignee) -> None:
    """What a replacement takes over: open children, the hold, notes, and the steps of a plan's task."""
    values = {"old_id": opened.id, "new_id": new_id}
    to = {"assignee_user_id": assignee.user_id, "assignee_team_id": assignee.team_id}
    moved = (await tx.scalars(sql.MOVE_CHILDREN, {**values, **to})).all()
    tx.hint(*(task_topic(child_id) for child_id in moved))
    if moved and opened.row.root_id is None:
        await tx.execute(sql.MOVE_TREE, {"new_id": new_id, "root_id": new_id})
    if opened.row.plan_id is not None:
        await tx.execute(sql.MOVE_STEPS, values)
    await tx.execute(sql.COPY_NOTES, values)
