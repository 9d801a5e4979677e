"""The subscriptions of ledger."""

from typing import Any

SUBSCRIPTIONS: list[Any] = []
