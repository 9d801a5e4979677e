"""The mutations of accounts."""

from typing import Any

MUTATIONS: list[Any] = []
