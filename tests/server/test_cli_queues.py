"""`python -m server queue …` and what `doctor` says of queues."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis as sync_redis
from typer.testing import CliRunner

import server.commands.queue as commands
from db.environment import WRONG_SETUP, SetupError
from db.errors import Refused
from db.settings import DatabaseSettings, RedisSettings
from server.doctor import Finding, State, examine
from tests.server.test_cli import ask

PREPARED = """
INSERT INTO users (name, email, roles) VALUES ('Ada', 'ada@example.org', '{ADMIN}');
INSERT INTO jobs (
    kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, enqueued_at, scheduled_at, last_seq
)
SELECT 'report.make', 'bulk', 'queued', 5, '{}', 1, 5, 900, now(), now() - interval '3 minutes', 1
FROM generate_series(1, 3)
"""
WORKER = """
INSERT INTO workers (name, queues, kinds, slots, started_at, seen_at)
VALUES ('w', ARRAY['default', 'bulk'], $1::text[], 10, now(), now())
"""
ROW = "SELECT paused_at IS NOT NULL AS paused, pause_reason, max_running, max_running_per_key FROM queues"


@pytest.fixture
def stores(database_url: str, redis_url: str) -> dict[str, str]:
    ask(database_url, lambda connection: connection.execute(PREPARED))
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


@dataclass(frozen=True)
class Done:
    """What a command said, and its exit code."""

    code: int
    said: str


Queue = Callable[..., Done]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch, stores: dict[str, str]) -> Queue:
    """Run `queue …` in this process, as `python -m server` does."""
    monkeypatch.setattr(commands, "configure_logging", lambda **_: None)

    def run(*arguments: str, **settings: str) -> Done:
        done = CliRunner().invoke(commands.queue, list(arguments), env=stores | settings)
        if isinstance(done.exception, SetupError | Refused):
            return Done(WRONG_SETUP, str(done.exception))
        return Done(done.exit_code, done.output)

    return run


async def examined(stores: dict[str, str]) -> dict[str, Finding]:
    """What doctor finds, by subject."""
    found = await examine(DatabaseSettings(url=stores["DATABASE_URL"]), RedisSettings(url=stores["REDIS_URL"]))
    return {each.subject: each for each in found}


def rows(stores: dict[str, str]) -> list[dict[str, Any]]:
    found = ask(stores["DATABASE_URL"], lambda connection: connection.fetch(ROW))
    return [dict(row) for row in found]


def test_list_shows_every_queue_on_one_line_of_an_ordinary_terminal(queue: Queue, stores: dict[str, str]) -> None:
    pausing = """INSERT INTO queues (name, max_running, paused_at, paused_by, pause_reason)
        VALUES ('bulk', 4, '2026-03-01T12:00Z', (SELECT id FROM users), 'The [store] is down.')"""
    ask(stores["DATABASE_URL"], lambda connection: connection.execute(pausing))
    done = queue("list")
    assert done.code == 0, done.said
    assert [line.split() for line in done.said.splitlines()[:3]] == [
        ["queue", "state", "queued", "oldest", "later", "running", "workers", "limit", "key", "done", "failed"],
        ["bulk", "paused", "3", "3", "min", "0", "0", "0", "4", "-", "0", "0"],
        ["default", "open", "0", "-", "0", "0", "0", "-", "-", "0", "0"],
    ]
    assert done.said.splitlines()[3:] == ["bulk is paused since 2026-03-01 12:00 UTC by Ada: The [store] is down."]


def test_pause_and_resume_say_whether_they_changed_anything_and_resuming_tells_the_dispatchers(
    queue: Queue,
    stores: dict[str, str],
) -> None:
    assert queue("pause", "bulk", "--reason", "Lunch.").said == "bulk is paused.\n"
    assert queue("pause", "bulk").said == "bulk was paused already.\n"
    assert queue("pause", "bulk", "--reason", "Supper.").said.startswith(
        "bulk was paused already, and its first reason stays: "
    )
    paused = {"paused": True, "pause_reason": "Lunch.", "max_running": None, "max_running_per_key": None}
    assert rows(stores) == [paused]
    with sync_redis.Redis.from_url(stores["REDIS_URL"]) as client, client.pubsub() as listening:
        listening.psubscribe("*")
        assert listening.get_message(timeout=5)["type"] == "psubscribe"
        assert queue("resume", "bulk").said == "bulk goes on.\n"
        assert listening.get_message(timeout=5)["type"] == "pmessage"
    assert queue("resume", "bulk").said == "bulk was not paused.\n"
    assert rows(stores) == [paused | {"paused": False, "pause_reason": None}]


def test_without_redis_a_queue_is_resumed_all_the_same(queue: Queue, stores: dict[str, str]) -> None:
    queue("pause", "bulk")
    done = queue("resume", "bulk", REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.code, done.said.splitlines()[-1]) == (0, "bulk goes on.")
    assert rows(stores)[0]["paused"] is False


def test_a_limit_that_is_not_named_stays_as_it_is(queue: Queue, stores: dict[str, str]) -> None:
    for arguments, said, limits in (
        (["--running", "4"], "at most 4 at once, any number of one concurrency key", (4, None)),
        (["--per-key", "2"], "at most 4 at once, at most 2 of one concurrency key", (4, 2)),
        (["--none", "--running", "7"], "at most 7 at once, any number of one concurrency key", (7, None)),
        (["--none"], "any number at once, any number of one concurrency key", (None, None)),
    ):
        done = queue("limit", "bulk", *arguments)
        assert (done.code, done.said) == (0, f"bulk: {said}.\n")
        assert [(row["max_running"], row["max_running_per_key"]) for row in rows(stores)] == [limits]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pause", "blk"], "There is no queue of this name. There are: bulk, default."),
        (["resume", "blk"], "There is no queue of this name. There are: bulk, default."),
        (["limit", "blk", "--running", "1"], "There is no queue of this name. There are: bulk, default."),
        (["limit", "bulk"], "Nothing to set: give --running N, --per-key N, or --none to take the limits away."),
        (["limit", "bulk", "--running", "0"], "greater than or equal to 1"),
        (["pause", "bulk", "--reason", "x" * 501], "`reason` takes at most 500 characters; these are 501."),
    ],
)
def test_what_cannot_be_set_is_refused_in_words(
    queue: Queue, stores: dict[str, str], arguments: list[str], said: str
) -> None:
    done = queue(*arguments)
    assert done.code == 2
    assert said in done.said
    assert rows(stores) == []


# --- doctor -----------------------------------------------------------------------------------------------------------


def prepare(stores: dict[str, str], *statements: str, kinds: tuple[str, ...] = ("report.make",)) -> None:
    """A worker that knows these kinds, and whatever else there is."""

    async def execute(connection: Any) -> None:
        await connection.execute(WORKER, kinds)
        for statement in statements:
            await connection.execute(statement)

    ask(stores["DATABASE_URL"], execute)


def test_doctor_names_the_queue_that_waits_the_kinds_that_nobody_knows_and_what_to_do(stores: dict[str, str]) -> None:
    prepare(stores, kinds=("plan.publish",))
    found = asyncio.run(examined(stores))
    assert (found["workers"].state, found["workers"].found) == (State.WELL, "1 seen in the last 15 s, 10 slots")
    assert found["queue"].state is State.DOUBTFUL
    assert found["queue"].found.startswith("3 jobs are due, the oldest for 18")
    assert found["queue"].found.endswith(" s, in bulk.")
    assert found["kinds"] == Finding(
        "kinds",
        State.WRONG,
        "Jobs wait that no worker knows: report.make (3).",
        "Start workers of the version that knows them, or cancel the jobs.",
    )


def test_doctor_is_content_where_everything_is_known_and_flows(stores: dict[str, str]) -> None:
    prepare(stores, "UPDATE jobs SET scheduled_at = now()")
    assert {each.state for each in asyncio.run(examined(stores)).values()} == {State.WELL}


def test_doctor_tells_what_is_paused_and_what_was_put_aside(stores: dict[str, str]) -> None:
    prepare(
        stores,
        "INSERT INTO queues (name, paused_at, pause_reason) VALUES ('bulk', '2026-03-01T12:00Z', 'Lunch.')",
        """INSERT INTO jobs (kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds,
            enqueued_at, scheduled_at, finished_at, error, last_seq)
        VALUES ('k', 'default', 'quarantined', 5, '{}', 1, 5, 900, now(), now(), now(), '{}', 1)""",
    )
    found = asyncio.run(examined(stores))
    # What a paused queue keeps waiting is no delay.
    assert (found["queue"].state, found["queue"].found) == (State.WELL, "0 jobs are due, the oldest for 0 s")
    assert found["paused"] == Finding(
        "paused",
        State.DOUBTFUL,
        "bulk is paused since 2026-03-01 12:00 UTC (Lunch.); 3 jobs wait in it.",
        "`python -m server queue resume bulk` goes on with it.",
    )
    assert found["quarantine"].found == "1 jobs were put aside after killing their workers."


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        (
            """INSERT INTO queues (name, max_running) VALUES ('bulk', 1);
            UPDATE jobs SET state = 'running', worker_id = uuidv7(), timeout_at = now(), started_at = now()
            WHERE id = (SELECT id FROM jobs LIMIT 1)""",
            "Its limit of 1 is used up: `python -m server queue limit bulk` raises it.",
        ),
        ("UPDATE workers SET queues = '{default}'", "No worker takes jobs from bulk: start one whose kinds are in it."),
        ("SELECT 1", "Start more workers, or see what they are busy with: `python -m server queue list`."),
    ],
    ids=["limit", "nobody serves it", "too few"],
)
def test_doctor_says_why_a_queue_waits(stores: dict[str, str], state: str, advice: str) -> None:
    prepare(stores, state)
    assert asyncio.run(examined(stores))["queue"].advice == advice
