"""The mutations of courses."""

from typing import Any

MUTATIONS: list[Any] = []
