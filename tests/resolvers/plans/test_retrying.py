"""`Job.canRetry` of a publication says what `retryJob` does."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db import endings
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.drain import drain
from tests.support.plans import a_world

SHOWN = "query ($id: ID!) { job(id: $id) { status canRetry } }"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("meanwhile", "can_retry"),
    [
        ("nothing", True),
        ("published anew", False),
        ("withdrawn", False),
        ("opened", False),
        ("course ended", False),
        ("open before", True),
        ("open before, published anew", False),
    ],
)
async def test_a_job_says_whether_its_plan_takes_another_try(
    database: Database, meanwhile: str, can_retry: bool
) -> None:
    world = await a_world(database, learners=2)
    plan_id = await world.published()
    if meanwhile.startswith("open before"):
        database.clock.shift += DAY + HOUR
    saved = await world.update(plan_id, title="Anew")
    assert saved.job_id is not None
    async with database.transaction() as tx:
        await endings.cancel_job(tx, job_id=saved.job_id, actor_id=None, reason=None, now=tx.now)
        if meanwhile == "course ended":
            await tx.execute(text("UPDATE courses SET ends_at = :now"), {"now": tx.now - HOUR})
    if meanwhile.endswith("published anew"):
        await world.publish(plan_id)
        await drain(database)
    elif meanwhile == "withdrawn":
        await world.withdraw(plan_id)
    elif meanwhile == "opened":
        database.clock.shift += DAY + HOUR
    teacher = Api(database, world.teacher)
    job: dict[str, Any] = {"jobId": id_of("Job", saved.job_id)}
    assert (await teacher.data(SHOWN, id=job["jobId"]))["job"] == {"status": "CANCELLED", "canRetry": can_retry}
    if can_retry:
        assert (await teacher.does("retryJob", job, "job { status }"))["job"] == {"status": "QUEUED"}
        await drain(database)
        assert [task.title for task in await world.live_tasks(plan_id)] == ["Anew"] * 2
    else:
        assert await teacher.refused("retryJob", job) == [("JOB_NOT_RETRYABLE", "input.jobId")]
