"""What ends an attempt before its handler is done."""

from enum import StrEnum


class Stop(StrEnum):
    """Why a handler is to stop."""

    CANCEL = "somebody asked for it"
    TIMEOUT = "it took too long"
    RELEASE = "the worker shuts down"
    LOST = "the job is not ours any more"


class Cancelled(Exception):
    """The job was asked to stop, or finds that nobody needs it any more: it ends CANCELLED.

    `reason` is told in the job's history; without it, the reason given by who asked.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason or "asked to stop")
        self.reason = reason


class Snooze(Exception):
    """There is nothing to do yet: run again after so many seconds. Costs no attempt."""

    def __init__(self, seconds: float, reason: str | None = None) -> None:
        super().__init__(reason or f"snoozes for {seconds:g} s")
        self.seconds = seconds
        self.reason = reason


class LeaseLost(Exception):
    """The job is not ours any more. Whatever was written in this transaction is rolled back."""
