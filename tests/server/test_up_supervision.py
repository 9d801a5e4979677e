"""Supervision, with small real processes in the place of the stores, the worker and the server."""

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

# Four children that write what happens to them into one file. A child called "stubborn" does not hear SIGTERM,
# "brief" ends at once, and "store" may end by itself.
PROGRAM = """
import signal, sys
from pathlib import Path
from server.embedded.processes import Program, clean_environment, start
from server.supervision import Signals, StopAskedError, StoreEndedError, Supervisor

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
say = lambda line: print(line, flush=True)
supervisor = Supervisor(say)
with Signals().handled() as ended:
    try:
        for name in names:
            program = Program(
                name, [sys.executable, str(place / "child.py"), name, str(place / "events")], clean_environment(),
                place, place / "log",
            )
            supervisor.add(start(program), restarts=name != "store", patience_seconds=60)
        supervisor.watch(ended, changed=lambda: say("changed"))
    except StopAskedError:
        say("asked to stop")
    except StoreEndedError as error:
        say(str(error))
    finally:
        supervisor.stop()
say("over")
"""


def events(place: Path, what: str) -> list[tuple[str, int]]:
    """Who noted this so far, in order, with their process ids."""
    try:
        lines = [line.split() for line in (place / "events").read_text().splitlines()]
    except FileNotFoundError:
        return []
    return [(name, int(pid)) for name, noted, pid in lines if noted == what]


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
            "asked to stop",
            "Stopping server …",
            "Stopping worker …",
            "Stopping store …",
            "over",
        ]


def test_a_second_signal_kills_what_does_not_hear_the_first(place: Path) -> None:
    with supervising(place, "store", "stubborn") as process:
        stubborn = dict(events(place, "began"))["stubborn"]
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["asked to stop\n", "Stopping stubborn …\n"]
        assert not is_gone(stubborn)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert output.splitlines() == ["Killing what is left.", "over"]
        assert is_gone(stubborn)
        assert events(place, "left") == []


def test_the_terminals_interrupt_reaches_only_the_parent(place: Path) -> None:
    with supervising(place, "store", "server") as process:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
        assert [name for name, _ in events(place, "left")] == ["server", "store"]


def test_the_end_of_a_store_ends_all(place: Path) -> None:
    with supervising(place, "store", "worker") as process:
        os.kill(dict(events(place, "began"))["store"], signal.SIGKILL)
        output, _ = process.communicate(timeout=30)
        assert "store ended with -9, so everything stops:" in output
        assert [name for name, _ in events(place, "left")] == ["worker"]


def test_a_worker_that_ends_is_started_again(place: Path) -> None:
    with supervising(place, "store", "worker") as process:
        old = dict(events(place, "began"))["worker"]
        os.kill(old, signal.SIGKILL)
        eventually(lambda: [name for name, _ in events(place, "began")].count("worker") == 2)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        new = events(place, "began")[-1][1]
        assert output.splitlines()[:3] == [
            f"worker ended with -9; starting it again in 0.5 s. Its log: {place / 'log'}",
            f"worker was started again (process {new}).",
            "changed",
        ]
        assert events(place, "left")[0] == ("worker", new)


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
