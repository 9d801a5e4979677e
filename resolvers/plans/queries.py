"""The queries of plans."""

from typing import Any

QUERIES: list[Any] = []
