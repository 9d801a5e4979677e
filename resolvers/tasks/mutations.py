"""The mutations of tasks."""

from typing import Any

MUTATIONS: list[Any] = []
