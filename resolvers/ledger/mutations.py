"""The mutations of ledger."""

from typing import Any

MUTATIONS: list[Any] = []
