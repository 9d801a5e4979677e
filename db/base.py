"""What every table shares: names of constraints, keys made by Postgres, instants in UTC."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, cast

from sqlalchemy import BigInteger, MetaData, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, MappedColumn, mapped_column

from db.types import EnumText, Instant

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# A key that Postgres makes, ordered by time: pages by key are pages by age, and inserts stay at the index's end.
Key = Annotated[uuid.UUID, mapped_column(Uuid, primary_key=True, server_default=func.uuidv7())]
Big = Annotated[int, mapped_column(BigInteger)]


class Base(DeclarativeBase):
    """The root of every model. Unnamed text columns are `text`; JSON is `jsonb`."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: Text,
        datetime: Instant,
        uuid.UUID: Uuid,
        dict[str, Any]: JSONB(none_as_null=True),
        list[str]: JSONB(none_as_null=True),
    }


def enum_column(enum: type[StrEnum], **arguments: Any) -> MappedColumn[Any]:
    """A status column: text in the table, a member in Python."""
    return mapped_column(EnumText(enum), **arguments)


def one_of(column: str, enum: type[StrEnum]) -> str:
    """The CHECK that holds a status column to its values: `CheckConstraint(one_of("state", State), name="state")`."""
    values = ", ".join(f"'{member.value}'" for member in enum)
    return f"{column} IN ({values})"


def table_of(model: type[DeclarativeBase]) -> Table:
    """A model's table, for Core statements."""
    return cast("Table", model.__table__)
