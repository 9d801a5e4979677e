"""The queries of courses."""

from typing import Any

QUERIES: list[Any] = []
