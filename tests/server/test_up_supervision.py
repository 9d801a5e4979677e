"""Supervision, with small real processes in the place of the stores, the worker and the server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.facts import ROOT, eventually, is_gone, python

pytestmark = pytest.mark.faults

# Small children that write what happens to them into one file. A child called "stubborn" does not hear SIGTERM,
# "brief" ends at once, and "store" may end by itself.
PROGRAM = """
import socket, sys
from pathlib import Path
from server.embedded.processes import Program, clean_environment, start
from server.home import Home
from server.settings import ServerSettings
from server.supervision import Supervisor
from server.terminal import Terminal
from server.up import Run, supervise

place, names = Path(sys.argv[1]), sys.argv[2:]
CHILD = '''
import os, signal, sys, time
name, events = sys.argv[1], sys.argv[2]
def note(what):
    with open(events, "a") as file:
        file.write(f"{name} {what} {os.getpid()}\\\\n")
def leave(*_):
    note("left")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if name == "stubborn" else leave)
note("began")
if name == "brief":
    sys.exit(3)
time.sleep(600)
'''
(place / "child.py").write_text(CHILD)
for name in ("home", "logs"):
    (place / name).mkdir()

class Small(Run):
    def start(self):
        for name in names:
            program = Program(
                name, [sys.executable, str(place / "child.py"), name, str(place / "events")], clean_environment(),
                place, place / "logs" / "log",
            )
            self.supervisor.add(start(program), restarts=name != "store", patience_seconds=60)

    def write_state(self):
        self.home.write_state({"pids": self.supervisor.pids()})

terminal = Terminal()
sys.exit(supervise(Small(Home(place / "home"), ServerSettings(), socket.socket(), terminal, Supervisor(terminal.say))))
"""


def events(place: Path, what: str) -> list[tuple[str, int]]:
    """Who noted this so far, in order, with their process ids."""
    try:
        lines = [line.split() for line in (place / "events").read_text().splitlines()]
    except FileNotFoundError:
        return []
    return [(name, int(pid)) for name, noted, pid in lines if noted == what]


def pids_written_down(place: Path) -> dict[str, int]:
    """Who runs, by what is written for scripts; empty where nothing is."""
    try:
        return dict(json.loads((place / "home" / "up.json").read_text())["pids"])
    except FileNotFoundError:
        return {}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def supervising(place: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    with python("-c", PROGRAM, str(place), *names) as process:
        eventually(lambda: {name for name, _ in events(place, "began")} == set(names))
        yield process


def test_the_last_started_is_stopped_first(place: Path) -> None:
    with supervising(place, "store", "worker", "server") as process:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert [name for name, _ in events(place, "left")] == ["server", "worker", "store"]
        assert output.splitlines() == [
            "Stopping. ^C again kills.",
            "Stopping server …",
            "Stopping worker …",
            "Stopping store …",
            "Stopped.",
        ]
        assert process.returncode == 0


def test_a_second_signal_kills_what_does_not_hear_the_first(place: Path) -> None:
    with supervising(place, "store", "stubborn") as process:
        stubborn = dict(events(place, "began"))["stubborn"]
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["Stopping. ^C again kills.\n", "Stopping stubborn …\n"]
        assert not is_gone(stubborn)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert output.splitlines() == ["Killed what was left.", "Stopped."]
        assert process.returncode == 0
        assert is_gone(stubborn)
        assert events(place, "left") == []


def test_the_terminals_interrupt_reaches_only_the_parent(place: Path) -> None:
    with supervising(place, "store", "server") as process:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
        assert [name for name, _ in events(place, "left")] == ["server", "store"]


def test_the_end_of_a_store_ends_all_in_order_as_a_failure_whatever_is_asked_meanwhile(place: Path) -> None:
    with supervising(place, "store", "worker", "stubborn") as process:
        pids = dict(events(place, "began"))
        os.kill(pids["store"], signal.SIGKILL)
        assert process.stdout is not None
        assert process.stdout.readline() == "store ended with -9, so everything stops:\n"
        while process.stdout.readline() != "Stopping stubborn …\n":
            pass
        process.send_signal(signal.SIGTERM)
        os.kill(pids["stubborn"], signal.SIGKILL)
        output, _ = process.communicate(timeout=30)
        assert output.splitlines() == ["Stopping worker …", "Stopped."]
        assert process.returncode == 1
        assert [name for name, _ in events(place, "left")] == ["worker"]


def test_a_worker_that_ends_is_started_again(place: Path) -> None:
    with supervising(place, "store", "worker") as process:
        old = dict(events(place, "began"))["worker"]
        os.kill(old, signal.SIGKILL)
        eventually(lambda: [name for name, _ in events(place, "began")].count("worker") == 2)
        new = events(place, "began")[-1][1]
        eventually(lambda: pids_written_down(place).get("worker") == new)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert output.splitlines()[:2] == [
            f"worker ended with -9; starting it again in 0.5 s. Its log: {place / 'logs' / 'log'}",
            f"worker was started again (process {new}).",
        ]
        assert events(place, "left")[0] == ("worker", new)


def test_what_cannot_be_written_for_now_stops_nothing_and_is_written_later(place: Path) -> None:
    home, logs, away = place / "home", place / "logs", place / "away"
    with supervising(place, "store", "worker") as process:
        assert process.stdout is not None
        logs.rename(away)
        os.kill(dict(events(place, "began"))["worker"], signal.SIGKILL)
        assert process.stdout.readline().startswith("worker ended with -9; starting it again in 0.5 s.")
        refused = f"[Errno 2] No such file or directory: '{logs / 'log'}'"
        assert process.stdout.readline() == f"worker cannot be started ({refused}); trying again.\n"
        home.rename(place / "home away")
        away.rename(logs)
        eventually(lambda: [name for name, _ in events(place, "began")].count("worker") == 2)
        new = events(place, "began")[-1][1]
        assert process.stdout.readline() == f"worker was started again (process {new}).\n"
        refused = f"[Errno 2] No such file or directory: '{home / 'up.new'}'"
        assert process.stdout.readline() == f"What runs now cannot be written down ({refused}); trying again.\n"
        (place / "home away").rename(home)
        eventually(lambda: pids_written_down(place).get("worker") == new)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert output.splitlines()[0] == "Stopping. ^C again kills."
        assert (process.returncode, events(place, "left")[0]) == (0, ("worker", new))


def test_a_child_that_ends_at_once_is_started_again_after_longer_and_longer_waits(place: Path) -> None:
    with supervising(place, "brief") as process:
        assert process.stdout is not None
        waits: list[str] = []
        while len(waits) < 3:
            line = process.stdout.readline()
            if line.startswith("brief ended with 3"):
                waits.append(line.partition(" again in ")[2].split()[0])
        assert waits == ["0.5", "1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal; test_embedded has the pipe")
def test_a_killed_parent_takes_its_children_with_it(place: Path) -> None:
    with supervising(place, "store", "worker") as process:
        process.kill()
        eventually(lambda: {name for name, _ in events(place, "left")} == {"store", "worker"})


def test_a_reader_that_is_gone_spoils_neither_the_work_nor_the_exit_code() -> None:
    program = """
from server.terminal import Terminal
terminal = Terminal()
input()
for _ in range(3):
    terminal.say("nobody hears this")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": ""},  # what is still in the buffer at the exit is the point
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 0
