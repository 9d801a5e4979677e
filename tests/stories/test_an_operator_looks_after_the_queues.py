"""An operator finds out what is wrong, and puts it right: over HTTP, as a console does."""

from typing import Any
from uuid import uuid4

import pytest

from db.accounts.rules import Role
from db.feed import Feed
from db.ledger import commands as ledger
from db.ledger.rules import WORK_IS_DUE
from db.session import Database
from jobs.settings import WorkerSettings
from jobs.sweeper import Sweeper
from resolvers.ids import encode_id
from tests.server.support.serving import token_of
from tests.stories.conftest import Front, Story
from tests.support.drain import drain
from tests.support.hints import heard, listening
from tests.support.kinds import KINDS, Talks
from tests.support.ledger import ask, claimed, dispatched, events_of, execute, lose_sight_of, snapshot
from tests.support.people import person

ASIDE = """query Aside($filter: JobFilter) { jobs(filter: $filter) { nodes {
    id kind status isQuarantined canRetry error { code message } subjectLabel requestedBy { name }
    attempts { nodes { number worker outcome error { code } } }
    logs { nodes { level message } }
    retriedAs { id status }
} } }"""
RETRY = """mutation Retry($input: RetryJobInput!) { retryJob(input: $input) {
    job { id status isQuarantined retryOf { id } requestedBy { name } } userErrors { code }
} }"""
PAUSE = """mutation Pause($input: PauseQueueInput!) { pauseQueue(input: $input) {
    queue { queue isPaused pauseReason pausedBy { name } queued running } userErrors { code field }
} }"""
RESUME = """mutation Resume($input: ResumeQueueInput!) { resumeQueue(input: $input) {
    queue { queue isPaused queued } userErrors { code field }
} }"""
QUEUES = "{ queues { queue isPaused queued running completedLastHour workers } }"


@pytest.fixture
async def operator(story: Story) -> Front:
    ada = await person(story.world.database, "Olga Operator", Role.ADMIN)
    return Front(story.server, await token_of(story.world.database, ada, roles=(Role.ADMIN,)))


async def crash(database: Database, times: int) -> None:
    """Workers take what is due, and die of it one after the other."""
    for number in range(1, times + 1):
        card = ledger.WorkerCard(
            id=uuid4(), name=f"pod-{number}", queues=("default",), kinds=("plan.publish", *KINDS), slots=10
        )
        async with database.transaction() as tx:
            await ledger.beat(tx, card=card, is_draining=False, now=tx.now)
        (ticket,) = await dispatched(database)
        assert await claimed(database, ticket, worker=card) is not None
        await lose_sight_of(database, card)
        assert await Sweeper(database=database, settings=WorkerSettings()).rescue() == 1


async def test_a_job_that_killed_its_workers_is_found_read_and_tried_again(story: Story, operator: Front) -> None:
    database = story.world.database
    plan_id = (await story.world.create(publish=True, title="Forces")).plan_id
    await crash(database, 3)
    (job,) = (await operator.data(ASIDE, filter={"isQuarantined": True}))["jobs"]["nodes"]
    old = job.pop("id")
    assert job == {
        "kind": "plan.publish",
        "status": "FAILED",
        "isQuarantined": True,
        "canRetry": True,
        "error": {"code": "QUARANTINED", "message": "3 workers died or lost their lease while running this job."},
        "subjectLabel": "Forces",
        "requestedBy": {"name": "Ada Teacher"},
        "attempts": {
            "nodes": [
                {"number": 3, "worker": "pod-3", "outcome": "LOST", "error": {"code": "QUARANTINED"}},
                {"number": 2, "worker": "pod-2", "outcome": "LOST", "error": {"code": "WORKER_LOST"}},
                {"number": 1, "worker": "pod-1", "outcome": "LOST", "error": {"code": "WORKER_LOST"}},
            ]
        },
        "logs": {"nodes": []},
        "retriedAs": None,
    }
    made = (await operator.data(RETRY, input={"jobId": old}))["retryJob"]
    assert made["userErrors"] == []
    new = made["job"].pop("id")
    assert made["job"] == {
        "status": "QUEUED",
        "isQuarantined": False,
        "retryOf": {"id": old},
        "requestedBy": {"name": "Olga Operator"},
    }
    await drain(database)
    (job,) = (await operator.data(ASIDE, filter={"isQuarantined": True}))["jobs"]["nodes"]
    # The new one has taken its place: the plan is published.
    assert (job["canRetry"], job["retriedAs"]) == (False, {"id": new, "status": "COMPLETED"})
    (refused,) = (await operator.data(RETRY, input={"jobId": old}))["retryJob"]["userErrors"]
    assert refused["code"] == "JOB_NOT_RETRYABLE"
    assert len(await story.world.live_tasks(plan_id)) == 3
    plan = await operator.data(
        "query ($id: ID!) { plan(id: $id) { state publishJob { id } } }", id=encode_id("TaskPlan", plan_id)
    )
    assert plan["plan"] == {"state": "PUBLISHED", "publishJob": {"id": new}}


async def test_while_it_is_being_tried_again_nobody_can_do_so_twice(story: Story, operator: Front) -> None:
    await story.world.create(publish=True)
    await crash(story.world.database, 3)
    (job,) = (await operator.data(ASIDE, filter={"isQuarantined": True}))["jobs"]["nodes"]
    await operator.data(RETRY, input={"jobId": job["id"]})
    before = await snapshot(story.world.database)
    again = (await operator.data(RETRY, input={"jobId": job["id"]}))["retryJob"]
    assert again == {"job": None, "userErrors": [{"code": "JOB_NOT_RETRYABLE"}]}
    assert await snapshot(story.world.database) == before
    (job,) = (await operator.data(ASIDE, filter={"isQuarantined": True}))["jobs"]["nodes"]
    assert job["canRetry"] is False


async def test_a_failed_job_is_read_with_its_log_and_tried_again(story: Story, operator: Front) -> None:
    database = story.world.database
    job_id = await ask(database, Talks(lines=2))
    await drain(database, kinds=KINDS)
    assert len(await events_of(database, job_id)) > 3
    await execute(
        database,
        'UPDATE jobs SET state = \'failed\', progress = 99, error = \'{"code": "X", "message": "x"}\' WHERE id = :id',
        id=job_id,
    )
    (job,) = (await operator.data(ASIDE, filter={"statuses": ["FAILED"], "kinds": ["test.talks"]}))["jobs"]["nodes"]
    assert (job["canRetry"], job["isQuarantined"], job["requestedBy"]) == (True, False, {"name": "System"})
    assert [line["message"] for line in job["logs"]["nodes"]] == ["line 0", "line 1"]
    assert [(each["worker"], each["outcome"]) for each in job["attempts"]["nodes"]] == [("test", "COMPLETED")]
    made = (await operator.data(RETRY, input={"jobId": job["id"]}))["retryJob"]
    assert (made["userErrors"], made["job"]["status"]) == ([], "QUEUED")


async def test_a_paused_queue_keeps_its_jobs_and_flows_at_once_when_it_is_resumed(
    story: Story, operator: Front, feed: Feed
) -> None:
    database = story.world.database
    paused = (await operator.data(PAUSE, input={"queue": "default", "reason": "The store is down."}))["pauseQueue"]
    assert paused == {
        "queue": {
            "queue": "default",
            "isPaused": True,
            "pauseReason": "The store is down.",
            "pausedBy": {"name": "Olga Operator"},
            "queued": 0,
            "running": 0,
        },
        "userErrors": [],
    }
    await ask(database)
    assert await drain(database, kinds=KINDS) == 0
    silent = {"queue": "default", "isPaused": True, "queued": 1, "running": 0, "completedLastHour": 0, "workers": 0}
    assert (await operator.data(QUEUES))["queues"] == [silent]
    async with listening(feed, WORK_IS_DUE) as hints:
        resumed = (await operator.data(RESUME, input={"queue": "default"}))["resumeQueue"]
        assert await heard(hints, {WORK_IS_DUE}) == {WORK_IS_DUE}
    assert resumed == {"queue": {"queue": "default", "isPaused": False, "queued": 1}, "userErrors": []}
    assert await drain(database, kinds=KINDS) == 1
    assert (await operator.data(QUEUES))["queues"] == [
        silent | {"isPaused": False, "queued": 0, "completedLastHour": 1}
    ]


async def test_a_teacher_may_not_look_at_the_machinery_or_stop_it(story: Story) -> None:
    for query in (QUEUES, "{ workers { name } }", "{ schedules { name } }"):
        body: Any = await story.teacher.ask(query)
        assert list(body["data"].values()) == [None]
        assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]
    for mutation, query in (("pauseQueue", PAUSE), ("resumeQueue", RESUME)):
        refused = (await story.teacher.data(query, input={"queue": "default"}))[mutation]
        assert refused == {"queue": None, "userErrors": [{"code": "FORBIDDEN", "field": []}]}
    assert await story.world.rows("SELECT * FROM queues") == []
