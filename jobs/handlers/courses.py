"""What a change of a class means for the domains above it: plans and rescoping.

Each of these may run late, twice, after the job of the next change, or beside it: it looks at who is in the class now,
among those whom its change concerned, and leaves alone whoever has left or come back meanwhile. Where two concern one
learner, what each does for that learner comes wholly before the other or wholly after it, and the later one sees both
changes. What is taken back is taken back in batches; a batch that is run again finds nothing more to do.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from db.courses.jobs import CourseAssigned, MembersAdded, MembersDropped, ReachChanged, RescopeEnabled
from db.courses.queries import active_members, members_ever, members_of_change
from db.courses.rules import EnrollmentStatus
from db.plans import commands as plans
from jobs.attempt import Attempt, handles

# Learners whose tasks are cancelled in one transaction: with forty tasks each these are some 8,000.
DROPPED_AT_ONCE = 200


@handles(MembersAdded)
async def members_added(attempt: Attempt, work: MembersAdded) -> Mapping[str, Any] | None:
    """Learners joined a class, or moved to it: a job for each makes what they have not got of its plans."""
    await attempt.progress(step="Looking who joined")
    async with attempt.completing() as end:
        members = await members_of_change(end.tx, class_id=work.class_id, change_id=work.change_id)
        await plans.ask_to_enroll(
            end.tx,
            class_id=work.class_id,
            user_ids=members,
            moves=work.from_class_id is not None or work.is_return,
            actor_id=attempt.actor_id,
        )
        end.result = {"members": len(members)}
    return None


@handles(MembersDropped)
async def members_dropped(attempt: Attempt, work: MembersDropped) -> Mapping[str, Any] | None:
    """Learners left a class: what they have not touched is cancelled. Whoever has joined again is left alone.

    What a plan gives them through another class all the same goes by that class from now on.
    """
    await attempt.progress(step="Looking who left")
    course_ids = None if work.course_id is None else [work.course_id]
    async with attempt.transaction() as tx:
        left = await members_of_change(
            tx, class_id=work.class_id, change_id=work.change_id, status=EnrollmentStatus.DROPPED
        )
        still_there = set(await active_members(tx, class_id=work.class_id))
    gone = [user_id for user_id in left if user_id not in still_there]
    await _drop(attempt, user_ids=gone, course_ids=course_ids)
    async with attempt.completing() as end:
        await plans.ask_to_redate(
            end.tx, class_id=work.class_id, user_ids=gone, course_ids=course_ids or (), actor_id=attempt.actor_id
        )
        end.result = {"members": len(gone)}
    return None


@handles(CourseAssigned)
async def course_assigned(attempt: Attempt, work: CourseAssigned) -> Mapping[str, Any] | None:
    """A class got a course: its learners get what of its plans is for everybody, and lose what was of another course.

    What they have touched stays theirs.
    """
    course_ids = None if work.left_course_ids is None else [work.course_id, *work.left_course_ids]
    await _follow_class(attempt, class_id=work.class_id, course_ids=course_ids)
    return None


@handles(ReachChanged)
async def reach_changed(attempt: Attempt, work: ReachChanged) -> Mapping[str, Any] | None:
    """A class was archived, put back, or has left its course: what its members have not touched goes, or comes again.

    What they have touched stays theirs.
    """
    await _follow_class(attempt, class_id=work.class_id, course_ids=[work.course_id])
    return None


async def _follow_class(attempt: Attempt, *, class_id: UUID, course_ids: Sequence[UUID] | None) -> None:
    await attempt.progress(step="Looking who is in the class")
    async with attempt.transaction() as tx:
        # Also who has left since: leaving a class without a course is told to nobody.
        concerned = await members_ever(tx, class_id=class_id)
    await _drop(attempt, user_ids=concerned, course_ids=course_ids)
    # All who are asked for, and the end, at once: asking again would make their jobs twice. These are new rows, which
    # nobody waits for.
    async with attempt.completing() as end:
        members = await active_members(end.tx, class_id=class_id)
        actor_id = attempt.actor_id
        await plans.ask_to_redate(
            end.tx, class_id=class_id, user_ids=concerned, course_ids=course_ids or (), actor_id=actor_id
        )
        await plans.ask_to_enroll(end.tx, class_id=class_id, user_ids=members, moves=False, actor_id=actor_id)
        end.result = {"members": len(members)}


async def _drop(attempt: Attempt, *, user_ids: Sequence[UUID], course_ids: Sequence[UUID] | None) -> None:
    """Take back what no plan reaches these learners with: some of them at a time, so that nobody waits for long.

    Each time by the classes as they are then. Where they change meanwhile, that change has a job of its own, which may
    run at the same time: for each learner the two take turns, and the later one goes by the change.
    """
    async with attempt.transaction() as tx:
        await plans.wait_for_publications(tx, course_ids=course_ids)
    for first in range(0, len(user_ids), DROPPED_AT_ONCE):
        part = user_ids[first : first + DROPPED_AT_ONCE]
        async with attempt.transaction() as tx:
            await plans.drop_learners(tx, user_ids=part, course_ids=course_ids, now=tx.now)
        done = first + len(part)
        await attempt.progress(done=done, total=len(user_ids), step="Cancelling what is out of reach")


@handles(RescopeEnabled)
async def rescope_enabled(attempt: Attempt, work: RescopeEnabled) -> Mapping[str, Any] | None:
    """Rescoping was switched on: each learner of the class may have something to skip."""
    await attempt.progress(step="Looking who is in the class")
    async with attempt.completing() as end:
        end.result = {"members": len(await active_members(end.tx, class_id=work.class_id))}
    return None
