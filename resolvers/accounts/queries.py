"""The queries of accounts."""

from typing import Any

QUERIES: list[Any] = []
