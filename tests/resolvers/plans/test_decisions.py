"""Who may do what with a plan in which state: the rules' tables, tried cell by cell through the API.

What is expected is read from the tables (`ALLOWED_IN`, `LOCKED_AFTER_OPEN`), never from the functions that decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.errors import Code
from db.plans.rules import ALLOWED_IN, LOCKED_AFTER_OPEN, PlanAction, PlanState
from tests.support.api import Api, id_of
from tests.support.people import admin, person
from tests.support.plans import World, another_class

DAY = timedelta(days=1)
S, A = PlanState, PlanAction

# Every state with whether learners have opened their tasks; a plan that was never published has none.
PLACES = [
    (S.DRAFT, False),
    (S.PUBLISHING, False),
    (S.PUBLISHING, True),
    (S.PUBLISHED, False),
    (S.PUBLISHED, True),
    (S.PUBLISH_FAILED, False),
    (S.WITHDRAWN, False),
    (S.WITHDRAWN, True),
]
WRITERS = ("admin", "editor", "teacher")


@dataclass(frozen=True)
class Try:
    """Something that is asked: the mutation, the action it is, the field that it changes."""

    mutation: str
    action: PlanAction
    field: str | None = None


TRIES = [
    Try("updatePlan", A.UPDATE, "title"),
    Try("updatePlan", A.UPDATE, "description"),
    Try("updatePlan", A.UPDATE, "settings"),
    Try("updatePlan", A.UPDATE, "taskingPlans"),
    Try("publishPlan", A.PUBLISH),
    Try("extendPlan", A.EXTEND),
    Try("withdrawPlan", A.WITHDRAW),
    Try("restorePlan", A.RESTORE),
    Try("deletePlan", A.DELETE),
]


def expected(state: PlanState, is_open: bool, role: str, tried: Try) -> list[tuple[str, str]]:
    """The refusals that the tables foretell, each with its field; none where it is done."""
    if role not in WRITERS:
        is_hidden = role == "stranger" or (role == "learner" and not is_open)
        return [(Code.NOT_FOUND if is_hidden else Code.FORBIDDEN, "input.planId")]
    if tried.action is A.DELETE:
        return [] if state in ALLOWED_IN[A.DELETE] else [(Code.CONFLICT, "")]
    refusals: list[tuple[str, str]] = []
    if state not in ALLOWED_IN[tried.action]:
        elsewhere = Code.PLAN_NOT_WITHDRAWN if tried.action is A.RESTORE else Code.CONFLICT
        refusals.append((Code.PLAN_WITHDRAWN if state is S.WITHDRAWN else elsewhere, ""))
    if is_open and tried.field in LOCKED_AFTER_OPEN:
        refusals.append((Code.NOT_UPDATABLE_AFTER_OPEN, f"input.{tried.field}"))
    return refusals


_PUBLISH = text(
    """
    WITH plan AS (
        UPDATE plans SET state = 'PUBLISHED', publish_generation = 1, live_generation = 1, live_opens_at = :opens_at,
            publish_last_requested_at = :at, first_published_at = :at, last_published_at = :at
        WHERE id = :plan_id RETURNING id, title
    ), dated AS (
        UPDATE tasking_plans SET opens_at = :opens_at WHERE plan_id = :plan_id RETURNING due_at, closes_at
    )
    INSERT INTO tasks (type_name, title, assignee_user_id, plan_id, generation, opens_at, due_at, closes_at)
    SELECT 'reading', plan.title, :learner, plan.id, 1, :opens_at, dated.due_at, dated.closes_at FROM plan, dated
    """
)
_FAIL = text("UPDATE plans SET state = 'PUBLISH_FAILED', publish_last_requested_at = :at WHERE id = :plan_id")


async def a_plan(world: World, state: PlanState, *, is_open: bool) -> UUID:
    """A plan in that place, with one learner's task where it was published."""
    plan_id = (await world.create()).plan_id
    async with world.database.transaction() as tx:
        opens_at = tx.now - DAY if is_open else tx.now + DAY
        values: dict[str, Any] = {"plan_id": plan_id, "at": tx.now - 2 * DAY}
        if is_open or state in {S.PUBLISHED, S.WITHDRAWN}:
            await tx.execute(_PUBLISH, {**values, "opens_at": opens_at, "learner": world.learners[0]})
        elif state is S.PUBLISH_FAILED:
            await tx.execute(_FAIL, values)
    if state is S.PUBLISHING:
        await world.publish(plan_id)
    elif state is S.WITHDRAWN:
        await world.withdraw(plan_id)
    assert (await world.plan(plan_id)).state == state.value
    return plan_id


async def people(world: World) -> Mapping[str, Api]:
    """Somebody in every role."""
    class_teacher = await person(world.database, "Class Teacher")
    second, _ = await another_class(world, learners=0)
    async with world.database.transaction() as tx:
        given = text("UPDATE classes SET teacher_id = :user_id WHERE id = :id")
        await tx.execute(given, {"user_id": class_teacher.user_id, "id": second})
    viewers = {
        "admin": await admin(world.database),
        "editor": await person(world.database, "Ed", Role.EDITOR),
        "teacher": world.teacher,
        "class_teacher": class_teacher,
        "learner": Viewer(world.learners[0], "Learner", frozenset({Role.MEMBER})),
        "stranger": await person(world.database, "Stranger"),
    }
    return {role: Api(world.database, viewer) for role, viewer in viewers.items()}


def wanted(world: World, plan_id: UUID, tried: Try, now: datetime) -> dict[str, Any]:
    """The input of a mutation that changes what it is about."""
    given: dict[str, Any] = {"planId": id_of("TaskPlan", plan_id)}
    class_id = id_of("CourseClass", world.class_id)
    dates = {"opensAt": now + DAY, "dueAt": now + 4 * DAY, "closesAt": now + 5 * DAY}
    changes: dict[str | None, Any] = {
        "title": {"title": "Anew"},
        "description": {"description": "More"},
        "settings": {"settings": {"page_ids": [id_of("CourseItem", world.pages[0])]}},
        "taskingPlans": {
            "taskingPlans": [{"targetId": class_id, **{name: at.isoformat() for name, at in dates.items()}}]
        },
    }
    if tried.mutation == "extendPlan":
        return {**given, "targetId": class_id, "closesAt": (now + 9 * DAY).isoformat()}
    return {**given, **changes.get(tried.field, {})}


async def ask(api: Api, tried: Try, given: dict[str, Any]) -> list[tuple[str, str]]:
    """The refusals of a mutation: code and field of each."""
    name = tried.mutation
    input_type = f"{name[0].upper()}{name[1:]}Input!"
    query = f"mutation ($input: {input_type}) {{ {name}(input: $input) {{ userErrors {{ code field }} }} }}"
    found = (await api.data(query, input=given))[name]["userErrors"]
    return [(error["code"], ".".join(error["field"])) for error in found]


@pytest.mark.parametrize(("state", "is_open"), PLACES)
async def test_each_role_may_do_what_the_tables_say(world: World, state: PlanState, is_open: bool) -> None:
    apis = await people(world)
    async with world.database.transaction() as tx:
        now = tx.now
    plan_id = await a_plan(world, state, is_open=is_open)
    before = await world.plan(plan_id)
    offered: set[str] = set()
    for tried in TRIES:
        for role, api in apis.items():
            cell = f"{state}, {'open' if is_open else 'not open'}, {role}: {tried.mutation} {tried.field or ''}"
            refusals = expected(state, is_open, role, tried)
            answer = await ask(api, tried, wanted(world, plan_id, tried, now))
            assert answer == refusals, cell
            if not refusals:
                offered |= {tried.action.value}
                # What was done is done: the next one tries it on a plan as this one was.
                plan_id = await a_plan(world, state, is_open=is_open)
                before = await world.plan(plan_id)
            else:
                assert await world.plan(plan_id) == before, cell
    shown = "query ($id: ID!) { plan(id: $id) { availableActions lockedFields } }"
    for role in WRITERS:
        seen = (await apis[role].data(shown, id=id_of("TaskPlan", plan_id)))["plan"]
        assert set(seen["availableActions"]) - {"CANCEL_PUBLISH"} == offered
        locked = {tried.field for tried in TRIES if tried.field is not None and expected(state, is_open, role, tried)}
        assert set(seen["lockedFields"]) == locked
    assert ("CANCEL_PUBLISH" in seen["availableActions"]) == (state is S.PUBLISHING)


@pytest.mark.parametrize("tried", TRIES, ids=lambda tried: f"{tried.mutation} {tried.field or ''}".strip())
async def test_nothing_is_written_once_the_course_has_ended(world: World, tried: Try) -> None:
    api = Api(world.database, world.teacher)
    state = {A.RESTORE: S.WITHDRAWN, A.DELETE: S.DRAFT}.get(tried.action, S.PUBLISHED)
    plan_id = await a_plan(world, state, is_open=False)
    async with world.database.transaction() as tx:
        now = tx.now
        await tx.execute(text("UPDATE courses SET ends_at = :now"), {"now": now - timedelta(seconds=1)})
    before = await world.plan(plan_id)
    answer = await ask(api, tried, wanted(world, plan_id, tried, now))
    assert ("COURSE_ENDED", "") in answer
    assert await world.plan(plan_id) == before
    shown = "query ($id: ID!) { plan(id: $id) { availableActions } }"
    assert (await api.data(shown, id=id_of("TaskPlan", plan_id)))["plan"]["availableActions"] == []
