"""What a change of a class means for the domains above it: plans and rescoping.

Each of these may run late, twice, or after the next change: it looks at who is in the class now, among those whom its
change concerned, and leaves alone whoever has left or come back meanwhile.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from db.courses.jobs import CourseAssigned, MembersAdded, MembersDropped, ReachChanged, RescopeEnabled
from db.courses.queries import active_members, members_ever, members_of_change
from db.courses.rules import EnrollmentStatus
from db.plans import commands as plans
from jobs.attempt import Attempt, handles


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
            moves=work.from_class_id is not None,
            actor_id=attempt.actor_id,
        )
        end.result = {"members": len(members)}
    return None


@handles(MembersDropped)
async def members_dropped(attempt: Attempt, work: MembersDropped) -> Mapping[str, Any] | None:
    """Learners left a class: what they have not touched is cancelled. Whoever has joined again is left alone."""
    await attempt.progress(step="Looking who left")
    async with attempt.completing() as end:
        left = await members_of_change(
            end.tx, class_id=work.class_id, change_id=work.change_id, status=EnrollmentStatus.DROPPED
        )
        still_there = set(await active_members(end.tx, class_id=work.class_id))
        gone = [user_id for user_id in left if user_id not in still_there]
        await plans.drop_learners(end.tx, user_ids=gone, now=end.tx.now)
        end.result = {"members": len(gone)}
    return None


@handles(CourseAssigned)
async def course_assigned(attempt: Attempt, work: CourseAssigned) -> Mapping[str, Any] | None:
    """A class got a course: its learners get what of its plans is for everybody, and lose what was of another course.

    What they have touched stays theirs.
    """
    await _follow_class(attempt, class_id=work.class_id)
    return None


@handles(ReachChanged)
async def reach_changed(attempt: Attempt, work: ReachChanged) -> Mapping[str, Any] | None:
    """A class was archived, put back, or has left its course: what its members have not touched goes, or comes again.

    What they have touched stays theirs.
    """
    await _follow_class(attempt, class_id=work.class_id, course_id=work.course_id)
    return None


async def _follow_class(attempt: Attempt, *, class_id: UUID, course_id: UUID | None = None) -> None:
    await attempt.progress(step="Looking who is in the class")
    async with attempt.completing() as end:
        members = await active_members(end.tx, class_id=class_id)
        # Also who has left since: leaving a class without a course is told to nobody.
        concerned = await members_ever(end.tx, class_id=class_id)
        await plans.drop_learners(end.tx, user_ids=concerned, course_id=course_id, now=end.tx.now)
        await plans.ask_to_enroll(end.tx, class_id=class_id, user_ids=members, moves=False, actor_id=attempt.actor_id)
        end.result = {"members": len(members)}


@handles(RescopeEnabled)
async def rescope_enabled(attempt: Attempt, work: RescopeEnabled) -> Mapping[str, Any] | None:
    """Rescoping was switched on: each learner of the class may have something to skip."""
    await attempt.progress(step="Looking who is in the class")
    async with attempt.completing() as end:
        end.result = {"members": len(await active_members(end.tx, class_id=work.class_id))}
    return None
