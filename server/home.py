"""The directory of `up`: what is where, the lock that makes it one run's own, and what a killed run left in it."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from db.environment import SetupError
from server.embedded.postgres import SOCKET_DIRECTORY_LIMIT
from server.embedded.processes import arguments_of, end_stranger, processes_with

LEFTOVER_PATIENCE_SECONDS = 10.0
LONGEST_LOG_BYTES = 10_000_000


# Somebody else's, or not a directory; what is true of a file is not true of a full disk.
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_DIRECTORY = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT}
FULL = {errno.ENOSPC, errno.EDQUOT}


class AlreadyRunningError(SetupError):
    """Another `up` runs on the same directory."""


@dataclass(frozen=True, slots=True)
class Home:
    """One directory and the names in it."""

    path: Path

    @property
    def marker(self) -> str:
        """An argument that all our Python processes carry, so that a later run knows its leftovers by it."""
        return f"holdfast={self.path}"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data."""
        return self.path / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's data."""
        return self.path / "valkey"

    @property
    def demo(self) -> Path:
        """What the demo data's people sign in with; only its owner may read it."""
        return self.path / "demo.json"

    @property
    def state(self) -> Path:
        """What runs now, while it runs."""
        return self.path / "up.json"

    def log(self, name: str) -> Path:
        """A program's log."""
        return self.path / "logs" / f"{name}.log"

    def sockets(self) -> Path:
        """A directory for sockets, whose path must be short: here, or in the temporary directory."""
        here = self.path / "run"
        if len(os.fsencode(here)) <= SOCKET_DIRECTORY_LIMIT:
            return here
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return private_directory(Path(tempfile.gettempdir()) / f"holdfast-{os.geteuid()}-{digest}") / "run"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and hold it alone. Raises AlreadyRunningError, SetupError where it cannot be used."""
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self.path / "logs").mkdir(mode=0o700, exist_ok=True)
                lock = stack.enter_context((self.path / "up.lock").open("a"))
                self._lock(lock)
                self.state.unlink(missing_ok=True)
                self._end_leftovers()
                self._shorten_logs()
            except OSError as error:
                raise SetupError(self.refusal(error)) from None
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    self.state.unlink(missing_ok=True)

    def refusal(self, error: OSError) -> str:
        """What is wrong with the directory, by the error that using it met, and what would be right."""
        where = error.filename if isinstance(error.filename, str) else self.path
        said = f"HOLDFAST_DATA={self.path} cannot be used: {where}: {error.strerror}."
        if error.errno in CLOSED:
            return (
                f"{said} It must be this user's, with all that is in it. What `up` left there as root comes back with "
                f"`sudo chown -R {os.geteuid()} {self.path}`; or set it to a directory of your own."
            )
        if error.errno in NO_DIRECTORY:
            return f"{said} Set it to a directory that this user may write in, or where such a one can be made."
        if error.errno in FULL:
            return f"{said} Make room there and start again; what was written is kept."
        return said

    def tokens(self) -> dict[str, str]:
        """A token for each person of the demo data, by name; empty where there is none."""
        try:
            return dict(json.loads(self.demo.read_text()))
        except OSError:
            return {}

    def write_state(self, state: dict[str, Any]) -> None:
        """Say what runs, at once and whole, for its owner only: it holds tokens."""
        write_private(self.state, json.dumps(state, indent=2))

    def _lock(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(self._who_runs()) from None

    def _who_runs(self) -> str:
        try:
            state = json.loads(self.state.read_text())
            return f"It runs already on {self.path}: {state['url']} (process {state['pids']['up']})."
        except (OSError, ValueError, KeyError):
            return f"It runs already on {self.path}, or is just starting or stopping."

    def _shorten_logs(self) -> None:
        """Begin a log anew once it is long, and keep the one before it."""
        for log in (self.path / "logs").glob("*.log"):
            if log.stat().st_size > LONGEST_LOG_BYTES:
                log.replace(log.with_suffix(".old"))

    def _end_leftovers(self) -> None:
        """A killed run's worker and server end by themselves; a stuck one must not work beside the new ones."""
        for pid in processes_with(self.marker):
            end_stranger(
                pid,
                farewell=signal.SIGTERM,
                is_it=lambda pid=pid: self.marker in (arguments_of(pid) or []),  # type: ignore[misc]  # a default
                patience_seconds=LEFTOVER_PATIENCE_SECONDS,
            )


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def private_directory(path: Path) -> Path:
    """A directory of ours alone where anybody may make one. Raises SetupError where somebody else did."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SetupError(f"{path} is not ours alone; remove it, or set HOLDFAST_DATA to a shorter path")
    return path
