"""Types of ledger."""

from db.reading import Entity

NODES: dict[str, Entity] = {}
TYPES: list[type] = []
