"""The mutations of plans."""

from typing import Any

MUTATIONS: list[Any] = []
