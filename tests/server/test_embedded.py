"""The embedded servers: started from nothing, after any kind of death, as root and as an ordinary user."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import redis

from server.embedded.postgres import Postgres, binaries
from server.embedded.processes import Child, ServerFailedError, working_in
from server.embedded.valkey import Valkey
from tests.support.facts import ROOT, eventually, give_to_ordinary_user, is_gone, modes, python

pytestmark = pytest.mark.faults


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a path short enough for sockets, closed to all other users."""
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        yield Path(name)


@pytest.fixture
def started() -> Iterator[list[Child]]:
    """What the test started, to be ended whatever it finds."""
    children: list[Child] = []
    yield children
    for child in children:
        child.kill()
        child.process.wait()


def postgres_in(place: Path, *, durable: bool = False) -> Postgres:
    return Postgres(place / "postgres", place / "run", place / "postgres.log", durable=durable)


def valkey_in(place: Path, *, durable: bool = True) -> Valkey:
    return Valkey(place / "valkey", place / "run", place / "valkey.log", durable=durable)


def ask(postgres: Postgres, statement: str) -> object:
    async def answer() -> object:
        connection = await asyncpg.connect(postgres.url().replace("+asyncpg", ""))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(answer())


def killed(child: Child) -> None:
    """Kill the server alone, as the kernel does when memory is short; its helpers stay behind."""
    os.kill(child.pid, signal.SIGKILL)
    child.process.wait()


def test_postgres_starts_from_nothing_and_is_version_18_in_utf_8(place: Path, started: list[Child]) -> None:
    postgres = postgres_in(place, durable=True)
    started.append(postgres.start())
    assert str(ask(postgres, "SHOW server_version_num")).startswith("18")
    assert ask(postgres, "SHOW server_encoding") == "UTF8"
    assert ask(postgres, "SHOW timezone") == "UTC"
    assert ask(postgres, "SHOW fsync") == "on"
    assert ask(postgres, "SHOW listen_addresses") == ""
    assert started[0].stop(patience_seconds=10) == 0


def test_nobody_else_can_reach_the_sockets(place: Path, started: list[Child]) -> None:
    started += [postgres_in(place).start(), valkey_in(place).start()]
    assert (place / "run").stat().st_mode & 0o777 == 0o700
    assert valkey_in(place).socket.stat().st_mode & 0o777 == 0o700
    assert (place / "run" / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700


def test_what_was_written_is_there_after_the_server_was_killed(place: Path, started: list[Child]) -> None:
    postgres = postgres_in(place)
    started.append(postgres.start())
    ask(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    killed(started[0])
    started.append(postgres.start())
    assert ask(postgres, "SELECT answer FROM kept") == 42


@contextmanager
def bystander(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works in this directory, as a shell or a backup may."""
    with subprocess.Popen(["/bin/sleep", "600"], cwd=directory) as process:
        try:
            yield process
        finally:
            process.kill()


def stale_pid_file(postgres: Postgres, pid: int) -> None:
    """Put another process's id where a killed server left its own."""
    path = postgres.data / "postmaster.pid"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(pid), *lines[1:]]) + "\n")
    lock = postgres.sockets / ".s.PGSQL.5432.lock"
    lock.write_text("\n".join([str(pid), *lock.read_text().splitlines()[1:]]) + "\n")


@pytest.mark.parametrize("kind", ["dead", "zombie", "another program's"])
def test_a_pid_file_that_names_another_process_does_not_block_the_start(
    place: Path, started: list[Child], kind: str
) -> None:
    postgres = postgres_in(place)
    started.append(postgres.start())
    killed(started[0])
    if kind == "another program's":
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    else:
        other = subprocess.Popen(["/bin/true"])
        eventually(lambda: is_gone(other.pid))  # a zombie until somebody waits for it
    if kind == "dead":
        other.wait()
    stale_pid_file(postgres, other.pid)

    started.append(postgres.start())

    assert ask(postgres, "SELECT 1") == 1
    if kind == "another program's":
        assert other.poll() is None, "the innocent process was ended"
        other.communicate()
    other.wait()


def test_a_server_that_an_earlier_run_left_running_is_ended_first(place: Path, started: list[Child]) -> None:
    postgres, valkey = postgres_in(place), valkey_in(place)
    started += [postgres.start(), valkey.start()]
    old = [child.pid for child in started]
    started += [postgres.start(), valkey.start()]
    assert [child.ended() for child in started] == [0, 0, None, None]
    assert ask(postgres, "SELECT 1") == 1
    assert not set(old) & {child.pid for child in started[2:]}


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found through /proc")
def test_a_killed_servers_busy_orphan_and_nobody_else_is_ended_before_the_data_is_opened_again(
    place: Path, started: list[Child]
) -> None:
    postgres = postgres_in(place)
    started.append(postgres.start())
    busy = "SELECT count(*) FROM generate_series(1, 1e12::bigint)"
    command = [str(binaries() / "psql"), "-h", str(postgres.sockets), "-U", "app", "holdfast", "-c", busy]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        eventually(lambda: ask(postgres, f"SELECT count(*) FROM pg_stat_activity WHERE query = '{busy}'"))
        killed(started[0])
        orphans = set(postgres.orphans())
        assert orphans
        with bystander(postgres.data) as other:
            assert other.pid in working_in(postgres.data)
            started.append(postgres.start())
            assert not orphans & set(postgres.orphans())
            assert other.poll() is None, "the innocent process was ended"
    assert ask(postgres, "SELECT 1") == 1


END_STRANGER = """import signal, sys
from server.embedded.processes import ServerFailedError, end_stranger
try:
    end_stranger(int(sys.argv[1]), farewell=signal.SIGTERM, is_it=lambda: True, patience_seconds=0)
except ServerFailedError as error:
    print(error)"""

# Only root can start a process of another user.
if os.geteuid() == 0:

    def test_another_users_process_is_named_and_left_alone() -> None:
        with bystander(ROOT) as other:
            with python("-c", END_STRANGER, str(other.pid), ordinary_user=True) as process:
                said, _ = process.communicate()
            left = f"process {other.pid}, left by an earlier run, is another user's"
            assert said.startswith(f"{left} and cannot be ended")
            assert other.poll() is None


def test_a_recovery_is_waited_for_as_long_as_it_takes(place: Path, started: list[Child]) -> None:
    postgres = postgres_in(place, durable=True)
    started.append(postgres.start())
    ask(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    killed(started[0])
    # Its recovery asks an archive first, which answers only when we let it.
    gate = place / "gate"
    os.mkfifo(gate, 0o666)
    (postgres.data / "recovery.signal").touch()
    with (postgres.data / "postgresql.conf").open("a") as settings:
        settings.write(f"restore_command = 'test -p {gate} && cat {gate}; false'\n")
    started.append(postgres.begin())
    eventually(lambda: postgres.status() == "starting")
    said: list[str] = []

    def heard(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            opened = os.open(gate, os.O_WRONLY)
            gate.unlink()
            os.close(opened)

    postgres.wait(started[1], patience_seconds=0.05, say=heard)

    assert (
        said[:3]
        == [f"postgres is still starting; after a kill it reads its log again. What it does: {postgres.log}"] * 3
    )
    assert ask(postgres, "SELECT answer FROM kept") == 42


def test_a_first_start_that_was_killed_begins_again(place: Path, started: list[Child]) -> None:
    postgres = postgres_in(place)
    half = place / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    started.append(postgres.start())
    assert ask(postgres, "SELECT 1") == 1
    assert not half.exists()


def test_a_socket_path_that_is_too_long_is_refused_by_name(place: Path) -> None:
    deep = place / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with pytest.raises(ServerFailedError, match="too long for a socket"):
        postgres_in(deep).start()
    assert list(deep.iterdir()) == []


def test_a_server_that_cannot_start_says_what_its_log_says(place: Path, started: list[Child]) -> None:
    postgres = postgres_in(place)
    started.append(postgres.start())
    started[0].stop(patience_seconds=10)
    (postgres.data / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServerFailedError, match=r'(?s)postgres ended with 1.*unrecognized.*"no_such_setting"'):
        postgres.start()


def test_valkey_keeps_what_it_was_given_over_a_kill_and_a_stale_socket(place: Path, started: list[Child]) -> None:
    valkey = valkey_in(place)
    started.append(valkey.start())
    with redis.Redis.from_url(valkey.url()) as client:
        client.set("kept", "42")
        client.config_set("appendfsync", "always")
        client.set("kept", "43")
    killed(started[0])
    assert valkey.socket.exists()
    started.append(valkey.start())
    with redis.Redis.from_url(valkey.url()) as client:
        assert client.get("kept") == b"43"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_existing_directories_keep_their_modes_and_owners(place: Path, started: list[Child]) -> None:
    before = modes(place, binaries() / "postgres")
    started += [postgres_in(place).start(), valkey_in(place).start()]
    assert modes(place, binaries() / "postgres") == before


PROGRAM = """
import sys, time
from pathlib import Path
import server.embedded.processes as processes
processes.HAS_PARENT_DEATH_SIGNAL = sys.argv[2] == "signal"
from server.embedded.postgres import Postgres
from server.embedded.valkey import Valkey
place = Path(sys.argv[1])
children = [
    Postgres(place / "postgres", place / "run", place / "postgres.log", durable=False).start(),
    Valkey(place / "valkey", place / "run", place / "valkey.log").start(),
]
print(*(child.pid for child in children), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("tie", ["signal", "pipe"])
def test_servers_end_with_a_parent_that_is_killed(place: Path, tie: str) -> None:
    if tie == "signal" and sys.platform != "linux":
        pytest.skip("only Linux has a parent-death signal")
    if tie == "pipe":
        give_to_ordinary_user(place)
    with python("-c", PROGRAM, str(place), tie, ordinary_user=tie == "pipe") as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(is_gone(pid) for pid in pids)
        parent.kill()
        for pid in pids:
            eventually(partial(is_gone, pid))


def test_they_start_for_an_ordinary_user_too(place: Path) -> None:
    user = give_to_ordinary_user(place)
    with python("-c", PROGRAM, str(place), "signal", ordinary_user=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {user}
    # They write until they are gone.
    for pid in pids:
        eventually(partial(is_gone, pid))


def test_an_ordinary_user_started_by_root_may_pass_directories_closed_to_it(place: Path) -> None:
    program = place / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    look = (
        "import os, sys; print(os.geteuid() == 0, os.access(sys.argv[1], os.R_OK | os.X_OK), open(sys.argv[1]).read())"
    )
    with python("-c", look, str(program), ordinary_user=True) as process:
        assert process.communicate()[0].split() == ["False", "True", "#!/bin/sh"]


def test_without_a_wheel_it_says_which_settings_name_other_servers() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from server.embedded.postgres import binaries; binaries()"
    )
    said = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert "There is no ready-made PostgreSQL for this platform" in said.stderr
    assert "DATABASE_URL=postgresql://" in said.stderr
    assert "REDIS_URL=redis://" in said.stderr
