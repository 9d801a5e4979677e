"""`python -m server up`, the whole of it: real stores, a worker and the server, on a directory of the test's own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import EACCES, ENOSPC
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.errors import SetupError
from server.attached import attach
from server.embedded.postgres import binaries
from server.embedded.processes import processes_with
from server.home import Home
from tests.server.test_cli import command
from tests.support.facts import eventually, give_to_ordinary_user, is_gone, modes, python
from tests.support.servers import Servers

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

PEOPLE = [
    "admin", "editor", "teacher", "co_teacher", "learner", "other_learner", "outsider", "team_admin", "team_member",
    "service",
]  # fmt: skip
NO_SETTINGS = {"DATABASE_URL": "", "REDIS_URL": "", "SERVER_HOST": "127.0.0.1", "SERVER_PORT": "0"}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory with a short path, closed to all other users."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        yield Path(name)


class Up:
    """A running `up`: its process, its directory, and what it says in up.json."""

    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process = process
        self.data = data

    @property
    def state(self) -> dict[str, Any]:
        """What up.json says; empty before it is ready and after its stop."""
        try:
            return dict(json.loads((self.data / "up.json").read_text()))
        except FileNotFoundError:
            return {}

    @property
    def pids(self) -> dict[str, int]:
        """Who runs, by name."""
        return dict(self.state.get("pids", {}))

    def ready(self) -> "Up":
        """Wait for up.json; show what it printed where it ends instead."""

        def fact() -> bool:
            if self.process.poll() is not None and self.process.stdout is not None:
                raise AssertionError(self.process.stdout.read())
            return bool(self.state)

        eventually(fact, seconds=90)
        return self

    def ask(self, query: str, *, who: str) -> Any:
        """A GraphQL operation by one of the demo people."""
        state = self.state
        headers = {"Authorization": f"Bearer {state['tokens'][who]}"}
        return httpx.post(f"{state['url']}/graphql", json={"query": query}, headers=headers, timeout=20).json()

    def stop(self, sign: signal.Signals = signal.SIGINT) -> str:
        """Ask it to stop; everything that it printed."""
        self.process.send_signal(sign)
        return self.end()

    def end(self) -> str:
        """Wait for its end; everything that it printed."""
        output, _ = self.process.communicate(timeout=90)
        return output


@contextmanager
def up(data: Path, *, ordinary_user: bool = False, **settings: str) -> Iterator[Up]:
    """Start it; whatever the test leaves running is killed."""
    environment = NO_SETTINGS | {"HOLDFAST_DATA": str(data), "COLUMNS": "200"} | settings
    with ExitStack() as stack:
        process = stack.enter_context(
            python("-m", "server", "up", environment=environment, ordinary_user=ordinary_user)
        )
        try:
            yield Up(process, data)
        finally:
            process.kill()
            process.wait()
            if process.returncode != 2:  # one that was refused has no children; another's may be there
                for pid in processes_with(f"holdfast={data}"):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[Up]:
    """One that several tests look at, and leave as it was."""
    with up(place / "data") as started:
        yield started.ready()


def test_it_says_where_everything_is_and_lets_everybody_of_the_demo_in(running: Up) -> None:
    state = running.state
    assert sorted(state) == ["database_url", "pids", "redis_url", "tokens", "url"]
    assert list(state["pids"]) == ["up", "postgres", "valkey", "worker", "server"]
    assert not any(is_gone(pid) for pid in state["pids"].values())
    assert sorted(state["tokens"]) == sorted(PEOPLE)
    assert httpx.get(f"{state['url']}/readyz", timeout=30).status_code == 200
    for who in PEOPLE:
        assert running.ask("{ viewer { user { name } } }", who=who)["data"]["viewer"]["user"]["name"]


def test_only_its_owner_may_read_the_tokens(running: Up) -> None:
    for name in ("up.json", "demo.json"):
        assert stat.S_IMODE((running.data / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(running.data.stat().st_mode) == 0o700


def test_commands_that_look_after_it_find_it_and_leave_its_tokens_alone(
    running: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(running.data)
    done = {name: command(name, HOLDFAST_DATA=data) for name in ("demo", "doctor")}
    said = f"Using the stores of the `up` that runs on {data}.\n"
    assert [(each.returncode, each.stderr) for each in done.values()] == [(0, said)] * 2
    assert json.loads(done["demo"].stdout) == running.state["tokens"]
    assert running.ask("{ viewer { roles } }", who="admin")["data"]["viewer"]["roles"] == ["ADMIN"]
    # One variable alone means another deployment, whose setup is not whole.
    for name, value in {"DATABASE_URL": "", "REDIS_URL": "redis://elsewhere/0", "HOLDFAST_DATA": data}.items():
        monkeypatch.setenv(name, value)
    attach()
    assert (os.environ["DATABASE_URL"], os.environ["REDIS_URL"]) == ("", "redis://elsewhere/0")


def test_a_second_one_on_the_same_directory_says_so_and_ends(running: Up) -> None:
    before = running.state
    with up(running.data) as second:
        output = second.end()
        assert second.process.returncode == 2
    assert output == f"It runs already on {running.data}: {before['url']} (process {before['pids']['up']}).\n"
    assert running.state == before
    assert httpx.get(f"{before['url']}/readyz", timeout=30).status_code == 200


@pytest.mark.parametrize("name", ["worker", "server"])
def test_a_killed_worker_or_server_is_started_again_at_the_same_address(running: Up, name: str) -> None:
    before = running.state
    os.kill(before["pids"][name], signal.SIGKILL)
    eventually(lambda: running.pids.get(name) not in {None, before["pids"][name]})
    after = running.state
    assert {**after, "pids": None} == {**before, "pids": None}
    assert {**after["pids"], name: None} == {**before["pids"], name: None}
    # The parent holds the socket: a request that comes before the new server is up waits for it.
    assert httpx.get(f"{after['url']}/livez", timeout=30).status_code == 200


def test_one_that_was_interrupted_leaves_nothing_behind_and_starts_again_with_its_data(place: Path) -> None:
    data = place / "twice"
    before = modes(place, binaries() / "postgres")
    with up(data) as first:
        tokens = first.ready().state["tokens"]
        pids = first.pids
        output = first.stop(signal.SIGINT)
        assert first.process.returncode == 0
    assert [line for line in output.splitlines() if line.startswith("Stop")] == [
        "Stopping. ^C again kills.",
        "Stopping server …",
        "Stopping worker …",
        "Stopping valkey …",
        "Stopping postgres …",
        "Stopped.",
    ]
    assert all(is_gone(pid) for pid in pids.values())
    assert not (data / "up.json").exists()
    assert "/graphiql" in output
    assert all(token in output for token in tokens.values())

    with up(data) as again:
        assert again.ready().state["tokens"] == tokens
        assert again.ask("{ viewer { roles } }", who="admin")["data"]["viewer"]["roles"] == ["ADMIN"]
        again.stop(signal.SIGTERM)
        assert again.process.returncode == 0
    assert modes(place, binaries() / "postgres") == before


def test_a_closed_terminal_stops_it_in_order(place: Path) -> None:
    with up(place / "closed") as started:
        pids = started.ready().pids
        assert started.process.stdout is not None
        started.process.stdout.close()  # from here on nobody reads what it says
        started.process.send_signal(signal.SIGHUP)
        assert started.process.wait(timeout=90) == 0
    assert all(is_gone(pid) for pid in pids.values())
    assert not (place / "closed" / "up.json").exists()


def test_a_killed_one_takes_its_children_along_and_does_not_block_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = place / "killed"
    with up(data) as first:
        pids = first.ready().pids
        first.process.kill()
        for pid in pids.values():
            eventually(partial(is_gone, pid), seconds=40)
        assert (data / "up.json").exists()
    for name, value in {"DATABASE_URL": "", "REDIS_URL": "", "HOLDFAST_DATA": str(data)}.items():
        monkeypatch.setenv(name, value)
    attach()
    assert (os.environ["DATABASE_URL"], capsys.readouterr().err) == ("", "")
    with up(data) as again:
        eventually(lambda: again.pids.get("up") == again.process.pid, seconds=90)
        assert again.ask("{ viewer { roles } }", who="admin")["data"]["viewer"]["roles"] == ["ADMIN"]
        again.stop()


def test_the_end_of_a_store_ends_all_of_it(place: Path) -> None:
    with up(place / "store") as started:
        pids = started.ready().pids
        os.kill(pids["valkey"], signal.SIGKILL)
        output = started.end()
        assert started.process.returncode == 1
    assert "valkey ended with -9, so everything stops:" in output
    assert all(is_gone(pid) for pid in pids.values())


def test_a_taken_port_is_named_before_anything_is_started(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with up(place / "taken", SERVER_PORT=str(port)) as refused:
            output = refused.end()
            assert refused.process.returncode == 2
    assert output.startswith(f"Port {port} on 127.0.0.1 is taken by another program.")
    assert not (place / "taken" / "postgres").exists()


def test_a_wrong_setting_stops_it_before_anything_is_started(place: Path) -> None:
    with up(place / "wrong", SERVER_PORT="-1") as refused:
        output = refused.end()
        assert refused.process.returncode == 2
    assert output.startswith("SERVER_PORT='-1': should be greater than or equal to 0.")
    assert not (place / "wrong").exists()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("file", "file: File exists"),
        ("file/below", "file/below: Not a directory"),
        ("odd", "odd/up.lock: Is a directory"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused_with_what_would_be_right(
    tmp_path: Path, name: str, wrong: str
) -> None:
    (tmp_path / "file").touch()
    for made in ("logs", "up.lock"):
        (tmp_path / "odd" / made).mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SetupError) as refused, Home(tmp_path / name).locked():
        pass
    assert str(refused.value) == (
        f"HOLDFAST_DATA={tmp_path / name} cannot be used: {tmp_path / wrong}. "
        "Set it to a directory that this user may write in, or where such a one can be made."
    )
    assert set(tmp_path.rglob("*")) == before


def test_what_root_left_in_the_directory_and_a_full_disk_are_told_apart(tmp_path: Path) -> None:
    home = Home(tmp_path)
    closed, full = (home.refusal(OSError(number, os.strerror(number), "up.lock")) for number in (EACCES, ENOSPC))
    assert "up.lock: Permission denied. It must be this user's, with all that is in it." in closed
    assert f"`sudo chown -R {os.geteuid()} {tmp_path}`" in closed
    assert full.endswith("up.lock: No space left on device. Make room there and start again; what was written is kept.")


def test_with_both_urls_set_it_starts_no_store(place: Path, servers: Servers, redis_url: str) -> None:
    with (
        servers.fresh_database(migrated=False) as database_url,
        up(place / "urls", DATABASE_URL=database_url, REDIS_URL=redis_url) as started,
    ):
        assert list(started.ready().pids) == ["up", "worker", "server"]
        assert started.state["database_url"] == database_url
        assert started.state["redis_url"] == redis_url
        assert started.ask("{ viewer { roles } }", who="admin")["data"]["viewer"]["roles"] == ["ADMIN"]
        started.stop()
    assert not (place / "urls" / "postgres").exists()
    assert not (place / "urls" / "valkey").exists()


def test_an_unreachable_database_stops_it_with_the_address(place: Path, redis_url: str) -> None:
    nowhere = "postgresql://app:secret@127.0.0.1:1/x"
    with up(place / "unreachable", DATABASE_URL=nowhere, REDIS_URL=redis_url) as refused:
        output = refused.end()
        assert refused.process.returncode == 1
    assert "No connection to postgresql+asyncpg://app:***@127.0.0.1:1/x" in output
    assert "Traceback" not in output


def test_a_directory_with_a_long_path_keeps_its_sockets_elsewhere(place: Path) -> None:
    data = place / ("d" * 50) / ("e" * 50)
    with up(data) as started:
        sockets = Path(started.ready().state["database_url"].partition("?host=")[2])
        assert data not in sockets.parents
        assert stat.S_IMODE(sockets.parent.stat().st_mode) == 0o700
        started.stop()


def test_it_starts_for_an_ordinary_user_too() -> None:
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        user = give_to_ordinary_user(Path(name))
        with up(Path(name) / "data", ordinary_user=True) as started:
            pids = started.ready().pids
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids.values()} == {user}
            started.stop()
            assert started.process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_left_by_a_killed_run_is_ended_before_the_next_begins(place: Path) -> None:
    data = place / "leftover"
    stuck = """import signal, time
signal.signal(signal.SIGTERM, lambda *_: exit(7))
print("on", flush=True)
time.sleep(600)"""
    with python("-X", f"holdfast={data}", "-c", stuck) as leftover:
        assert leftover.stdout is not None
        assert leftover.stdout.readline() == "on\n"
        with up(data, SERVER_PORT="0") as started:
            eventually(lambda: leftover.poll() is not None)
            assert leftover.returncode == 7
            started.stop()
