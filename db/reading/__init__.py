"""Reads planned from what is wanted: a declared entity and a tree of wanted names become a few statements.

The number of statements depends on the shape of what is wanted, never on the number of rows: to-one relations are
joined, each to-many relation is one statement for all parents. Statements are built and compiled once for each shape
and executed on the driver itself, so that its prepared statements are used again. What comes back are immutable rows
with exactly the wanted attributes; relations are plain attributes too.

`entity.py` is the vocabulary of declarations, `want.py` the tree of wanted names, `plan.py` turns both into SQL,
`load.py` executes it.
"""

from db.reading.entity import Asked, Batch, Derived, Either, Entity, Filter, Listing, Many, One, Order, Reads, bind
from db.reading.load import Reading
from db.reading.plan import KEYS
from db.reading.want import Want, merged, want

__all__ = [
    "KEYS",
    "Asked",
    "Batch",
    "Derived",
    "Either",
    "Entity",
    "Filter",
    "Listing",
    "Many",
    "One",
    "Order",
    "Reading",
    "Reads",
    "Want",
    "bind",
    "merged",
    "want",
]
