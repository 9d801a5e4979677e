"""Business time is the database's clock, and this is the only module that reads one.

A process's own clock may be minutes off; the database has one for everybody. Commands are handed `now`; statements
that need the time of their own use `sql_now()`. Tests move time by a shift, which both honour.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, DateTime, Interval, bindparam, func, select
from sqlalchemy.sql.selectable import TypedReturnsRows

SHIFT = "clock_shift"


@dataclass(slots=True)
class Clock:
    """The database's clock plus `shift`, which is zero outside of tests."""

    shift: timedelta = timedelta(0)

    @property
    def parameters(self) -> dict[str, Any]:
        """The value of the one parameter that `sql_now()` brings into a statement."""
        return {SHIFT: self.shift}

    def statement(self) -> TypedReturnsRows[Any]:
        """The statement that reads the time with `parameters`: one row, one aware datetime in UTC."""
        return _READ


# Made once, for every transaction begins with it.
_READ = select(func.clock_timestamp() + bindparam(SHIFT, type_=Interval()))


def sql_now() -> ColumnElement[datetime]:
    """The time at the start of the statement, as SQL; its parameter is filled by whoever executes it."""
    shift: BindParameter[timedelta] = bindparam(SHIFT, type_=Interval())
    return func.statement_timestamp(type_=DateTime(timezone=True)) + shift
