"""`python -m server …` as an operator uses it: real processes, and what they say when something is wrong."""

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.facts import ROOT
from tests.support.servers import Servers

NOWHERE = {"DATABASE_URL": "postgresql://app:secret@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Only the given settings are set."""
    settings = ("DATABASE_", "REDIS_", "SERVER_", "HOLDFAST_", "EDGE_", "JWT_", "LIMIT_", "WORKER_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env=inherited | {"COLUMNS": "200", "NO_COLOR": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def ask(url: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
    """Ask the database something over a connection of our own."""

    async def answer() -> Any:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await question(connection)
        finally:
            await connection.close()

    return asyncio.run(answer())


def test_a_python_without_the_packages_is_told_which_one_has_them() -> None:
    # Without `site` it sees no installed package, as the system's own sees none of ours.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "server", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(".venv/bin/python -m server …\n")
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_command_and_what_it_does() -> None:
    said = command("--help").stdout
    for name in ("up", "serve", "worker", "migrate", "demo", "token", "queue", "schema", "settings", "doctor"):
        assert f" {name} " in said
    assert "prepare" not in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"SERVER_PORT": "eighty"},
            (
                "SERVER_PORT='eighty': should be a valid integer, unable to parse string as an integer. "
                "Right would be: a whole number, 0 to 65535 (the port to listen on; 0: any free one)."
            ),
        ),
        (
            {"SERVER_PORT": "70000"},
            (
                "SERVER_PORT='70000': should be less than or equal to 65535. "
                "Right would be: a whole number, 0 to 65535 (the port to listen on; 0: any free one)."
            ),
        ),
        (
            {"SERVER_PORT": "0", "SERVER_HOST": "no.such.host.invalid"},
            "SERVER_HOST='no.such.host.invalid' is no name or address that this machine knows",
        ),
        (
            {"SERVER_PORT": "0", "DATABASE_URL": "mysql://app:secret@db/x"},
            "DATABASE_URL='mysql://app:***@db/x': must be a URL such as postgresql://",
        ),
        ({"SERVER_PORT": "0", "DATABASE_URL": "postgresql:///x"}, "REDIS_URL is not set."),
        (
            {"SERVER_PORT": "0", "EDGE_TRUSTED_DOCUMENTS": "enforce", "EDGE_TRUSTED_DOCUMENTS_FILE": "Makefile"}
            | NOWHERE,
            "EDGE_TRUSTED_DOCUMENTS_FILE=Makefile: it is no JSON: ",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name_its_value_and_what_would_be_right(
    settings: dict[str, str], said: str
) -> None:
    done = command("serve", **settings)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_taken_port_is_named(servers: Servers) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = command("serve", SERVER_PORT=port, **NOWHERE)
    assert done.returncode == 2
    assert f"Port {port} on 127.0.0.1 is taken by another program. Set SERVER_PORT to another" in done.stderr


def test_migrate_brings_an_empty_database_to_the_newest_schema_and_again_changes_nothing(servers: Servers) -> None:
    with servers.fresh_database(migrated=False) as url:
        first = command("migrate", DATABASE_URL=url)
        tables = "SELECT count(*) FROM pg_class"
        counted = ask(url, lambda connection: connection.fetchval(tables))
        second = command("migrate", DATABASE_URL=url)
        assert ask(url, lambda connection: connection.fetchval(tables)) == counted
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout
    assert first.stdout.startswith("The database is at revision ")


@pytest.mark.parametrize(
    "arguments", [["migrate"], ["worker"], ["demo"], ["token", "ada@example.org"], ["queue", "list"]]
)
def test_a_command_without_a_database_says_where_it_looked(arguments: list[str]) -> None:
    done = command(*arguments, **NOWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "No connection to postgresql+asyncpg://app:***@127.0.0.1:1/x: [Errno 111] Connect call failed ('127.0.0.1', 1)."
    ]


def test_what_needs_the_schema_asks_for_migrations_and_migrate_goes_only_forward(
    servers: Servers, redis_url: str
) -> None:
    versions = "SELECT version_num FROM alembic_version"
    with servers.fresh_database(migrated=False) as url:
        stores = {"DATABASE_URL": url, "REDIS_URL": redis_url}
        for arguments in (["worker"], ["token", "ada@example.org", "--create", "ADMIN"]):
            done = command(*arguments, **stores)
            assert done.returncode == 2
            assert done.stderr == "The database is empty. Run `python -m server migrate`.\n"
        unknown = command("migrate", "--to", "nope", DATABASE_URL=url)
        assert unknown.returncode == 2
        assert unknown.stderr.startswith("There is no revision 'nope'. Right would be: head, or one of 0001 to 00")
        assert command("migrate", "--to", "0003", DATABASE_URL=url).stdout.startswith(
            "The database is at revision 0003; the newest is 00"
        )
        back = command("migrate", "--to", "0002", DATABASE_URL=url)
        assert back.returncode == 2
        assert back.stderr.startswith("The database is at revision 0003, which is past 0002. Nothing was changed: ")
        assert ask(url, lambda connection: connection.fetchval(versions)) == "0003"
        ask(url, lambda connection: connection.execute("UPDATE alembic_version SET version_num = '9999'"))
        newer = command("migrate", DATABASE_URL=url)
        assert newer.returncode == 2
        assert newer.stderr.startswith("The database is at revision 9999, which a newer version of this program has ")
        assert ask(url, lambda connection: connection.fetchval(versions)) == "9999"


# --- doctor ---------------------------------------------------------------------------------------------------------


def findings(said: str) -> dict[str, str]:
    """Each subject's state."""
    rows = [line.split() for line in said.splitlines()]
    return {row[1]: row[0] for row in rows if len(row) > 1 and row[0] in {"ok", "doubtful", "wrong"}}


def test_doctor_says_what_cannot_be_reached_and_what_to_do() -> None:
    done = command("doctor", **NOWHERE)
    assert done.returncode == 1
    assert findings(done.stdout) == {"database": "wrong", "valkey": "wrong"}
    assert "Set REDIS_URL, or start the server there." in done.stdout
    assert "secret" not in done.stdout


def test_doctor_asks_for_migrations_on_an_empty_database(servers: Servers, redis_url: str) -> None:
    with servers.fresh_database(migrated=False) as url:
        done = command("doctor", DATABASE_URL=url, REDIS_URL=redis_url)
    assert done.returncode == 1
    assert findings(done.stdout) == {
        "version": "ok",
        "clock": "ok",
        "pooling": "ok",
        "migrations": "wrong",
        "valkey": "ok",
    }
    assert "Run `python -m server migrate`." in done.stdout


def test_doctor_misses_the_worker_where_none_runs(database_url: str, redis_url: str) -> None:
    done = command("doctor", DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert done.returncode == 1
    assert findings(done.stdout) == {
        "version": "ok",
        "clock": "ok",
        "pooling": "ok",
        "migrations": "ok",
        "workers": "wrong",
        "queue": "ok",
        "valkey": "ok",
    }


# --- token ----------------------------------------------------------------------------------------------------------

PEOPLE = """
INSERT INTO users (name, email, roles) VALUES
  ('Ada', 'ada@example.org', '{ADMIN}'), ('Sam', 'sam@example.org', '{MEMBER}'), ('Sam', 'sam2@example.org', '{MEMBER}')
"""
OWNER = """
SELECT users.email, api_tokens.name, api_tokens.roles::text[] AS roles,
       extract(day FROM api_tokens.expires_at - now())::int AS days
  FROM api_tokens JOIN users ON users.id = user_id WHERE token_hash = $1
"""


def owner_of(url: str, secret: str) -> dict[str, Any] | None:
    hashed = hashlib.sha256(secret.strip().encode()).digest()
    row = ask(url, lambda connection: connection.fetchrow(OWNER, hashed))
    return None if row is None else dict(row)


@pytest.mark.parametrize("who", ["ada@example.org", "ADA@example.org", "ada"])
def test_token_lets_a_user_in_by_address_or_name(database_url: str, who: str) -> None:
    ask(database_url, lambda connection: connection.execute(PEOPLE))
    done = command("token", who, "--days", "0", DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    assert owner_of(database_url, done.stdout) == {
        "email": "ada@example.org",
        "name": "command line",
        "roles": ["ADMIN"],
        "days": None,
    }


def test_token_makes_the_first_admin_of_a_new_deployment(database_url: str) -> None:
    done = command("token", "first@example.org", "--create", "ADMIN", DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    owner = owner_of(database_url, done.stdout)
    assert owner is not None
    assert (owner["email"], owner["roles"], owner["days"]) == ("first@example.org", ["ADMIN"], 29)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody@example.org"], "There is no active user with the address or name 'nobody@example.org'."),
        (["sam"], "Several users are called 'sam'; name one by address: sam2@example.org, sam@example.org."),
        (["x@example.org", "--create", "KING"], "--create KING: must be one of ADMIN, EDITOR, MEMBER, SERVICE."),
        (["notmail", "--create", "MEMBER"], "An e-mail address looks like name@example.org and has at most "),
        (["ada", "--name", " "], "`name` must have 1 to 255 characters; it has 0."),
    ],
)
def test_a_token_that_cannot_be_made_is_refused_in_one_line_and_nothing_is_written(
    database_url: str, arguments: list[str], said: str
) -> None:
    ask(database_url, lambda connection: connection.execute(PEOPLE))
    done = command("token", *arguments, DATABASE_URL=database_url)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM api_tokens)"
    assert tuple(ask(database_url, lambda connection: connection.fetchrow(counts))) == (3, 0)


def test_a_database_with_people_of_its_own_gets_no_demo_data(database_url: str, redis_url: str, tmp_path: Path) -> None:
    ask(database_url, lambda connection: connection.execute(PEOPLE))
    tokens = tmp_path / "demo.json"
    done = command("prepare", "--tokens", str(tokens), DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert done.returncode == 0, done.stderr
    assert json.loads(tokens.read_text()) == {}
    counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM api_tokens), (SELECT count(*) FROM courses)"
    assert tuple(ask(database_url, lambda connection: connection.fetchrow(counts))) == (3, 0, 0)


def test_the_committed_schema_is_the_one_in_the_code() -> None:
    done = command("schema", "--check")
    assert done.returncode == 0, done.stderr
