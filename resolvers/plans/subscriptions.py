"""The subscriptions of plans."""

from typing import Any

SUBSCRIPTIONS: list[Any] = []
