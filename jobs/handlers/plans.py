"""The work of plans: publishing them, giving them to who joins later, reverting and sweeping up what was given up."""

from collections.abc import Mapping
from typing import Any

from db.plans import commands as plans
from db.plans.jobs import EnrollLearner, PublishPlan, RevertPlan, SweepPlan
from jobs.attempt import Attempt, Cancelled, handles


@handles(PublishPlan)
async def publish_plan(attempt: Attempt, work: PublishPlan) -> Mapping[str, Any] | None:
    """Make every learner's task in batches, then let all of them be seen at once."""
    try:
        return await _publish(attempt, work)
    except plans.Superseded:
        await attempt.log("A newer request has taken this one's place.")
        raise Cancelled from None


async def _publish(attempt: Attempt, work: PublishPlan) -> Mapping[str, Any] | None:
    async with attempt.transaction() as tx:
        publication = await plans.begin(tx, work=work, is_first_attempt=attempt.number == 1)
    learners, done, made = publication.learners, publication.done, 0
    await attempt.log(f"Of {learners} learners {learners - done} are to get a task, or changes to the one they have.")
    await attempt.progress(done=done, total=learners, step="Making tasks")
    while True:
        for batch in publication.batches:
            async with attempt.transaction() as tx:
                made += await plans.make_batch(
                    tx, work=work, publication=publication, batch=batch, actor_id=attempt.actor_id, now=tx.now
                )
            done += batch.size
            await attempt.progress(done=done)
        if publication.rest_after is None:
            break
        async with attempt.transaction() as tx:
            publication = await plans.look_on(tx, work=work, publication=publication)
    await attempt.progress(step="Going live")
    async with attempt.completing() as end:
        end.result = await plans.go_live(
            end.tx, work=work, publication=publication, made=made, now=end.tx.now, actor_id=attempt.actor_id
        )
    return None


@handles(EnrollLearner)
async def enroll_learner(attempt: Attempt, work: EnrollLearner) -> Mapping[str, Any] | None:
    """Make what a learner who joined a class has not got of its course's plans."""
    async with attempt.completing() as end:
        end.result = await plans.enroll_learner(end.tx, work=work, now=end.tx.now)
    return None


@handles(SweepPlan)
async def sweep_plan(attempt: Attempt, work: SweepPlan) -> Mapping[str, Any] | None:
    """Delete the tasks of generations that nobody sees any more, a batch at a time."""
    swept = 0
    while True:
        async with attempt.transaction() as tx:
            deleted = await plans.sweep(tx, plan_id=work.plan_id)
        swept += deleted
        await attempt.progress(done=swept, step="Sweeping")
        if deleted == 0:
            return {"tasks_deleted": swept}


@handles(RevertPlan)
async def revert_plan(attempt: Attempt, work: RevertPlan) -> Mapping[str, Any] | None:
    """Show what learners have, once that is open and nothing else can take its place."""
    async with attempt.completing() as end:
        end.result = {"reverted": await plans.revert_plan(end.tx, plan_id=work.plan_id)}
    return None
