"""`python -m jobs`: a worker process. Settings come from the environment; SIGTERM drains it, and it exits with 0."""

import asyncio
import sys

from jobs.worker import run_worker


def main() -> None:
    """Run until told to stop."""
    if sys.platform == "win32":
        asyncio.run(run_worker())
        return
    import uvloop  # noqa: PLC0415 - there is none on Windows

    uvloop.run(run_worker())


if __name__ == "__main__":
    main()
