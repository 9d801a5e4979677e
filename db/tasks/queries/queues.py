"""The queues of people and teams: their tabs and counts, and what has changed in one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)

from db.accounts.queries import TEAM
from db.base import table_of
from db.clock import sql_now
from db.reading import Batch, Listing, Many, Order, Reading, Want, bind
from db.tasks.models import Task
from db.tasks.queries.access import (
    has_open_hold,
    is_seen_by_learner,
    is_wanted_of_learner,
    is_work,
    own_teams,
    sees_everything,
)
from db.tasks.queries.lists import FILTERS, ORDERS, has_status
from db.tasks.queries.tasks import WORK_TASK
from db.tasks.rules import ACTIVE, CLOSED, QueueTab, TaskStatus, TeamTab

_TASKS = table_of(Task)
_HELD = (TaskStatus.ON_HOLD,)

COMPLETED_TAB_DAYS = timedelta(days=7)
# Whoever watches a longer queue is told of the changes of so many of its tasks.
MOST_WATCHED = 10_000

Condition = Callable[[FromClause], ColumnElement[bool]]


# --- tabs -------------------------------------------------------------------------------------------------------------


def _in(statuses: Iterable[TaskStatus], *more: Condition) -> Condition:
    def narrowed(task: FromClause) -> ColumnElement[bool]:
        return and_(has_status(task, statuses), is_work(task), *(each(task) for each in more))

    return narrowed


def _is_recent(task: FromClause) -> ColumnElement[bool]:
    return task.c.closed_at > sql_now() - COMPLETED_TAB_DAYS


def _waits_for_child(task: FromClause) -> ColumnElement[bool]:
    return ~has_open_hold(task)


# Every task of the tab has been closed, so its index answers this order as it is.
_CLOSED_DESC = Order((lambda task: task.c.closed_at, lambda task: task.c.id), (datetime, UUID), (True, True))
_OWN: Mapping[QueueTab, Condition] = {
    QueueTab.ASSIGNED: _in(ACTIVE, is_seen_by_learner),
    QueueTab.ON_HOLD: _in(_HELD, is_seen_by_learner),
    QueueTab.COMPLETED: _in(CLOSED, _is_recent, is_seen_by_learner),
}
_TEAM: Mapping[TeamTab, Condition] = {
    TeamTab.UNASSIGNED: _in(ACTIVE),
    TeamTab.ASSIGNED: _in(_HELD, _waits_for_child),
    TeamTab.ON_HOLD: _in(_HELD, has_open_hold),
    TeamTab.COMPLETED: _in(CLOSED, _is_recent),
}
_DEFAULTS = {"ON_HOLD": "HOLD_ENDS_ASC", "COMPLETED": "CLOSED_DESC"}


def _queue(tab: QueueTab | TeamTab, key: str, where: Condition) -> Many:
    orders = {**ORDERS, "CLOSED_DESC": _CLOSED_DESC} if tab.value == "COMPLETED" else ORDERS
    listing = Listing(orders=orders, filters=FILTERS, default=_DEFAULTS.get(tab.value, "ASSIGNED_DESC"))
    return Many(lambda: WORK_TASK, key=lambda task: task.c[key], listing=listing, where=where, is_guarded=False)


# `reading.below(WORK_TASK, wanted, QUEUES[tab], [user_id], name=f"queue.{tab}")`: the viewer's own queue only.
QUEUES: Mapping[QueueTab, Many] = {tab: _queue(tab, "assignee_user_id", where) for tab, where in _OWN.items()}
# The same with a team's key, for those who may see the team: whether they may is the caller's to ask.
TEAM_QUEUES: Mapping[TeamTab, Many] = {tab: _queue(tab, "assignee_team_id", where) for tab, where in _TEAM.items()}


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """How many tasks each tab of a queue has.

    `overdue`: open and past their due date, in whatever tab; what was withdrawn is not.
    """

    unassigned: int
    assigned: int
    on_hold: int
    completed: int
    overdue: int


def _count(key: str, owner: ColumnElement[Any], *conditions: Condition) -> ColumnElement[int]:
    task = _TASKS.alias("counted")
    counted = (
        select(func.count()).select_from(task).where(task.c[key] == owner, or_(*(each(task) for each in conditions)))
    )
    return counted.scalar_subquery()


def _overdue(key: str, owner: ColumnElement[Any], *conditions: Condition) -> ColumnElement[int]:
    # Each tab's own index answers; a condition over all open tasks would have none.
    parts = [
        _count(key, owner, lambda task, each=each: and_(each(task), task.c.due_at < sql_now()))  # type: ignore[misc]
        for each in conditions
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


async def own_counts(reading: Reading) -> TaskCounts:
    """The counts of the viewer's own queue: one statement."""
    key, viewer = "assignee_user_id", bind("viewer_id")
    counted = select(
        _count(key, viewer, _OWN[QueueTab.ASSIGNED]).label("assigned"),
        _count(key, viewer, _OWN[QueueTab.ON_HOLD]).label("on_hold"),
        _count(key, viewer, _OWN[QueueTab.COMPLETED]).label("completed"),
        _overdue(key, viewer, _in(ACTIVE, is_wanted_of_learner), _in(_HELD, is_wanted_of_learner)).label("overdue"),
    )
    (record,) = await reading.records(counted, {}, name="tasks.own_counts")
    return TaskCounts(0, record["assigned"], record["on_hold"], record["completed"], record["overdue"])


async def team_counts(reading: Reading, ids: Sequence[UUID], _: Want) -> Mapping[UUID, TaskCounts]:
    """The counts of these teams' queues, by team: one statement. Teams that the viewer may not see are left out."""
    key = "assignee_team_id"
    teams = func.unnest(bind("team_ids", many=True)).table_valued(column("id", Uuid), name="team").render_derived()
    counted = select(
        teams.c.id,
        _count(key, teams.c.id, _TEAM[TeamTab.UNASSIGNED]).label("unassigned"),
        _count(key, teams.c.id, _TEAM[TeamTab.ASSIGNED]).label("assigned"),
        _count(key, teams.c.id, _TEAM[TeamTab.ON_HOLD]).label("on_hold"),
        _count(key, teams.c.id, _TEAM[TeamTab.COMPLETED]).label("completed"),
        _overdue(key, teams.c.id, _in(ACTIVE), _in(_HELD)).label("overdue"),
    ).where(or_(sees_everything(), teams.c.id.in_(own_teams())))
    records = await reading.records(counted, {"team_ids": list(ids)}, name="tasks.team_counts")
    return {
        record["id"]: TaskCounts(
            record["unassigned"], record["assigned"], record["on_hold"], record["completed"], record["overdue"]
        )
        for record in records
    }


TEAM.relations["task_counts"] = Batch(team_counts)


# --- changes ----------------------------------------------------------------------------------------------------------


async def queue_versions(reading: Reading, *, team_id: UUID | None = None) -> Mapping[UUID, int]:
    """The tasks of the viewer's own queue, or of a team's, in all its tabs, each with its version.

    Two of these tell what has entered (a new key), changed (another version) and left (a key that is gone) in between,
    whatever hints were lost. Whether the viewer may see the team's queue is the caller's to ask.
    """
    is_team = team_id is not None
    found = _watched(bind("team_id") if is_team else bind("viewer_id"), is_team=is_team).subquery("found")
    limit = bindparam("most", type_=BigInteger)
    statement = select(found.c.id, found.c.version).order_by(literal_column("1").desc()).limit(limit)
    values = {"team_id": team_id, "most": MOST_WATCHED}
    records = await reading.records(statement, values, name=f"tasks.queue_versions.{is_team}")
    return {record["id"]: record["version"] for record in records}


async def queue_marks(reading: Reading, owners: Sequence[UUID], *, are_teams: bool) -> Mapping[UUID, str]:
    """A mark of each of these people's or teams' queues: another one after whatever `queue_versions` would tell.

    One statement for all of them. A queue without tasks has no mark.
    """
    owner = func.unnest(bind("owner_ids", many=True)).table_valued(column("id", Uuid), name="owner").render_derived()
    found = _watched(owner.c.id, is_team=are_teams).lateral("found")
    mark = func.concat(func.count(), ":", func.sum(func.hashtextextended(cast(found.c.id, Text), found.c.version)))
    statement = select(owner.c.id, mark.label("mark")).select_from(owner.join(found, true())).group_by(owner.c.id)
    records = await reading.records(statement, {"owner_ids": list(owners)}, name=f"tasks.queue_marks.{are_teams}")
    return {record["id"]: record["mark"] for record in records}


def _watched(owner: ColumnElement[Any], *, is_team: bool) -> CompoundSelect[Any]:
    key = "assignee_team_id" if is_team else "assignee_user_id"
    tabs = [_in(ACTIVE), _in(_HELD), _TEAM[TeamTab.COMPLETED]] if is_team else _OWN.values()
    parts: list[Select[Any]] = []
    for where in tabs:
        task = _TASKS.alias("watched")
        parts.append(select(task.c.id, task.c.version).where(task.c[key] == owner, where(task)))
    return union_all(*parts)


_VERSION = Want("", (Want("version"),))


async def task_version(reading: Reading, task_id: UUID) -> int | None:
    """A task's version; None where the viewer may not see it (any more)."""
    found = await reading.one(WORK_TASK, _VERSION, task_id)
    version: int | None = None if found is None else found.version
    return version
