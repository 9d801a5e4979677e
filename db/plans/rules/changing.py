"""What may be done with a plan beside saving it: taking it back, bringing it back, deleting it, giving more time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from db.errors import Code, Problem, Refused, refuse, written
from db.plans.rules.saving import CourseWindow, Draft, SaveDecision, Target, Tasking, decide_save
from db.plans.rules.settings import Item
from db.plans.rules.states import ALLOWED_IN, PlanAction, PlanFacts, is_open, standing_problems

# Tasking plans that a plan may have after extensions; saving takes fewer at once.
EXTENDED_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Extension:
    """More time for a target; a date that is None stays. `target` None: the plan's course has no such target."""

    target: Target | None
    due_at: datetime | None
    closes_at: datetime | None


@dataclass(frozen=True, slots=True)
class ExtensionDecision:
    """What an extension makes of a plan: the dates of its target before and after, and what is saved with them."""

    before: Tasking
    after: Tasking
    save: SaveDecision


def decide_withdraw(facts: PlanFacts) -> None:
    """Raises Refused: COURSE_ENDED, PLAN_WITHDRAWN where it is already, CONFLICT for a draft."""
    _require(facts, PlanAction.WITHDRAW)


def decide_restore(facts: PlanFacts, stored: Draft, *, now: datetime) -> SaveDecision:
    """What is published again. Openings that have passed are moved to now, for nobody else can move them any more.

    What the course has lost meanwhile does not stand in the way: the publication says it, and then the plan can be
    changed. Raises Refused: COURSE_ENDED, PLAN_NOT_WITHDRAWN, DUE_DATE_PASSED where it was never published.
    """
    _require(facts, PlanAction.RESTORE)
    was_open = is_open(facts, now=now)
    passed = () if was_open else tuple(i for i, each in enumerate(stored.taskings) if each.opens_at < now)
    late = [position for position in passed if stored.taskings[position].due_at < now]
    if late and facts.first_published_at is None:
        message = "`dueAt` has passed: nobody could do this in time."
        raise Refused(
            *[Problem(Code.DUE_DATE_PASSED, message, ("taskingPlans", str(position), "dueAt")) for position in late]
        )
    moved = tuple(position for position in passed if position not in late)
    taskings = tuple(
        replace(each, opens_at=now) if position in moved else each for position, each in enumerate(stored.taskings)
    )
    draft = replace(stored, taskings=taskings)
    return SaveDecision(draft, publishes=True, keeps_tasks=was_open, opened_now=moved)


def decide_delete(facts: PlanFacts) -> None:
    """Raises Refused: COURSE_ENDED, CONFLICT for anything but a draft that was never published."""
    if facts.has_course_ended:
        raise refuse(Code.COURSE_ENDED, "The course has ended; its plans no longer change.")
    if facts.state not in ALLOWED_IN[PlanAction.DELETE]:
        message = "Only a draft that was never published is deleted. Withdraw this plan instead."
        raise refuse(Code.CONFLICT, message, state=facts.state.value)


def decide_extension(
    facts: PlanFacts,
    stored: Draft,
    wanted: Extension,
    *,
    course_id: UUID,
    class_ids: Collection[UUID],
    window: CourseWindow,
    items: Mapping[UUID, Item],
    now: datetime,
) -> ExtensionDecision:
    """The dates of a target after an extension, which only ever moves them later; also once learners have begun.

    `class_ids`: the classes of the course that a learner is in. A learner or a class that has no dates of its own gets
    some: those that hold for it, with more time. Raises Refused with all problems: COURSE_ENDED, PLAN_WITHDRAWN,
    CONFLICT for a draft, NOT_FOUND at `targetId` where the plan does not reach it, BAD_USER_INPUT without a date,
    DATE_NOT_LATER, DATES_OUT_OF_ORDER, OUTSIDE_COURSE_DATES; before opening also what `decide_save` finds.
    """
    problems = standing_problems(facts, PlanAction.EXTEND)
    before = _in_force(stored, wanted.target, course_id=course_id, class_ids=class_ids)
    if before is None:
        message = "This is no course, class or active learner that the plan reaches."
        problems.append(Problem(Code.NOT_FOUND, message, ("targetId",)))
    elif before.target not in {each.target for each in stored.taskings} and len(stored.taskings) >= EXTENDED_LIMIT:
        message = f"A plan has dates of their own for at most {EXTENDED_LIMIT} targets: extend a class instead."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("targetId",), {"max": EXTENDED_LIMIT}))
    if wanted.due_at is None and wanted.closes_at is None:
        message = "Give `dueAt`, `closesAt` or both: what is to be later."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("dueAt",)))
    if before is None:
        raise Refused(*problems)
    after = replace(before, due_at=wanted.due_at or before.due_at, closes_at=wanted.closes_at or before.closes_at)
    problems += _date_problems(before, after, wanted, window)
    if problems:
        raise Refused(*problems)
    draft = replace(stored, taskings=_with(stored.taskings, after))
    if is_open(facts, now=now):
        return ExtensionDecision(before, after, SaveDecision(draft, publishes=True, keeps_tasks=not facts.is_replacing))
    save = decide_save(
        facts,
        draft,
        before=stored,
        window=window,
        items=items,
        publish=True,
        most_targets=EXTENDED_LIMIT,
        now=now,
    )
    return ExtensionDecision(before, after, save)


def _require(facts: PlanFacts, action: PlanAction) -> None:
    problems = standing_problems(facts, action)
    if problems:
        raise Refused(*problems)


def _in_force(stored: Draft, target: Target | None, *, course_id: UUID, class_ids: Collection[UUID]) -> Tasking | None:
    """The dates that hold for a target, under its name: its own, else its class's (the latest), else the course's."""
    if target is None:
        return None
    by_target = {each.target: each for each in stored.taskings}
    found = by_target.get(target)
    if found is None and target.user_id is not None:
        classes = [by_target[each] for key in class_ids if (each := Target(class_id=key)) in by_target]
        found = max(classes, key=lambda each: each.due_at, default=None)
    # Whoever is in no class of the course any more is not reached by the course.
    if found is None and (target.user_id is None or class_ids):
        found = by_target.get(Target(course_id=course_id))
    return None if found is None else replace(found, target=target)


def _with(taskings: tuple[Tasking, ...], after: Tasking) -> tuple[Tasking, ...]:
    """These with `after` in the place of the one that has its target, or at the end."""
    changed = tuple(after if each.target == after.target else each for each in taskings)
    return changed if after in changed else (*taskings, after)


def _date_problems(before: Tasking, after: Tasking, wanted: Extension, window: CourseWindow) -> list[Problem]:
    dates = {
        "dueAt": (before.due_at, wanted.due_at),
        "closesAt": (before.closes_at, wanted.closes_at),
    }
    given = {name: (old, new) for name, (old, new) in dates.items() if new is not None}
    moves = any(new > old for old, new in given.values())
    problems = []
    for name, (old, new) in given.items():
        if new < old or not moves:
            message = f"`{name}` only ever moves to later: it is {written(old)} now."
            problems.append(Problem(Code.DATE_NOT_LATER, message, (name,), {"now": written(old)}))
        elif window.ends_at is not None and new > window.ends_at:
            message = f"`{name}` is after the course ends, at {written(window.ends_at)}."
            problems.append(Problem(Code.OUTSIDE_COURSE_DATES, message, (name,)))
    if after.due_at > after.closes_at:
        message = f"`closesAt` must not be before `dueAt`; it is {written(after.closes_at)}."
        problems.append(Problem(Code.DATES_OUT_OF_ORDER, message, ("closesAt",)))
    return problems
