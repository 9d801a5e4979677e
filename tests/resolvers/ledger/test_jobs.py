"""Jobs in the API: what they show, and to whom."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from db.accounts.rules import Role, Viewer
from db.feed import Feed
from db.ledger.jobs import Subject
from db.ledger.rules import JobState
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.drain import drain
from tests.support.kinds import KINDS, Refuses, Steps, Talks, make_effects
from tests.support.ledger import ask, execute, in_state, row_of
from tests.support.people import admin, person
from tests.support.plans import World, a_world
from tests.support.streams import stream

EVERYTHING = """
query ($id: ID!) { job(id: $id) {
  id uuid kind queue status isQuarantined progress step done total attempt maxAttempts priority params result
  error { code message details } lastSeq subject { id } subjectLabel requestedBy { name }
  retryOf { id } retriedAs { id } enqueuedAt scheduledAt startedAt finishedAt cancelRequestedAt cancelReason
  canCancel canRetry
  attempts { nodes { number startedAt finishedAt outcome error { code message } worker } totalCount }
  logs { nodes { seq at level message data } pageInfo { hasNextPage } }
} }
"""


def instant(value: Any) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


async def test_a_job_shows_all_that_is_known_of_it(database: Database) -> None:
    await make_effects(database)
    ada = await person(database, "Ada")
    job_id = await ask(database, Steps(4), actor_id=ada.user_id)
    await drain(database, kinds=KINDS)
    row = await row_of(database, job_id)
    job = (await Api(database, ada).data(EVERYTHING, id=id_of("Job", job_id)))["job"]
    attempt = job["attempts"]["nodes"][0]
    assert attempt.pop("startedAt") == instant(row["started_at"])
    assert attempt.pop("finishedAt") == instant(row["finished_at"])
    assert attempt == {"number": 1, "outcome": "COMPLETED", "error": None, "worker": "test"}
    assert job == {
        "id": id_of("Job", job_id),
        "uuid": str(job_id),
        "kind": "test.steps",
        "queue": "default",
        "status": "COMPLETED",
        "isQuarantined": False,
        "progress": 100,
        "step": "Writing",
        "done": 3,
        "total": 4,
        "attempt": 1,
        "maxAttempts": 5,
        "priority": 5,
        "params": {"steps": 4, "pause_seconds": 0.0},
        "result": {"first": 0, "attempt": 1},
        "error": None,
        "lastSeq": row["last_seq"],
        "subject": None,
        "subjectLabel": None,
        "requestedBy": {"name": "Ada"},
        "retryOf": None,
        "retriedAs": None,
        "enqueuedAt": instant(row["enqueued_at"]),
        "scheduledAt": instant(row["scheduled_at"]),
        "startedAt": instant(row["started_at"]),
        "finishedAt": instant(row["finished_at"]),
        "cancelRequestedAt": None,
        "cancelReason": None,
        "canCancel": False,
        "canRetry": False,
        "attempts": {"nodes": [attempt], "totalCount": 1},
        "logs": {"nodes": [], "pageInfo": {"hasNextPage": False}},
    }


async def test_a_failed_job_says_why(database: Database) -> None:
    await make_effects(database)
    ada = await person(database)
    job_id = await ask(database, Refuses(), actor_id=ada.user_id)
    await drain(database, kinds=KINDS)
    job = (await Api(database, ada).data(EVERYTHING, id=id_of("Job", job_id)))["job"]
    assert (job["status"], job["canRetry"]) == ("FAILED", True)
    assert job["error"] == {
        "code": "EMPTY_TASKS",
        "message": "Nothing to do for 2 learners.",
        "details": {"learners": 2},
    }
    assert job["attempts"]["nodes"][0]["error"]["code"] == "EMPTY_TASKS"


@pytest.mark.parametrize(
    ("state", "status", "is_quarantined"),
    [
        ("scheduled", "QUEUED", False),
        ("queued", "QUEUED", False),
        ("dispatched", "QUEUED", False),
        ("running", "RUNNING", False),
        ("completed", "COMPLETED", False),
        ("failed", "FAILED", False),
        ("quarantined", "FAILED", True),
        ("cancelled", "CANCELLED", False),
    ],
)
async def test_eight_states_are_shown_as_five_statuses(
    database: Database, state: JobState, status: str, is_quarantined: bool
) -> None:
    ada = await person(database)
    job_id = await in_state(database, JobState(state), actor_id=ada.user_id)
    job = (await Api(database, ada).data(EVERYTHING, id=id_of("Job", job_id)))["job"]
    assert (job["status"], job["isQuarantined"]) == (status, is_quarantined)
    assert job["canCancel"] == (status in {"QUEUED", "RUNNING"})
    assert job["canRetry"] == (status in {"FAILED", "CANCELLED"})


async def test_the_system_asks_too(database: Database) -> None:
    job_id = await ask(database)
    job = (await Api(database, await admin(database)).data(EVERYTHING, id=id_of("Job", job_id)))["job"]
    assert job["requestedBy"] == {"name": "System"}


async def test_a_job_is_found_by_its_uuid(database: Database) -> None:
    ada = await person(database)
    job_id = await ask(database, actor_id=ada.user_id)
    api = Api(database, ada)
    query = "query ($uuid: String!) { jobByUuid(uuid: $uuid) { uuid } }"
    assert await api.data(query, uuid=str(job_id)) == {"jobByUuid": {"uuid": str(job_id)}}
    for unknown in (str(uuid4()), "nonsense", ""):
        assert await api.data(query, uuid=unknown) == {"jobByUuid": None}


async def test_an_id_that_is_malformed_unknown_or_of_another_type_finds_nothing(database: Database) -> None:
    job_id = await ask(database)
    api = Api(database, await admin(database))
    for id_ in ("nonsense", id_of("Job", uuid4()), id_of("TaskPlan", job_id)):
        assert await api.data("query ($id: ID!) { job(id: $id) { id } }", id=id_) == {"job": None}


async def test_node_finds_a_job(database: Database) -> None:
    job_id = await ask(database)
    api = Api(database, await admin(database))
    query = "query ($id: ID!) { node(id: $id) { ... on Job { kind status } } }"
    assert await api.data(query, id=id_of("Job", job_id)) == {"node": {"kind": "test.empty", "status": "QUEUED"}}


async def test_logs_are_read_in_pages_by_level_and_either_way(database: Database) -> None:
    ada = await person(database)
    job_id = await ask(database, Talks(lines=5), actor_id=ada.user_id)
    await drain(database, kinds=KINDS)
    await execute(database, "UPDATE job_events SET level = 'WARNING' WHERE message = 'line 3'")
    api = Api(database, ada)

    async def logs(arguments: str) -> list[str]:
        query = f"query ($id: ID!) {{ job(id: $id) {{ logs({arguments}) {{ nodes {{ message }} }} }} }}"
        found = await api.data(query, id=id_of("Job", job_id))
        return [line["message"] for line in found["job"]["logs"]["nodes"]]

    assert await logs("first: 10") == [f"line {n}" for n in range(5)]
    assert await logs("newestFirst: true, first: 2") == ["line 4", "line 3"]
    assert await logs("minLevel: WARNING, first: 10") == ["line 3"]
    assert await logs("minLevel: ERROR, first: 10") == []
    query = """query ($id: ID!, $after: String) { job(id: $id) {
        logs(first: 2, after: $after) { nodes { message data level } pageInfo { endCursor hasNextPage } } } }"""
    first = (await api.data(query, id=id_of("Job", job_id)))["job"]["logs"]
    second = (await api.data(query, id=id_of("Job", job_id), after=first["pageInfo"]["endCursor"]))["job"]["logs"]
    assert second["nodes"] == [
        {"message": "line 2", "data": {"number": 2}, "level": "INFO"},
        {"message": "line 3", "data": {"number": 3}, "level": "WARNING"},
    ]


# --- who sees what ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def course(database: Database) -> World:
    return await a_world(database, learners=3)


async def plan_job(world: World, *, actor_id: UUID | None = None) -> tuple[UUID, UUID]:
    """A job whose subject is a plan, asked for by nobody in particular."""
    plan_id = (await world.create(world.tasking())).plan_id
    subject = Subject("TaskPlan", plan_id, "Week 1")
    return plan_id, await ask(world.database, subject=subject, actor_id=actor_id)


async def sees(database: Database, viewer: Viewer | None, job_id: UUID) -> bool:
    api = Api(database, viewer)
    query = (
        "query ($id: ID!, $uuid: String!) { job(id: $id) { id } jobByUuid(uuid: $uuid) { id } jobs { nodes { id } } }"
    )
    found = await api.data(query, id=id_of("Job", job_id), uuid=str(job_id))
    seen = {
        found["job"] is not None,
        found["jobByUuid"] is not None,
        {"id": id_of("Job", job_id)} in found["jobs"]["nodes"],
    }
    assert len(seen) == 1
    return seen.pop()


async def test_a_plans_job_is_seen_by_its_teachers_editors_admins_and_never_by_learners(course: World) -> None:
    database = course.database
    _, job_id = await plan_job(course)
    assert await sees(database, course.teacher, job_id)
    assert await sees(database, await person(database, "E", Role.EDITOR), job_id)
    assert await sees(database, await admin(database), job_id)
    assert not await sees(database, await person(database, "Other teacher"), job_id)
    learner = Viewer(course.learners[0], "Learner", frozenset({Role.MEMBER}))
    assert not await sees(database, learner, job_id)


async def test_whoever_asked_for_a_job_sees_it(database: Database) -> None:
    ada, bob = await person(database), await person(database)
    job_id = await ask(database, actor_id=ada.user_id)
    assert await sees(database, ada, job_id)
    assert not await sees(database, bob, job_id)
    assert not await sees(database, await person(database, "E", Role.EDITOR), job_id)


async def test_a_job_without_subject_that_nobody_asked_for_is_the_admins(database: Database) -> None:
    job_id = await ask(database)
    assert await sees(database, await admin(database), job_id)
    assert not await sees(database, await person(database, "E", Role.EDITOR), job_id)


async def test_nobody_signed_in_sees_no_jobs(database: Database) -> None:
    await ask(database)
    answer = await Api(database, None).ask("{ jobs { nodes { id } } }")
    assert answer["data"] == {"jobs": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAUTHENTICATED"]


async def test_the_subject_is_shown_to_whom_it_is_visible(course: World) -> None:
    plan_id, job_id = await plan_job(course)
    query = "query ($id: ID!) { job(id: $id) { subjectLabel subject { id ... on TaskPlan { title } } } }"
    shown = (await Api(course.database, course.teacher).data(query, id=id_of("Job", job_id)))["job"]
    assert shown["subjectLabel"] == "Week 1"
    assert shown["subject"]["id"] == id_of("TaskPlan", plan_id)
    # What is gone decides nothing more: then it is whoever asked.
    ada = await person(course.database)
    gone = await ask(course.database, subject=Subject("TaskPlan", uuid4(), "Week 0"), actor_id=ada.user_id)
    shown = (await Api(course.database, ada).data(query, id=id_of("Job", gone)))["job"]
    assert shown == {"subjectLabel": "Week 0", "subject": None}
    assert not await sees(course.database, course.teacher, gone)


@pytest.mark.parametrize("type_", ["TaskPlan", "CourseClass"])
async def test_who_may_no_longer_read_a_jobs_subject_has_no_right_left_by_having_asked(
    course: World, feed: Feed, type_: str
) -> None:
    database, ada = course.database, course.teacher
    editor = await person(database, "E", Role.EDITOR)
    await execute(database, "UPDATE classes SET teacher_id = :id", id=editor.user_id)
    key = (await course.create(course.tasking())).plan_id if type_ == "TaskPlan" else course.class_id
    job_id = await ask(database, subject=Subject(type_, key, "It"), actor_id=ada.user_id)
    ended = await in_state(database, JobState.FAILED, subject=Subject(type_, key, "It"), actor_id=ada.user_id)
    assert await sees(database, ada, job_id)
    progress = "subscription ($id: ID!) { jobProgress(jobId: $id) { seq } }"
    async with (
        stream(database, feed, ada, progress, id=id_of("Job", job_id)) as own,
        stream(database, feed, editor, progress, id=id_of("Job", job_id)) as editors,
    ):
        assert [(await each.next())["seq"] for each in (own, editors)] == [1, 1]
        await execute(database, "DELETE FROM course_teachers")
        assert not await sees(database, ada, job_id)
        for mutation, id_ in (("cancelJob", job_id), ("retryJob", ended)):
            assert await Api(database, ada).refused(mutation, {"jobId": id_of("Job", id_)}) == [
                ("NOT_FOUND", "input.jobId")
            ]
        jobs = await course.rows("SELECT state FROM jobs WHERE subject_id = :id ORDER BY id", id=key)
        assert [row.state for row in jobs] == ["queued", "failed"]
        await drain(database, kinds=KINDS)
        assert (await editors.rest())[-1]["seq"] > 1
        assert (await own.refusal())["extensions"]["code"] == "NOT_FOUND"


async def test_what_may_be_done_is_told_for_the_viewer(course: World) -> None:
    _, job_id = await plan_job(course)
    query = "query ($id: ID!) { job(id: $id) { canCancel canRetry } }"
    for viewer in (course.teacher, await person(course.database, "E", Role.EDITOR), await admin(course.database)):
        job = (await Api(course.database, viewer).data(query, id=id_of("Job", job_id)))["job"]
        assert job == {"canCancel": True, "canRetry": False}
    # Who teaches a class of the course reads its plans, and changes none of them: nobody asked, so nobody may.
    of_class = await person(course.database, "Of a class")
    await execute(course.database, "UPDATE classes SET teacher_id = :id", id=of_class.user_id)
    job = (await Api(course.database, of_class).data(query, id=id_of("Job", job_id)))["job"]
    assert job == {"canCancel": False, "canRetry": False}
