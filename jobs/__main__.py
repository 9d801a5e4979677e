"""`python -m jobs`: a worker process. Settings come from the environment; SIGTERM drains it, and it exits with 0."""

import asyncio
import sys

from db.environment import WRONG_SETUP, SetupError, load
from jobs.settings import RetentionSettings
from jobs.worker import run_worker


def main() -> None:
    """Run until told to stop. Exits with 2 and the reason in words where a setting does not fit."""
    if "--help" in sys.argv[1:]:
        sys.stdout.write(f"{__doc__}\n\nEach of them is described in docs/settings.md.\n")
        return
    try:
        # Read when the ledger is cleaned up; one that does not fit is to stop the start, not a job at night.
        load(RetentionSettings)
        _run()
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(WRONG_SETUP)


def _run() -> None:
    if sys.platform == "win32":
        asyncio.run(run_worker())
        return
    import uvloop  # noqa: PLC0415 - there is none on Windows

    uvloop.run(run_worker())


if __name__ == "__main__":
    main()
