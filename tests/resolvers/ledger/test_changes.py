"""cancelJob and retryJob: what they do, and what they refuse."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from db.accounts.rules import Role
from db.ledger.rules import JobState
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.ledger import ask, events_of, in_state, row_of, running, snapshot
from tests.support.people import admin, person


def instant(value: Any) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


JOB = "job { uuid status cancelReason cancelRequestedAt retryOf { uuid } requestedBy { name } }"


async def test_cancelling_a_job_that_waits(database: Database) -> None:
    ada = await person(database, "Ada")
    job_id = await ask(database, actor_id=ada.user_id)
    payload = await Api(database, ada).does(
        "cancelJob", {"jobId": id_of("Job", job_id), "reason": " Not needed. "}, JOB
    )
    row = await row_of(database, job_id)
    assert payload["job"] == {
        "uuid": str(job_id),
        "status": "CANCELLED",
        "cancelReason": "Not needed.",
        "cancelRequestedAt": instant(row["cancel_requested_at"]),
        "retryOf": None,
        "requestedBy": {"name": "Ada"},
    }
    assert row["cancel_requested_by"] == ada.user_id


async def test_cancelling_a_job_that_runs_asks_it_to_stop(database: Database) -> None:
    ada = await person(database)
    claim = await running(database, actor_id=ada.user_id)
    payload = await Api(database, ada).does("cancelJob", {"jobId": id_of("Job", claim.job_id)}, JOB)
    assert payload["job"]["status"] == "RUNNING"
    assert payload["job"]["cancelRequestedAt"] is not None
    query = "query ($id: ID!) { job(id: $id) { canCancel } }"
    assert (await Api(database, ada).data(query, id=id_of("Job", claim.job_id)))["job"] == {"canCancel": False}


async def test_retrying_makes_a_new_job_and_shows_both(database: Database) -> None:
    ada, boss = await person(database, "Ada"), await admin(database)
    old = await in_state(database, JobState.FAILED, actor_id=ada.user_id)
    payload = await Api(database, boss).does("retryJob", {"jobId": id_of("Job", old)}, JOB)
    assert payload["job"]["status"] == "QUEUED"
    assert payload["job"]["retryOf"] == {"uuid": str(old)}
    assert payload["job"]["requestedBy"] == {"name": boss.name}
    query = "query ($id: ID!) { job(id: $id) { status canRetry retriedAs { uuid } } }"
    shown = (await Api(database, boss).data(query, id=id_of("Job", old)))["job"]
    assert shown == {"status": "FAILED", "canRetry": False, "retriedAs": {"uuid": payload["job"]["uuid"]}}


@pytest.mark.parametrize("mutation", ["cancelJob", "retryJob"])
async def test_what_may_not_be_seen_is_not_found(database: Database, mutation: str) -> None:
    job_id = await in_state(database, JobState.FAILED if mutation == "retryJob" else JobState.QUEUED)
    before = await snapshot(database)
    api = Api(database, await person(database, "E", Role.EDITOR))
    for id_ in (id_of("Job", job_id), id_of("Job", uuid4()), id_of("TaskPlan", job_id), "nonsense"):
        assert await api.refused(mutation, {"jobId": id_}) == [("NOT_FOUND", "input.jobId")]
    assert await snapshot(database) == before


async def test_refusals_name_their_reason_and_change_nothing(database: Database) -> None:
    api = Api(database, await admin(database))
    done, waits = await in_state(database, JobState.COMPLETED), await ask(database)
    before = await snapshot(database)
    cases = [
        ("cancelJob", {"jobId": id_of("Job", done)}, ("JOB_NOT_CANCELLABLE", "input.jobId")),
        ("retryJob", {"jobId": id_of("Job", done)}, ("JOB_NOT_RETRYABLE", "input.jobId")),
        ("retryJob", {"jobId": id_of("Job", waits)}, ("JOB_NOT_RETRYABLE", "input.jobId")),
        ("cancelJob", {"jobId": id_of("Job", waits), "reason": "x" * 501}, ("BAD_USER_INPUT", "input.reason")),
    ]
    for mutation, input_, expected in cases:
        assert await api.refused(mutation, input_) == [expected]
    assert await snapshot(database) == before


async def test_a_request_that_is_sent_twice_takes_effect_once(database: Database) -> None:
    api = Api(database, await admin(database))
    old = await in_state(database, JobState.FAILED)
    asked = {"jobId": id_of("Job", old), "idempotencyKey": "k"}
    first = await api.does("retryJob", asked, JOB)
    assert await api.does("retryJob", asked, JOB) == first
    assert len(await database.reader.fetch("SELECT 1 FROM jobs")) == 2
    assert len(await events_of(database, UUID(first["job"]["uuid"]))) == 1
