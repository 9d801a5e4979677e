"""The history of the tables. `TABLES` loads every model, so that metadata is whole where it is compared."""

from db.base import Base

TABLES = Base.metadata.tables
