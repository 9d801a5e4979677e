"""Statements in the driver's own form, for the two places that go around SQLAlchemy's execution.

Reads (`db/reading/`) are compiled once for each shape. A `Write` is one statement that can be executed either inside a
transaction or alone: alone it is a transaction of its own and costs one round trip where a transaction costs four.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import JSON, BindParameter, Interval, bindparam, text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql.elements import ClauseElement

from db.clock import SHIFT

DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its constructor untyped


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement's text and the names of its parameters in their order."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the statement's order."""
        constants = self.constants
        return [values[name] if name in values else constants[name] for name in self.names]


def compile_statement(statement: ClauseElement) -> Compiled:
    """The text in the driver's form. Raises nothing that a test of the shape would not have shown."""
    made = statement.compile(dialect=DIALECT)
    names: tuple[str, ...] = tuple(getattr(made, "positiontup", None) or ())
    given: Mapping[str, Any] = made.construct_params(_check=False) or {}  # type: ignore[call-arg]  # SQLCompiler's own
    constants = {name: value for name, value in given.items() if value is not None}
    return Compiled(str(made), names, constants)


class Write:
    """A statement that writes, with `$now` for the time.

    In a transaction that is the transaction's `now`; alone it is the time at which the statement began.
    """

    def __init__(self, template: str, *parameters: BindParameter[Any]) -> None:
        inside = text(template.replace("$now", "CAST(:now AS timestamptz)"))
        self.inside = compile_statement(inside.bindparams(*parameters))
        alone = text(template.replace("$now", f"(statement_timestamp() + CAST(:{SHIFT} AS interval))"))
        shift = [bindparam(SHIFT, type_=Interval())] if "$now" in template else []
        self.alone = compile_statement(alone.bindparams(*parameters, *shift))
        self._json = frozenset(each.key for each in parameters if isinstance(each.type, JSON))

    def arguments_inside(self, values: Mapping[str, Any]) -> list[Any]:
        """The values for `inside`. JSON as text: so SQLAlchemy has set its connections up."""
        compiled = self.inside
        return [
            orjson.dumps(value, default=_key).decode() if name in self._json and value is not None else value
            for name, value in zip(compiled.names, compiled.arguments(values), strict=True)
        ]


def _key(value: object) -> str:
    # The driver's keys are of a class of its own, which orjson does not know.
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
