"""The queries of ledger."""

from typing import Any

QUERIES: list[Any] = []
