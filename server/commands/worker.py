"""`worker`: one worker process alone."""

import runpy


def worker() -> None:
    """Run one worker: it claims due work from DATABASE_URL until it is told to stop, then finishes what it holds."""
    runpy.run_module("jobs", run_name="__main__", alter_sys=True)
