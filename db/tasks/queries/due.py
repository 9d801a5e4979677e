"""Timers that are due: the dispatcher's question, and which they are."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Select, Uuid, all_, bindparam, func, literal_column, select

from db.base import table_of
from db.clock import sql_now
from db.compiled import compile_statement
from db.leases import DueSource
from db.session import Reader
from db.tasks.models import Task, TaskTimer
from db.tasks.rules import Due

_TIMERS = table_of(TaskTimer)
_HOLDS = table_of(Task).alias("hold")
_ROOTS = table_of(Task).alias("root")

# As in the partial index, so that a sweep reads what is due and nothing of what is pending.
_due_at = func.coalesce(_TIMERS.c.next_attempt_at, _TIMERS.c.due_at)
_PENDING = (_TIMERS.c.processed_at.is_(None), _TIMERS.c.cancelled_at.is_(None))

_FOUND = compile_statement(
    select(_TIMERS.c.task_id, _HOLDS.c.root_id, _ROOTS.c.plan_id)
    .select_from(_TIMERS.join(_HOLDS, _HOLDS.c.id == _TIMERS.c.task_id).join(_ROOTS, _ROOTS.c.id == _HOLDS.c.root_id))
    .where(
        *_PENDING,
        _due_at <= sql_now(),
        func.coalesce(_ROOTS.c.plan_id, _HOLDS.c.root_id) != all_(bindparam("beside", type_=ARRAY(Uuid))),
    )
    .order_by(_due_at, _TIMERS.c.task_id)
    .limit(bindparam("limit", type_=BigInteger))
)


def timer_source() -> DueSource:
    """Holds whose time is over, however long ago.

    Asked as "is the first one due?": of "is there one that is due?" the planner thinks that reading the table from its
    beginning will soon find one, which is wrong where those that are due came last.
    """
    first = select(func.min(_due_at)).where(*_PENDING).scalar_subquery()
    question: Select[Any] = select(literal_column("1")).where(first <= sql_now())
    return DueSource("tasks.timers", question)


async def due_timers(reader: Reader, *, limit: int, beside: Collection[UUID] = ()) -> list[Due]:
    """The timers that are due, the oldest first, but for those of the trees in `beside` (see `Due.tree`).

    Nothing is locked: each is asked again when it is worked on.
    """
    values = {**reader.clock.parameters, "limit": limit, "beside": list(beside)}
    rows = await reader.fetch(_FOUND.sql, _FOUND.arguments(values))
    return [Due(row["task_id"], row["root_id"], row["plan_id"]) for row in rows]
