"""The subscriptions of tasks."""

from typing import Any

SUBSCRIPTIONS: list[Any] = []
