"""Whether a plan may be saved and published as it is wanted. All that is wrong is told at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from db.errors import Code, Problem, Refused, written
from db.plans.rules.settings import Item, is_empty, normal, settings_problems
from db.plans.rules.states import LOCKED_AFTER_OPEN, PlanAction, PlanFacts, PlanType, is_open, standing_problems

TITLE_LIMIT = 255
DESCRIPTION_LIMIT = 10_000
TARGET_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a tasking plan reaches: exactly one of a course, a class or a learner."""

    course_id: UUID | None = None
    class_id: UUID | None = None
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Tasking:
    """A target and its dates. `target` None: the id given is unknown, or the target is not of the plan's course."""

    target: Target | None
    opens_at: datetime
    due_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan as it is wanted."""

    type: PlanType
    title: str
    description: str
    settings: Any
    taskings: tuple[Tasking, ...]


@dataclass(frozen=True, slots=True)
class CourseWindow:
    """The dates of the plan's course, where it has any."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SaveDecision:
    """What is to be written. `publishes`: a publication follows; `keeps_tasks`: it adds to the tasks that are open.

    `opened_now`: which tasking plans, by position, had their opening moved to now.
    """

    draft: Draft
    publishes: bool
    keeps_tasks: bool
    opened_now: tuple[int, ...] = ()


def decide_save(
    facts: PlanFacts,
    draft: Draft,
    *,
    before: Draft | None,
    window: CourseWindow,
    items: Mapping[UUID, Item],
    publish: bool,
    open_now: bool = False,
    most_targets: int = TARGET_LIMIT,
    now: datetime,
) -> SaveDecision:
    """Whether `draft` may replace `before` (None: a new plan), and whether that publishes it.

    A plan whose publication was ever requested publishes with every save. `most_targets`: so many tasking plans it may
    have, or as many as it has, for extensions may have made it more. Raises Refused with all problems.
    """
    draft = replace(draft, title=draft.title.strip(), settings=normal(draft.settings))
    publishes = publish or facts.publish_last_requested_at is not None
    was_open = is_open(facts, now=now)
    problems = [*standing_problems(facts, PlanAction.UPDATE), *_text_problems(draft)]
    opened: tuple[int, ...] = ()
    if before is not None and was_open:
        problems += _lock_problems(draft, before)
    else:
        most = max(most_targets, 0 if before is None else len(before.taskings))
        problems += _content_problems(draft, window, items, most)
        if publishes:
            draft, opened, more = _publication(facts, draft, open_now=open_now, now=now)
            problems += more
    if problems:
        raise Refused(*problems)
    return SaveDecision(draft, publishes=publishes, keeps_tasks=was_open and not facts.is_replacing, opened_now=opened)


def problems_of_any_course(draft: Draft) -> list[Problem]:
    """What is wrong with a plan whatever its course has: all that can be told where there is no such course."""
    problems = _text_problems(replace(draft, title=draft.title.strip()))
    problems += [] if draft.taskings else [_no_tasking()]
    for position, tasking in enumerate(draft.taskings):
        problems += _date_problems(tasking, CourseWindow(), ("taskingPlans", str(position)))
    return problems


def _text_problems(draft: Draft) -> list[Problem]:
    problems = []
    if not 1 <= len(draft.title) <= TITLE_LIMIT:
        message = f"`title` must have 1 to {TITLE_LIMIT} characters; it has {len(draft.title)}."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("title",), {"min": 1, "max": TITLE_LIMIT}))
    if len(draft.description) > DESCRIPTION_LIMIT:
        message = f"`description` must have at most {DESCRIPTION_LIMIT} characters; it has {len(draft.description)}."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("description",), {"max": DESCRIPTION_LIMIT}))
    return problems


def _lock_problems(draft: Draft, before: Draft) -> list[Problem]:
    changed = {
        "settings": draft.settings != before.settings,
        "taskingPlans": not same_taskings(draft.taskings, before.taskings),
    }
    locked = [name for name in LOCKED_AFTER_OPEN if changed[name]]
    details = {"lockedFields": list(LOCKED_AFTER_OPEN)}
    return [
        Problem(
            Code.NOT_UPDATABLE_AFTER_OPEN,
            f"`{name}` can no longer change: the plan is open to learners. Title and description still can.",
            (name,),
            details,
        )
        for name in locked
    ]


def same_taskings(some: Sequence[Tasking], others: Sequence[Tasking]) -> bool:
    """Whether these are the same targets with the same dates, in whatever order."""

    def by_target(tasking: Tasking) -> str:
        return str(tasking.target)

    return sorted(some, key=by_target) == sorted(others, key=by_target)


def _content_problems(draft: Draft, window: CourseWindow, items: Mapping[UUID, Item], most: int) -> list[Problem]:
    problems = [] if draft.taskings else [_no_tasking()]
    if len(draft.taskings) > most:
        message = f"A plan has at most {most} tasking plans; these are {len(draft.taskings)}."
        problems.append(Problem(Code.BAD_USER_INPUT, message, ("taskingPlans",), {"max": most}))
    seen: dict[Target, int] = {}
    for position, tasking in enumerate(draft.taskings):
        path = ("taskingPlans", str(position))
        if tasking.target is None:
            message = "This is no course, class or active learner that the plan's course has."
            problems.append(Problem(Code.NOT_FOUND, message, (*path, "targetId")))
        elif tasking.target in seen:
            message = f"Tasking plan {seen[tasking.target]} has this target already."
            problems.append(Problem(Code.DUPLICATE_TARGET, message, (*path, "targetId")))
        else:
            seen[tasking.target] = position
        problems += _date_problems(tasking, window, path)
    return problems + settings_problems(draft.type, draft.settings, items)


def _no_tasking() -> Problem:
    message = "A plan needs at least one tasking plan: who gets it, and when."
    return Problem(Code.NO_TASKING_PLANS, message, ("taskingPlans",))


def _date_problems(tasking: Tasking, window: CourseWindow, path: tuple[str, ...]) -> list[Problem]:
    problems = []
    if tasking.opens_at > tasking.due_at:
        message = "`dueAt` must not be before `opensAt`."
        problems.append(Problem(Code.DATES_OUT_OF_ORDER, message, (*path, "dueAt")))
    if tasking.due_at > tasking.closes_at:
        message = "`closesAt` must not be before `dueAt`."
        problems.append(Problem(Code.DATES_OUT_OF_ORDER, message, (*path, "closesAt")))
    dates = {"opensAt": tasking.opens_at, "dueAt": tasking.due_at, "closesAt": tasking.closes_at}
    for name, at in dates.items():
        if window.starts_at is not None and at < window.starts_at:
            message = f"`{name}` is before the course starts, at {written(window.starts_at)}."
            problems.append(Problem(Code.OUTSIDE_COURSE_DATES, message, (*path, name)))
        if window.ends_at is not None and at > window.ends_at:
            message = f"`{name}` is after the course ends, at {written(window.ends_at)}."
            problems.append(Problem(Code.OUTSIDE_COURSE_DATES, message, (*path, name)))
    return problems


def _publication(
    facts: PlanFacts, draft: Draft, *, open_now: bool, now: datetime
) -> tuple[Draft, tuple[int, ...], list[Problem]]:
    problems = []
    if is_empty(draft.type, draft.settings):
        message = "There is nothing to do in this plan: give it a page or an exercise."
        problems.append(Problem(Code.EMPTY_PLAN, message, ("settings",)))
    opened = []
    taskings = list(draft.taskings)
    for position, tasking in enumerate(draft.taskings):
        path = ("taskingPlans", str(position))
        is_moved = open_now and tasking.opens_at < now
        if tasking.due_at < now and (facts.first_published_at is None or is_moved):
            message = "`dueAt` has passed: nobody could do this in time."
            problems.append(Problem(Code.DUE_DATE_PASSED, message, (*path, "dueAt")))
        if tasking.opens_at >= now:
            continue
        if open_now:
            taskings[position] = replace(tasking, opens_at=now)
            opened.append(position)
        else:
            message = "`opensAt` has passed. Choose a later one, or open it now with `publishPlan(openNow: true)`."
            problems.append(Problem(Code.OPEN_DATE_PASSED, message, (*path, "opensAt")))
    return replace(draft, taskings=tuple(taskings)), tuple(opened), problems
