"""The queries of tasks."""

from typing import Any

QUERIES: list[Any] = []
