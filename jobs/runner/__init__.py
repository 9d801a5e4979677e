"""Runs attempts: claims a ticket, calls its handler under a time limit, and writes how it ended."""

from jobs.runner.grouping import Grouped
from jobs.runner.runner import Runner

__all__ = ["Grouped", "Runner"]
