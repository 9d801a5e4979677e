"""Waiting for facts about processes and files, in tests that start real ones."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from server.embedded.processes import LAUNCHER, arguments_of

ROOT = Path(__file__).resolve().parent.parent.parent
T = TypeVar("T")
# How long a test waits for what must come: a busy machine takes its time, and only a failure takes all of this.
PATIENCE_SECONDS = 20.0


def eventually(fact: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer; fails where there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := fact()):
        assert time.monotonic() < deadline, f"not so after {seconds} s: {fact}"
        time.sleep(0.01)
    return answer


def is_gone(pid: int) -> bool:
    """Whether no living process has this id; a zombie is none."""
    return arguments_of(pid) is None


def modes(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode, user and group of each path and of every directory above it."""
    every = {part for path in paths for part in (path, *path.parents)}
    return {part: (found.st_mode, found.st_uid, found.st_gid) for part in every if (found := part.stat())}


def give_to_ordinary_user(path: Path) -> int:
    """Make a directory that of the user as whom `python(ordinary_user=True)` runs; the user's id."""
    if os.geteuid() != 0:
        return os.geteuid()
    nobody = pwd.getpwnam("nobody")
    os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return nobody.pw_uid


@contextmanager
def python(
    *arguments: str, environment: dict[str, str] | None = None, ordinary_user: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A Python process in the checkout, with its output to read; killed at the end if it still runs.

    `ordinary_user`: where we are root, run it as `nobody`, who may all the same read an interpreter in root's home.
    """
    command = [sys.executable, *arguments]
    if ordinary_user and os.geteuid() == 0:
        orders = {"parent": os.getpid(), "signal": int(signal.SIGKILL), "user": "nobody", "reach": True}
        command = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(orders), *command]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
