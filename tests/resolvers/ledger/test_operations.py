"""Queues, workers and schedules in the API: for ADMIN, with exact counts, at a fixed number of statements."""

from datetime import timedelta
from typing import Any

import pytest

from db.accounts.rules import Role
from db.ledger.rules import JobState
from db.session import Database
from tests.support.api import Api
from tests.support.ledger import WORKER, ask, execute, in_state, later, lose_sight_of, running
from tests.support.people import admin, now_of, person

QUEUES = """{ queues {
    queue isPaused pausedAt pausedBy { name } pauseReason queued scheduled running completedLastHour failedLastHour
    oldestQueuedSeconds workers limit limitPerKey
} }"""
WORKERS = "{ workers { uuid name queues kinds slots running startedAt seenAt isDraining } }"
SCHEDULES = "{ schedules { name kind rule lastTickAt nextTickAt lastJob { uuid kind status } } }"
SILENT: dict[str, Any] = {
    "isPaused": False,
    "pausedAt": None,
    "pausedBy": None,
    "pauseReason": None,
    "queued": 0,
    "scheduled": 0,
    "running": 0,
    "completedLastHour": 0,
    "failedLastHour": 0,
    "oldestQueuedSeconds": None,
    "workers": 0,
    "limit": None,
    "limitPerKey": None,
}


def instant(value: Any) -> str:
    text: str = value.isoformat().replace("+00:00", "Z")
    return text


async def queues(api: Api) -> dict[str, dict[str, Any]]:
    found = (await api.data(QUEUES))["queues"]
    assert [each["queue"] for each in found] == sorted(each["queue"] for each in found)
    return {each.pop("queue"): each for each in found}


@pytest.mark.parametrize("role", [Role.MEMBER, Role.EDITOR, Role.SERVICE])
@pytest.mark.parametrize("query", [QUEUES, WORKERS, SCHEDULES], ids=["queues", "workers", "schedules"])
async def test_only_an_admin_looks_at_the_machinery(database: Database, role: Role, query: str) -> None:
    body = await Api(database, await person(database, "Mia", role)).ask(query)
    (name,) = body["data"]
    assert body["data"] == {name: None}
    assert [(error["path"], error["extensions"]["code"]) for error in body["errors"]] == [([name], "FORBIDDEN")]


async def test_a_new_deployment_has_one_silent_queue(database: Database) -> None:
    assert await queues(Api(database, await admin(database))) == {"default": SILENT}


async def test_every_count_of_a_queue_is_exact(database: Database) -> None:
    api = Api(database, await admin(database))
    for state, count in {
        JobState.QUEUED: 3,
        JobState.DISPATCHED: 2,
        JobState.SCHEDULED: 4,
        JobState.COMPLETED: 5,
        JobState.FAILED: 1,
        JobState.QUARANTINED: 1,
        JobState.CANCELLED: 6,
    }.items():
        for _ in range(count):
            await in_state(database, state)
    old = [await in_state(database, state) for state in (JobState.COMPLETED, JobState.FAILED)]
    await execute(
        database, "UPDATE jobs SET finished_at = now() - interval '61 minutes' WHERE id = ANY (:ids)", ids=old
    )
    bulk = await in_state(database, JobState.QUEUED)
    await execute(database, "UPDATE jobs SET queue = 'bulk' WHERE id = :id", id=bulk)
    # Its time has come, and no dispatcher has been by: it could run.
    late = await in_state(database, JobState.SCHEDULED)
    await execute(database, "UPDATE jobs SET scheduled_at = now() - interval '90 seconds' WHERE id = :id", id=late)
    found = await queues(api)
    assert 90 <= found["default"].pop("oldestQueuedSeconds") < 120
    assert 0 <= found["bulk"].pop("oldestQueuedSeconds") < 30
    silent = {name: value for name, value in SILENT.items() if name != "oldestQueuedSeconds"}
    assert found["bulk"] == silent | {"queued": 1}
    assert found["default"] == silent | {
        "queued": 6,
        "scheduled": 4,
        "completedLastHour": 5,
        "failedLastHour": 2,
    }
    assert set(found) == {"default", "bulk"}


async def test_running_jobs_and_workers_that_take_more_are_counted(database: Database) -> None:
    api = Api(database, await admin(database))
    await running(database)
    default = (await queues(api))["default"]
    assert (default["running"], default["workers"], default["queued"]) == (1, 1, 0)
    await execute(database, "UPDATE workers SET is_draining = true")
    assert (await queues(api))["default"]["workers"] == 0
    await execute(database, "UPDATE workers SET is_draining = false, queues = '{default,slow}'")
    found = await queues(api)
    assert {name: each["workers"] for name, each in found.items()} == {"default": 1, "slow": 1}
    # A queue whose workers have died stays in sight.
    await lose_sight_of(database)
    found = await queues(api)
    assert {name: each["workers"] for name, each in found.items()} == {"default": 0, "slow": 0}


async def test_a_paused_queue_says_since_when_by_whom_and_why(database: Database) -> None:
    ada = await person(database, "Ada", Role.ADMIN)
    api = Api(database, ada)
    at = await now_of(database)
    for name, actor in (("default", ada.user_id), ("bulk", None)):
        await execute(
            database,
            "INSERT INTO queues (name, max_running, max_running_per_key, paused_at, paused_by, pause_reason)"
            " VALUES (:name, 4, 2, :at, :actor, 'Lunch.')",
            name=name,
            at=at,
            actor=actor,
        )
    paused = SILENT | {"isPaused": True, "pausedAt": instant(at), "pauseReason": "Lunch.", "limit": 4, "limitPerKey": 2}
    assert await queues(api) == {
        "default": paused | {"pausedBy": {"name": "Ada"}},
        "bulk": paused | {"pausedBy": {"name": "System"}},
    }


async def test_workers_show_what_they_do(database: Database) -> None:
    api = Api(database, await admin(database))
    await running(database)
    await running(database)
    rows = await database.reader.fetch("SELECT * FROM workers")
    assert (await api.data(WORKERS))["workers"] == [
        {
            "uuid": str(WORKER.id),
            "name": "a worker",
            "queues": ["default"],
            "kinds": list(WORKER.kinds),
            "slots": 10,
            "running": 2,
            "startedAt": instant(rows[0]["started_at"]),
            "seenAt": instant(rows[0]["seen_at"]),
            "isDraining": False,
        }
    ]


async def test_a_schedule_shows_its_newest_job(database: Database) -> None:
    api = Api(database, await admin(database))
    at = await now_of(database)
    for name in ("b.never", "a.hourly"):
        await execute(
            database,
            "INSERT INTO schedules (name, kind, args, rule) VALUES (:name, 'test.empty', '{}', 'hourly')",
            name=name,
        )
    ticked = [at - timedelta(hours=2), at - timedelta(hours=1)]
    jobs = []
    for tick in ticked:
        jobs.append(await ask(database))
        await execute(database, "INSERT INTO schedule_ticks VALUES ('a.hourly', :tick, :job)", tick=tick, job=jobs[-1])
    await execute(
        database,
        "UPDATE schedules SET last_tick_at = :last, next_tick_at = :next WHERE name = 'a.hourly'",
        last=ticked[-1],
        next=at,
    )
    plain = {"kind": "test.empty", "rule": "hourly"}
    assert (await api.data(SCHEDULES))["schedules"] == [
        {
            **plain,
            "name": "a.hourly",
            "lastTickAt": instant(ticked[-1]),
            "nextTickAt": instant(at),
            "lastJob": {"uuid": str(jobs[-1]), "kind": "test.empty", "status": "QUEUED"},
        },
        {**plain, "name": "b.never", "lastTickAt": None, "nextTickAt": None, "lastJob": None},
    ]
    # Retention has taken the job: the tick stays.
    await execute(database, "DELETE FROM job_events")
    await execute(database, "DELETE FROM jobs")
    assert (await api.data(SCHEDULES))["schedules"][0]["lastJob"] is None


async def test_each_list_costs_the_same_whatever_there_is(database: Database) -> None:
    api = Api(database, await admin(database))
    everything = "{ queues { queue pausedBy { name } queued } workers { name running } schedules { lastJob { uuid } } }"
    costs = [await api.statements(query) for query in (QUEUES, WORKERS, SCHEDULES)]
    assert costs == [1, 1, 1]
    people = [await person(database) for _ in range(3)]
    for number, someone in enumerate(people):
        name = f"queue {number}"
        await execute(
            database,
            "INSERT INTO queues (name, paused_at, paused_by) VALUES (:name, now(), :who)",
            name=name,
            who=someone.user_id,
        )
        await execute(
            database, "INSERT INTO schedules (name, kind, args, rule) VALUES (:name, 'k', '{}', 'daily')", name=name
        )
        await execute(
            database, "INSERT INTO schedule_ticks VALUES (:name, now(), :job)", name=name, job=await ask(database)
        )
        await running(database)
    # Who paused them, and the last jobs, are one statement each.
    assert [await api.statements(query) for query in (QUEUES, WORKERS, SCHEDULES)] == [2, 1, 2]
    assert await api.statements(everything) == 5
    assert await api.statements("{ queues { queue isPaused } schedules { name } }") == 2


# --- pausing ----------------------------------------------------------------------------------------------------------

SHOWN = "queue { queue isPaused pausedAt pausedBy { name } pauseReason queued }"


async def test_an_admin_pauses_and_resumes_and_doing_it_twice_changes_nothing(database: Database) -> None:
    ada, bob = await person(database, "Ada", Role.ADMIN), await person(database, "Bob", Role.ADMIN)
    await ask(database)
    first = await Api(database, ada).does("pauseQueue", {"queue": "default", "reason": "Lunch."}, SHOWN)
    shown = first["queue"]
    assert shown.pop("pausedAt") is not None
    assert shown == {
        "queue": "default",
        "isPaused": True,
        "pausedBy": {"name": "Ada"},
        "pauseReason": "Lunch.",
        "queued": 1,
    }
    later(database, minutes=5)
    again = await Api(database, bob).does("pauseQueue", {"queue": "default", "reason": "Mine."}, SHOWN)
    assert again["queue"].pop("pausedAt") is not None
    assert again["queue"] == shown
    rows = await database.reader.fetch("SELECT paused_by FROM queues")
    assert [row["paused_by"] for row in rows] == [ada.user_id]
    for _ in range(2):
        resumed = (await Api(database, bob).does("resumeQueue", {"queue": "default"}, SHOWN))["queue"]
        assert resumed == {
            "queue": "default",
            "isPaused": False,
            "pausedAt": None,
            "pausedBy": None,
            "pauseReason": None,
            "queued": 1,
        }


async def test_pausing_is_refused_to_others_for_unknown_queues_and_for_long_reasons(database: Database) -> None:
    api = Api(database, await admin(database))
    for role in (Role.MEMBER, Role.EDITOR, Role.SERVICE):
        other = Api(database, await person(database, "Mia", role))
        for mutation in ("pauseQueue", "resumeQueue"):
            assert await other.refused(mutation, {"queue": "default"}) == [("FORBIDDEN", "")]
    for mutation in ("pauseQueue", "resumeQueue"):
        assert await api.refused(mutation, {"queue": "defualt"}) == [("NOT_FOUND", "input.queue")]
        assert await api.refused(mutation, {"queue": ""}) == [("NOT_FOUND", "input.queue")]
    assert await api.refused("pauseQueue", {"queue": "default", "reason": "x" * 501}) == [
        ("BAD_USER_INPUT", "input.reason")
    ]
    assert await database.reader.fetch("SELECT * FROM queues") == []
    await api.does("pauseQueue", {"queue": "default", "reason": "x" * 500}, "queue { pauseReason }")


async def test_the_payload_shows_the_queue_that_was_named(database: Database) -> None:
    api = Api(database, await admin(database))
    await execute(database, "INSERT INTO queues (name) VALUES ('zeta')")
    moved, *_ = [await ask(database) for _ in range(3)]
    await execute(database, "UPDATE jobs SET queue = 'zeta' WHERE id = :id", id=moved)
    shown = (await api.does("pauseQueue", {"queue": "zeta"}, "queue { queue queued isPaused }"))["queue"]
    assert shown == {"queue": "zeta", "queued": 1, "isPaused": True}
    assert (await queues(api))["default"]["isPaused"] is False


async def test_a_repeated_request_gives_the_first_outcome(database: Database) -> None:
    api = Api(database, await admin(database))
    paused = {"queue": "default", "reason": "Lunch.", "idempotencyKey": "k1"}
    await api.does("pauseQueue", paused, SHOWN)
    await api.does("resumeQueue", {"queue": "default"}, SHOWN)
    # Nothing is paused a second time: the payload shows the queue as it is now.
    assert (await api.does("pauseQueue", paused, SHOWN))["queue"]["isPaused"] is False


async def test_a_payload_loads_its_queue_only_where_it_is_selected(database: Database) -> None:
    api = Api(database, await admin(database))
    for _ in range(2):
        await ask(database)
    pausing = 'mutation { pauseQueue(input: {queue: "default"}) { queue { queued running } userErrors { code } } }'
    before = database.reader.statements
    await api.data(pausing)
    assert database.reader.statements - before == 1
    await api.data('mutation { resumeQueue(input: {queue: "default"}) { userErrors { code } } }')
    assert database.reader.statements - before == 1
