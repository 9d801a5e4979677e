"""Publishing: the tasks of a generation are made in batches, unseen, and go live together in one short transaction.

Nothing waits for older publications and nothing is deleted before the new tasks are there. Every step checks that its
generation is still the newest; only the last one, under the plan's lock, decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from db.errors import Code, refuse
from db.ledger.commands import enqueue
from db.plans.commands import statements as sql
from db.plans.commands.roster import cancel_untouched
from db.plans.commands.surroundings import items_of
from db.plans.jobs import PublishPlan, SweepPlan
from db.plans.rules import (
    Content,
    Item,
    PlanState,
    PlanType,
    Step,
    dynamic_count,
    make_steps,
    needs_steps,
    page_keys,
    plan_topic,
)
from db.session import Tx
from db.tasks.commands import By, cancel_below

MOST_LEARNERS_A_BATCH = 5_000
# Tasks that are seen already are written under a lock that savers wait for, so these batches are short.
MOST_KEPT_A_BATCH = 1_000
# So many learners are named by one look at who wants something, and held in memory.
NAMED_BY_A_LOOK = 20_000
LEAST_LEARNERS_A_BATCH = 50
# Even a small class is made in steps, so that whoever watches sees it grow.
BATCHES_AT_LEAST = 20
NAMED_LEARNERS = 100
SWEPT_A_BATCH = 5_000
NO_LONGER_REACHED = "The plan no longer reaches this learner."


class Superseded(Exception):
    """A newer request has taken this one's place, or the plan was withdrawn: there is nothing left to do."""


@dataclass(frozen=True, slots=True)
class Batch:
    """About `size` learners: those named, or all with keys after `after`, up to `until`; None: without that end."""

    size: int
    after: UUID | None = None
    until: UUID | None = None
    learners: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be made. `generation` is the one that the tasks belong to: a new one, or the live one that grows.

    Of `learners` whom the plan reaches, `done` want nothing. `rest_after`: after this learner there may be more than
    `batches` name (see `look_on`). `may_be_begun`: some of its tasks may be there already. `picked` and `picks`: from
    which steps, by position, how many are picked for each learner.
    """

    plan_id: UUID
    course_id: UUID
    type: PlanType
    title: str
    generation: int
    learners: int
    done: int
    batches: Sequence[Batch]
    rest_after: UUID | None
    picked: Sequence[int]
    picks: int
    may_be_begun: bool

    @property
    def values(self) -> dict[str, Any]:
        """What every statement binds."""
        return {"plan_id": self.plan_id, "course_id": self.course_id, "generation": self.generation}


async def begin(tx: Tx, *, work: PublishPlan, is_first_attempt: bool) -> Publication:
    """Write the steps of the generation, count its learners and divide them into batches.

    The first attempt clears what an earlier job may have left under the same generation: the world may have changed
    since. Raises Superseded; Refused (EMPTY_TASKS, with the learners) where a learner would have nothing to do.
    """
    plan = await _newest(tx, work)
    generation = plan.live_generation if work.keeps_tasks else work.generation
    values = {"plan_id": plan.id, "course_id": plan.course_id, "generation": generation}
    if work.keeps_tasks:
        audience = await _look(tx, {**values, "title": plan.title}, after=None)
    else:
        audience = await _everybody(tx, values)
        if is_first_attempt:
            await tx.execute(sql.CLEAR_TASKS, values)
            await tx.execute(sql.CLEAR_STEPS, values)
        # A generation keeps the steps that its first attempt has written, whatever the course has by now.
        if is_first_attempt or not await tx.scalar(sql.HAS_STEPS, values):
            steps = await _steps(tx, plan)
            # Also where nobody is reached yet: whoever joins would have nothing to do.
            if not steps and needs_steps(plan.type):
                raise await _nothing_to_do(tx, values, audience.learners)
            await _write_steps(tx, plan.id, generation, steps)
    return Publication(
        plan_id=plan.id,
        course_id=plan.course_id,
        type=PlanType(plan.type),
        title=plan.title,
        generation=generation,
        learners=audience.learners,
        done=audience.learners - audience.wanting,
        batches=audience.batches,
        rest_after=audience.rest_after,
        # As they are stored: the live generation may be of another course than today's.
        picked=(await tx.scalars(sql.DYNAMIC_POSITIONS, values)).all(),
        picks=dynamic_count(_content(plan, work)),
        may_be_begun=work.keeps_tasks or not is_first_attempt,
    )


async def look_on(tx: Tx, *, work: PublishPlan, publication: Publication) -> Publication:
    """The same publication with its next batches, after those that it has. Raises Superseded."""
    await _newest(tx, work)
    audience = await _look(tx, {**publication.values, "title": publication.title}, after=publication.rest_after)
    return replace(publication, batches=audience.batches, rest_after=audience.rest_after)


async def make_batch(
    tx: Tx, *, work: PublishPlan, publication: Publication, batch: Batch, actor_id: UUID | None, now: datetime
) -> int:
    """Make the tasks of those of these learners who have none in this generation; how many were made.

    Where tasks are kept, those that exist get the plan's title and dates. Raises Superseded.
    """
    if work.keeps_tasks:
        # These rows are seen at once, so a newer request must wait for them or be seen by them.
        await tx.execute(sql.SHARE_PLAN, {"plan_id": work.plan_id})
    await _newest(tx, work)
    values = {
        **publication.values,
        "after": batch.after,
        "until": batch.until,
        "learners": list(batch.learners),
        "type_name": publication.type.value.lower(),
        "title": publication.title,
        "actor_id": actor_id,
        "now": now,
        "picked": list(publication.picked),
        "picks": publication.picks,
    }
    if work.keeps_tasks:
        await tx.execute(sql.REFRESH_TASKS, values)
        return await tx.affect(sql.MAKE_AMONG[publication.picks > 0], values)
    return await tx.affect(sql.MAKE_TASKS[publication.picks > 0, publication.may_be_begun], values)


async def go_live(
    tx: Tx, *, work: PublishPlan, publication: Publication, made: int, now: datetime, actor_id: UUID | None = None
) -> dict[str, int]:
    """Let learners see the generation, all of it at once, and stamp the plan. The job's result.

    `made` is how many tasks this attempt has made. Those that were touched keep their ids: they take the place of
    their untouched successors. Raises Superseded.
    """
    plan = (await tx.execute(sql.LOCK_PLAN, {"plan_id": work.plan_id})).one_or_none()
    _check_newest(plan, work)
    assert plan is not None  # noqa: S101 - the check has raised
    values = {
        **publication.values,
        "now": now,
        "live": plan.live_generation,
        "type_name": publication.type.value.lower(),
        "title": publication.title,
        "actor_id": actor_id,
        "picked": list(publication.picked),
        "picks": publication.picks,
    }
    learners = publication.learners + await _follow_roster(tx, work, publication, values)
    kept = 0
    if not work.keeps_tasks and plan.live_generation:
        kept = await _carry(tx, values)
    total = (await tx.execute(sql.COUNT_LIVE, values)).one()
    await tx.execute(
        sql.GO_LIVE, {**values, "opens_at": total.opens_at or plan.first_opens_at, "state": PlanState.PUBLISHED}
    )
    if not work.keeps_tasks:
        await enqueue(tx, work=SweepPlan(plan_id=work.plan_id, generation=work.generation), actor_id=None)
    tx.hint(plan_topic(work.plan_id))
    created = made if work.keeps_tasks else total.tasks - kept
    return {"learners": learners, "tasks_created": created, "tasks_kept": total.tasks - created}


async def sweep(tx: Tx, *, plan_id: UUID) -> int:
    """Delete one batch of tasks of generations that are over; how many. Then their steps that nobody completed."""
    values = {"plan_id": plan_id, "size": SWEPT_A_BATCH}
    deleted = await tx.affect(sql.SWEEP_TASKS, values)
    if deleted == 0:
        await tx.execute(sql.SWEEP_STEPS, values)
    return deleted


# ------------------------------------------------------------------------------------------------- inside


@dataclass(frozen=True, slots=True)
class _Audience:
    """Whom the plan reaches, how many of them want something, and the first of these in batches."""

    learners: int
    wanting: int
    batches: Sequence[Batch]
    rest_after: UUID | None = None


async def _everybody(tx: Tx, values: dict[str, Any]) -> _Audience:
    limits = {"most": MOST_LEARNERS_A_BATCH, "least": LEAST_LEARNERS_A_BATCH, "batches": BATCHES_AT_LEAST}
    learners, size, ends = (await tx.execute(sql.AUDIENCE, {**values, **limits})).one()
    sizes = [*[size] * len(ends), learners - size * len(ends)]
    batches = [Batch(*each) for each in zip(sizes, [None, *ends], [*ends, None], strict=True)]
    return _Audience(learners, learners, batches)


async def _look(tx: Tx, values: dict[str, Any], *, after: UUID | None) -> _Audience:
    found = (await tx.execute(sql.LOOK, {**values, "after": after, "size": NAMED_BY_A_LOOK})).one()
    size = _batch_size(found.wanting, MOST_KEPT_A_BATCH)
    named = found.learners
    parts = [named[first : first + size] for first in range(0, len(named), size)]
    rest_after = named[-1] if len(named) < found.wanting else None
    return _Audience(found.reached, found.wanting, [Batch(len(part), learners=part) for part in parts], rest_after)


def _batch_size(learners: int, most: int) -> int:
    return min(most, max(LEAST_LEARNERS_A_BATCH, -(-learners // BATCHES_AT_LEAST)))


async def _newest(tx: Tx, work: PublishPlan) -> Row[Any]:
    plan = (await tx.execute(sql.READ_PLAN, {"plan_id": work.plan_id})).one_or_none()
    _check_newest(plan, work)
    assert plan is not None  # noqa: S101 - the check has raised
    return plan


def _check_newest(plan: Row[Any] | None, work: PublishPlan) -> None:
    if plan is None or plan.publish_generation != work.generation or plan.state != PlanState.PUBLISHING:
        raise Superseded


def _content(plan: Row[Any], work: PublishPlan) -> dict[str, Any]:
    """The settings that the generation is made of."""
    live: dict[str, Any] | None = plan.live_content if work.keeps_tasks else None
    settings: dict[str, Any] = plan.settings if live is None else live["settings"]
    return settings


async def _steps(tx: Tx, plan: Row[Any]) -> list[Step]:
    items = await items_of(tx, course_id=plan.course_id, keys=page_keys(plan.settings))
    assessments: list[Item] = []
    if dynamic_count(plan.settings):
        rows = await tx.execute(sql.ASSESSMENTS, {"course_id": plan.course_id})
        assessments = [Item(row.id, row.title, is_assessment=True) for row in rows]
    return make_steps(PlanType(plan.type), plan.settings, Content(items, assessments))


async def _write_steps(tx: Tx, plan_id: UUID, generation: int, steps: Sequence[Step]) -> None:
    if not steps:
        return
    rows = [
        {
            "plan_id": plan_id,
            "generation": generation,
            "position": position,
            "key": step.key,
            "kind": step.kind,
            "title": step.title,
            "content": step.content,
            "is_dynamic": step.is_dynamic,
        }
        for position, step in enumerate(steps)
    ]
    await tx.execute(text(sql.WRITE_STEP).bindparams(bindparam("content", type_=JSONB)), rows)


async def _nothing_to_do(tx: Tx, values: dict[str, Any], learners: int) -> Exception:
    rows = await tx.execute(sql.NAME_AUDIENCE, {**values, "size": NAMED_LEARNERS})
    named = [{"type": "User", "id": str(row.id), "name": row.name} for row in rows]
    who = f"{learners} learners" if learners else "Whoever joins"
    message = f"{who} would have nothing to do: the course no longer has what this plan is made of."
    return refuse(Code.EMPTY_TASKS, message, learners=named, count=learners)


async def _follow_roster(tx: Tx, work: PublishPlan, publication: Publication, values: dict[str, Any]) -> int:
    """Make or take away the tasks of those who joined or left while the batches were made: how many more learners.

    Their jobs (`plan.enroll`, `class.members_dropped`) have noted them, each sharing the plan's key. Those that come
    after us see the plan as we leave it.
    """
    changed = list(await tx.scalars(sql.TAKE_ROSTER_CHANGES, values))
    if not changed:
        return 0
    if work.keeps_tasks:
        await cancel_untouched(tx, user_ids=changed, plan_id=work.plan_id, now=values["now"])
        return 0
    among = {**values, "learners": changed}
    joined = await tx.affect(sql.MAKE_AMONG[publication.picks > 0], among)
    return joined - await tx.affect(sql.DELETE_OF_LEFT, among)


async def _carry(tx: Tx, values: dict[str, Any]) -> int:
    """Take what was touched along: how many tasks stay in the place of new ones.

    The plan's lock is everybody's who works on one of its tasks, so the trees below them are ours too.
    """
    kept = await tx.affect(sql.CARRY_TOUCHED, values)
    kept += await tx.affect(sql.KEEP_REASSIGNED, values)
    held = (await tx.scalars(sql.CANCEL_UNTARGETED, {**values, "reason": NO_LONGER_REACHED})).all()
    if held:
        await cancel_below(tx, task_ids=held, by=By(None, values["now"], NO_LONGER_REACHED))
    return kept
