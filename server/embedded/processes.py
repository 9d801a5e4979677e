"""Child processes whose lives are tied to ours, and what can be known about a process that is not our child."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from db.errors import SetupError

LAUNCHER = Path(__file__).with_name("launch.py")
HAS_PARENT_DEATH_SIGNAL = sys.platform == "linux"
POLL_SECONDS = 0.005


class ServerFailedError(SetupError):
    """A server did not start, or did not become ready in time. The message says what its log said."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """Another user to run a program as, when we are root. `reach`: it must pass directories closed to that user."""

    user: str
    uid: int
    gid: int
    reach: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `farewell` asks it to stop in order; it is also sent when our own process dies."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    farewell: signal.Signals = signal.SIGTERM
    run_as: RunAs | None = None
    pass_fds: tuple[int, ...] = ()


@dataclass(slots=True)
class Child:
    """A started program, in a process group of its own so that the terminal's ^C reaches only us."""

    program: Program
    process: subprocess.Popen[bytes]
    lifeline: int | None = field(default=None)

    @property
    def pid(self) -> int:
        """The process's id (also the id of its process group)."""
        return self.process.pid

    def ended(self) -> int | None:
        """The exit code once it has ended, else None."""
        return self.process.poll()

    def stop(self, *, patience_seconds: float, sign: signal.Signals | None = None) -> int:
        """Ask it to stop, wait, and kill its whole group if it does not. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sign or self.program.farewell)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_seconds)
        self.kill()
        return self.process.wait()

    def kill(self) -> None:
        """End what is left of its process group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # Forgotten before it is closed: a signal's handler may come here in between.
        lifeline, self.lifeline = self.lifeline, None
        if lifeline is not None:
            os.close(lifeline)


def start(program: Program, *, given: bytes | None = None) -> Child:
    """Start the program tied to this process: when this process dies, however, the program gets its farewell.

    The tie is to the calling thread on Linux, so call it from one that lives as long as the process.
    `given` is what it reads from its standard input, which is otherwise empty. Raises OSError where its log cannot
    be opened or the system has no room for another process.
    """
    orders: dict[str, object] = {"parent": os.getpid(), "signal": int(program.farewell)}
    if program.run_as is not None:
        orders |= {"user": program.run_as.user, "reach": program.run_as.reach}
    pass_fds = program.pass_fds
    read_end = write_end = None
    if not HAS_PARENT_DEATH_SIGNAL:
        read_end, write_end = os.pipe()
        orders["lifeline"] = read_end
        pass_fds = (*pass_fds, read_end)
    try:
        with program.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - the command is ours, and no shell reads it
                [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(orders), *program.command],
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=dict(program.environment),
                cwd=program.directory,
                process_group=0,
                pass_fds=pass_fds,
            )
    except OSError:
        if write_end is not None:
            os.close(write_end)
        raise
    finally:
        if read_end is not None:
            os.close(read_end)
    if process.stdin is not None:
        with process.stdin as stdin:
            stdin.write(given or b"")
    return Child(program, process, write_end)


def never() -> bool:
    """The answer of what is given no more time."""
    return False


def wait_until(
    fact: Callable[[], bool], *, child: Child, patience_seconds: float, is_on_its_way: Callable[[], bool] = never
) -> None:
    """Wait for the fact; raise ServerFailedError with the log's last lines if the child ends or time runs out.

    `is_on_its_way` is asked when time runs out: where it is so, the child gets the same time again.
    """
    deadline = time.monotonic() + patience_seconds
    while not fact():
        code = child.ended()
        if code is not None:
            raise ServerFailedError(f"{child.program.name} ended with {code}:\n{tail(child.program.log)}")
        if time.monotonic() > deadline and is_on_its_way():
            deadline = time.monotonic() + patience_seconds
        if time.monotonic() > deadline:
            child.kill()
            raise ServerFailedError(
                f"{child.program.name} was not ready after {patience_seconds:g} s:\n{tail(child.program.log)}"
            )
        time.sleep(POLL_SECONDS)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return f"(no log at {log})"
    return "\n".join(text.splitlines()[-lines:]) or f"(nothing in {log})"


def clean_environment(**settings: str) -> dict[str, str]:
    """Our environment without what would change a server's behaviour: PG* variables and locales."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LC_")) and name not in {"LANG", "LANGUAGE", "TZ"}
    }
    return kept | {"LC_ALL": "C", "TZ": "UTC"} | settings


# --- processes that are not our children -------------------------------------------------------------------


def arguments_of(pid: int) -> list[str] | None:
    """The command line of a living process; None when there is none, or only a zombie that nobody reaped."""
    if pid <= 0:
        return None
    if Path("/proc/self/stat").exists():
        return _arguments_from_proc(pid)
    answer = subprocess.run(  # noqa: S603 - fixed program, numeric argument
        ["/bin/ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, command = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else command.split()


def _arguments_from_proc(pid: int) -> list[str] | None:
    try:
        # The name in brackets may hold anything, so the state is found after its last bracket.
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, IndexError):
        return None
    if state in {"Z", "X"}:
        return None
    return [part.decode(errors="replace") for part in command.split(b"\0") if part]


def processes_with(argument: str) -> list[int]:
    """The living processes that were started with this argument, ourselves left out."""
    if Path("/proc/self/stat").exists():
        pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    else:
        answer = subprocess.run(["/bin/ps", "-axo", "pid="], capture_output=True, text=True, check=False)
        pids = [int(line) for line in answer.stdout.split()]
    return [pid for pid in pids if pid != os.getpid() and argument in (arguments_of(pid) or [])]


def working_in(directory: Path) -> Iterator[int]:
    """Processes whose working directory is this one, whatever they are. Linux only; elsewhere nothing."""
    wanted = os.path.realpath(directory)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((entry / "cwd").readlink()) == wanted and arguments_of(int(entry.name)) is not None:
                yield int(entry.name)


def end_stranger(pid: int, *, farewell: signal.Signals, is_it: Callable[[], bool], patience_seconds: float) -> None:
    """Stop a process left by an earlier run; `is_it` says that the pid still means that process.

    Raises ServerFailedError where it does not end, or is another user's.
    """
    for sign in (farewell, signal.SIGKILL):
        if not is_it():
            return
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise ServerFailedError(
                f"process {pid}, left by an earlier run, is another user's and cannot be ended from here; "
                "have that user or root end it and try again"
            ) from None
        deadline = time.monotonic() + patience_seconds
        while is_it() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if is_it():
        raise ServerFailedError(f"process {pid}, left by an earlier run, does not end; end it by hand and try again")
