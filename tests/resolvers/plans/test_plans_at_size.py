"""What is read of large plans, in blocks: a page costs what it shows, statistics what their learners are."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.plans import commands as plans
from tests.support.api import Api, id_of
from tests.support.blocks import Recorded
from tests.support.plans import World, another_class

CLASSES = 4
# Large enough that walking along the names is the shorter way, though many people are no learners of the plan.
LEARNERS = 3_200
STRANGERS = 2_500
# A page of 20 reads its rows and whose they are, each perhaps in a block of its own, and the ways to them.
MOST_BLOCKS = 600
MOST_BLOCKS_OF_ONE = 60
MOST_BLOCKS_TO_FIND_FEW = 12_000
PLANS = 16
MOST_BLOCKS_OF_SMALL = 50
MOST_BLOCKS_A_LEARNER = 10

_RENAME = "UPDATE users SET name = left(name, 1) || md5(name) WHERE name LIKE '% learner %' OR name LIKE 'Newcomer%'"
# As a publication leaves it: every tenth has begun, half of these are done; some have none any more, and of some a
# cancelled one is there, too. The names are in no order that the keys are in.
_FILL = """
    WITH plan AS (
        UPDATE plans SET state = 'PUBLISHED', publish_generation = 1, live_generation = 1,
            live_opens_at = now() - interval '2 days', publish_last_requested_at = now() - interval '3 days',
            first_published_at = now() - interval '3 days', last_published_at = now() - interval '3 days'
        WHERE id = :plan_id RETURNING id
    ), numbered AS (
        SELECT user_id, row_number() OVER (PARTITION BY class_id ORDER BY user_id) AS n
        FROM enrollments WHERE status = 'ACTIVE' AND class_id = ANY (:class_ids)
    ), made AS (
        SELECT user_id, CASE
            WHEN n % 20 = 0 THEN 'COMPLETED' WHEN n % 10 = 0 THEN 'IN_PROGRESS' ELSE 'ASSIGNED'
        END AS status
        FROM numbered WHERE n % 50 <> 7
        UNION ALL SELECT user_id, 'CANCELLED' FROM numbered WHERE n % 20 = 7
    )
    INSERT INTO tasks (
        type_name, title, assignee_user_id, status, started_at, closed_at, is_touched, plan_id, generation,
        opens_at, due_at, closes_at
    )
    SELECT 'reading', 'Read', user_id, status,
        CASE WHEN status IN ('COMPLETED', 'IN_PROGRESS') THEN now() END,
        CASE WHEN status IN ('COMPLETED', 'CANCELLED') THEN now() END,
        status <> 'ASSIGNED', plan.id, 1, now() - interval '2 days', now() - interval '1 day', now() + interval '1 day'
    FROM plan, made
"""
_OF_A_TEAM = """
    WITH team AS (INSERT INTO teams (name) VALUES ('Team') RETURNING id)
    INSERT INTO tasks (type_name, title, assignee_team_id, plan_id, generation, opens_at, due_at, closes_at)
    SELECT 'reading', 'Read', team.id, p.id, 1, now(), now(), now() FROM team, plans p WHERE p.id = :plan_id
"""
_EVERYBODY = """
    INSERT INTO enrollments (class_id, user_id, status, sort_name, change_id, enrolled_at)
    SELECT :class_id, user_id, 'ACTIVE', sort_name, change_id, enrolled_at
    FROM enrollments WHERE class_id = ANY (:class_ids)
"""
_FEW_ARE_DONE = """
    UPDATE tasks SET status = 'ASSIGNED', closed_at = NULL WHERE plan_id = :plan_id AND status = 'COMPLETED'
        AND assignee_user_id NOT IN (SELECT id FROM users WHERE name LIKE 'C%' ORDER BY lower(name) DESC LIMIT 100)
"""
_LEFT = """
    INSERT INTO tasks (
        type_name, title, assignee_user_id, status, closed_at, plan_id, generation, opens_at, due_at, closes_at
    )
    SELECT 'reading', 'Read', id, status, CASE WHEN status = 'CANCELLED' THEN now() END, :plan_id, generation,
        now(), now(), now()
    FROM users, generate_series(1, 2) generation, unnest(ARRAY['ASSIGNED', 'CANCELLED']) status
"""
_SCANNED = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'tasks'"
_STORED = """
    SELECT coalesce(u.name, 'Team') AS name, t.status FROM tasks t LEFT JOIN users u ON u.id = t.assignee_user_id
    WHERE t.plan_id = :plan_id AND {condition} ORDER BY coalesce(lower(u.name), ''), t.assignee_user_id, t.id
"""
PAGE = """
    query ($id: ID!, $first: Int, $after: String, $statuses: [TaskStatus!], $class: ID) {
        plan(id: $id) { tasks(first: $first, after: $after, statuses: $statuses, classId: $class) {
            nodes { status assignedTo { name } } pageInfo { endCursor hasNextPage }
        } }
    }
"""
COUNTS = ("learners", "assigned", "notStarted", "inProgress", "onHold", "completed", "overdue")
STATS = """
    query ($id: ID!) { plan(id: $id) { stats { ...Of byClass { class { name } ...OfClass } } } }
    fragment Of on PlanStats { COUNTS }
    fragment OfClass on ClassPlanStats { COUNTS }
""".replace("COUNTS", " ".join(COUNTS))


@dataclass(frozen=True)
class Large:
    """A plan for a whole course of several classes, and one for a single class of it: a fourth of the size."""

    world: World
    classes: list[UUID]
    whole: UUID
    quarter: UUID

    async def stored(self, condition: str = "true", **values: Any) -> list[tuple[str, str]]:
        """What a list of the whole plan should have."""
        sql = _STORED.format(condition=condition)
        return [tuple(row) for row in await self.world.rows(sql, plan_id=self.whole, **values)]


@pytest.fixture
async def large(world: World) -> Large:
    await world.newcomers(STRANGERS)
    size = LEARNERS // CLASSES
    classes = [(await another_class(world, learners=size, name=f"Class {n}"))[0] for n in range(CLASSES)]
    whole = (await world.create(world.tasking("Course", world.course_id))).plan_id
    quarter = (await world.create(world.tasking(key=classes[0]))).plan_id
    async with world.database.transaction() as tx:
        await tx.execute(text(_RENAME))
        await tx.execute(text(_FILL), {"plan_id": whole, "class_ids": classes})
        await tx.execute(text(_FILL), {"plan_id": quarter, "class_ids": classes[:1]})
    await world.database.reader.fetch("VACUUM ANALYZE")
    return Large(world, classes, whole, quarter)


async def walked(api: Api, plan_id: UUID, **given: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """All that a list has, name and status, page by page, and where its pages end."""
    found: list[tuple[str, str]] = []
    ends: list[str] = []
    is_more = True
    while is_more:
        after = ends[-1] if ends else None
        answer = await api.data(PAGE, id=id_of("TaskPlan", plan_id), first=100, after=after, **given)
        page = answer["plan"]["tasks"]
        found += [(node["assignedTo"]["name"], node["status"]) for node in page["nodes"]]
        ends.append(page["pageInfo"]["endCursor"])
        is_more = page["pageInfo"]["hasNextPage"]
    return found, ends


async def test_a_page_of_a_large_plan_costs_what_it_shows(large: Large, teacher: Api) -> None:
    recorded = Recorded(large.world.database.reader)
    of_class = "t.assignee_user_id IN (SELECT user_id FROM enrollments WHERE class_id = :id)"
    lists: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({}, await large.stored()),
        ({"statuses": ["ASSIGNED"]}, await large.stored("t.status = 'ASSIGNED'")),
        ({"class": id_of("CourseClass", large.classes[2])}, await large.stored(of_class, id=large.classes[2])),
    ]
    for given, expected in lists:
        found, ends = await walked(teacher, large.whole, **given)
        assert found == expected
        for after in (None, ends[-3]):
            recorded.executed.clear()
            await teacher.data(PAGE, id=id_of("TaskPlan", large.whole), first=20, after=after, **given)
            assert await recorded.blocks() <= MOST_BLOCKS, (given, after)
    # Few among many are found as well, by reading the plan's tasks.
    assert (await walked(teacher, large.whole, statuses=["COMPLETED"]))[0] == await large.stored(
        "t.status = 'COMPLETED'"
    )


async def test_small_plans_beside_large_ones_cost_little(large: Large, teacher: Api) -> None:
    for number in range(PLANS):
        small = (await large.world.create(large.world.tasking())).plan_id
        if number % 2:
            async with large.world.database.transaction() as tx:
                await tx.execute(text(_FILL), {"plan_id": small, "class_ids": [large.world.class_id]})
    recorded = Recorded(large.world.database.reader)
    query = "query ($id: ID!) { course(id: $id) { plans { nodes { tasks(first: 1) { nodes { status } } } } } }"
    nodes = (await teacher.data(query, id=id_of("Course", large.world.course_id)))["course"]["plans"]["nodes"]
    assert sorted(len(node["tasks"]["nodes"]) for node in nodes) == [0] * (PLANS // 2) + [1] * (PLANS // 2 + 2)
    recorded.executed = recorded.executed[-1:]
    assert await recorded.blocks() <= MOST_BLOCKS_OF_SMALL * PLANS


async def test_few_of_a_large_class_are_found_without_looking_each_member_up(large: Large, teacher: Api) -> None:
    async with large.world.database.transaction() as tx:
        await tx.execute(text(_EVERYBODY), {"class_id": large.world.class_id, "class_ids": large.classes})
        await tx.execute(text(_FEW_ARE_DONE), {"plan_id": large.whole})
    await large.world.database.reader.fetch("VACUUM ANALYZE")
    expected = await large.stored("t.status = 'COMPLETED'")
    assert 0 < len(expected) <= 20
    recorded = Recorded(large.world.database.reader)
    given = {"id": id_of("TaskPlan", large.whole), "class": id_of("CourseClass", large.world.class_id)}
    answer = await teacher.data(PAGE, first=20, statuses=["COMPLETED"], **given)
    recorded.executed = recorded.executed[-1:]
    assert await recorded.blocks() <= MOST_BLOCKS_TO_FIND_FEW
    assert [(node["assignedTo"]["name"], node["status"]) for node in answer["plan"]["tasks"]["nodes"]] == expected
    assert (await walked(teacher, large.whole, **{"class": given["class"]}))[0] == await large.stored()


async def test_a_page_is_right_where_a_walk_along_the_names_comes_among_strangers(large: Large, teacher: Api) -> None:
    async with large.world.database.transaction() as tx:
        # All strangers come first now: more than a walk to the first page has patience for.
        await tx.execute(text("UPDATE users SET name = 'A' || name WHERE name LIKE 'N%'"))
        await tx.execute(text(_OF_A_TEAM), {"plan_id": large.whole})
    expected = await large.stored()
    assert expected[0] == ("Team", "ASSIGNED")
    assert (await walked(teacher, large.whole))[0] == expected
    page = (await teacher.data(PAGE, id=id_of("TaskPlan", large.whole), first=20))["plan"]["tasks"]["nodes"]
    assert [(node["assignedTo"]["name"], node["status"]) for node in page] == expected[:20]


async def test_a_learners_own_task_is_looked_up_among_all(large: Large, teacher: Api) -> None:
    (row,) = await large.world.rows(
        "SELECT assignee_user_id AS id FROM tasks WHERE plan_id = :id AND status = 'IN_PROGRESS' LIMIT 1",
        id=large.whole,
    )
    learner = Api(large.world.database, Viewer(row.id, "Learner", frozenset({Role.MEMBER})))
    recorded = Recorded(large.world.database.reader)
    found, _ = await walked(learner, large.whole)
    assert [status for _, status in found] == ["IN_PROGRESS"]
    recorded.executed = recorded.executed[-1:]
    assert await recorded.blocks() <= MOST_BLOCKS_OF_ONE
    # To count them, whether the viewer teaches the plan is asked once, and not of each task.
    counted = "query ($id: ID!) { plan(id: $id) { tasks { totalCount } } }"
    for api, count in ((learner, 1), (teacher, len(await large.stored()))):
        answer = await api.data(counted, id=id_of("TaskPlan", large.whole))
        assert answer["plan"]["tasks"]["totalCount"] == count
        recorded.executed = recorded.executed[-1:]
        assert await recorded.blocks() <= MOST_BLOCKS


async def test_statistics_of_a_large_plan_are_exact_and_read_each_learners_task_once(
    large: Large, teacher: Api
) -> None:
    recorded = Recorded(large.world.database.reader)
    costs = []
    for plan_id in (large.quarter, large.whole):
        found = (await teacher.data(STATS, id=id_of("TaskPlan", plan_id)))["plan"]["stats"]
        recorded.executed = recorded.executed[-2:-1]
        costs.append(await recorded.blocks())
    size = LEARNERS // CLASSES
    of_class = dict(zip(COUNTS, (size, size * 49 // 50, size * 44 // 50, size // 20, 0, size // 20, 0), strict=True))
    of_class["overdue"] = of_class["assigned"] - of_class["completed"]
    nobody = {**dict.fromkeys(COUNTS, 0), "learners": len(large.world.learners)}
    assert found.pop("byClass") == [
        *({"class": {"name": f"Class {n}"}, **of_class} for n in range(CLASSES)),
        {"class": {"name": "First"}, **nobody},
    ]
    assert found == {name: CLASSES * of_class[name] + nobody[name] for name in COUNTS}
    # How many plans reach the same people matters little, and tasks are not read for `learners`.
    whom = "query ($id: ID!) { course(id: $id) { plans { nodes { stats { learners } } } } }"
    costs_of_all = []
    for count in (2, 12):
        for _ in range(count - 2):
            await large.world.create(large.world.tasking("Course", large.world.course_id))
        answer = await teacher.data(whom, id=id_of("Course", large.world.course_id))
        assert [node["stats"]["learners"] for node in answer["course"]["plans"]["nodes"]].count(found["learners"]) == (
            count - 1
        )
        recorded.executed = recorded.executed[-1:]
        costs_of_all.append(await recorded.blocks())
    assert costs_of_all[1] <= 2 * costs_of_all[0], costs_of_all
    # Four times the learners cost four times as much: no scan for each class or learner.
    assert costs[1] <= 5 * costs[0], costs
    assert costs[1] <= MOST_BLOCKS_A_LEARNER * LEARNERS, costs


async def test_deleting_a_draft_reads_no_tasks_of_other_plans(large: Large) -> None:
    draft, left = [(await large.world.create(large.world.tasking())).plan_id for _ in range(2)]
    async with large.world.database.transaction() as tx:
        # What a publication that was cancelled leaves, more than one statement deletes.
        await tx.execute(text(_LEFT), {"plan_id": left})
    for plan_id in (draft, left):
        async with large.world.database.transaction() as tx:
            await plans.delete_plan(tx, actor=large.world.teacher, plan_id=plan_id, now=tx.now)
            read = (await tx.execute(text(_SCANNED))).scalar_one()
            assert read == 0
    (row,) = await large.world.rows("SELECT count(*) AS n FROM tasks WHERE plan_id IN (:a, :b)", a=draft, b=left)
    assert row.n == 0
