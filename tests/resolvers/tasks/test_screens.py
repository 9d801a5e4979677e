"""The screens of queues: what they show, in how many statements, and that no page of them costs more than the first."""

from typing import Any
from uuid import UUID

import pytest

from db.accounts.rules import Role, Viewer
from db.paging import encode_cursor
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.blocks import Recorded
from tests.support.drain import drain
from tests.support.plans import World, a_world
from tests.support.tasks import Desk

QUEUE = """
query Queue($tab: QueueTab!, $after: String) {
  viewer {
    taskCounts { assigned onHold completed overdue }
    tasks(tab: $tab, first: 20, after: $after) {
      totalCount
      pageInfo { hasNextPage endCursor }
      nodes {
        id title status isOverdue isReady availableActions
        type { name label hold { minDays maxDays presets onExpiry onAssign noteRequired } }
        assignedTo { id name ... on User { isActive } }
        assignedBy { name }
        parent { id title status }
        activeHold { id endsAt daysElapsed durationDays timer { dueAt attempts } }
        plan { id title type }
      }
    }
  }
}
"""
TEAM = """
query Team($team: ID!, $tab: TeamTab!) {
  node(id: $team) {
    ... on Team {
      name
      admins { name }
      taskCounts { unassigned assigned onHold completed overdue }
    }
  }
  teamTasks(teamId: $team, tab: $tab, first: 20) {
    totalCount
    nodes {
      id title status availableActions
      activeHold { endsAt }
      children(first: 5) { nodes { id status assignedTo { name } } }
    }
  }
}
"""


async def fill(desk: Desk, world: World, learner: Viewer, count: int) -> None:
    """So many of a learner's tasks of each kind: a plan's, below another, on hold, waiting for a child, done."""
    top = await desk.create(desk.team, title="Top")
    for number in range(count):
        await world.create(publish=True, title=f"Plan {number}")
        type_name = ("general", "response_window", "no_show", "decision")[number % 4]
        if number < 4:
            await desk.create(learner, below=top, title=f"Below {number}", type_name=type_name)
        else:
            await desk.create(learner, title=f"Single {number}", type_name=type_name)
        await desk.place(await desk.create(learner, title=f"Held {number}"), 30)
        await desk.create(desk.ben, below=await desk.create(learner, title=f"Waits {number}"))
        await desk.complete(await desk.create(learner, title=f"Done {number}"))
    await drain(desk.database)


@pytest.mark.parametrize("count", [1, 12])
async def test_a_queue_costs_the_same_statements_however_long_it_is(desk: Desk, database: Database, count: int) -> None:
    world = await a_world(database, learners=1)
    learner = Viewer(world.learners[0], "Lea Learner", frozenset({Role.MEMBER}))
    await fill(desk, world, learner, count)
    desk.later(days=1, hours=1)
    api = Api(database, learner)
    shown: dict[str, Any] = {}
    for tab in ("ASSIGNED", "ON_HOLD", "COMPLETED"):
        # The counts; the tasks with all that is joined to them; how many they are.
        assert await api.statements(QUEUE, tab=tab) == 3
        shown[tab] = (await api.data(QUEUE, tab=tab))["viewer"]
    counts = {"assigned": 2 * count, "onHold": 2 * count, "completed": count, "overdue": 0}
    assert [shown[tab]["taskCounts"] for tab in shown] == [counts] * 3
    assert [shown[tab]["tasks"]["totalCount"] for tab in shown] == [2 * count, 2 * count, count]
    of_plans = [node for node in shown["ASSIGNED"]["tasks"]["nodes"] if node["plan"] is not None]
    assert of_plans != []
    assert {node["type"]["name"] for node in of_plans} == {"reading"}
    held = [node for node in shown["ON_HOLD"]["tasks"]["nodes"] if node["activeHold"] is not None]
    assert len(held) == min(count, 20)
    assert held[0]["activeHold"]["daysElapsed"] == 1
    assert [node["activeHold"] is not None for node in shown["ON_HOLD"]["tasks"]["nodes"]] == sorted(
        [node["activeHold"] is not None for node in shown["ON_HOLD"]["tasks"]["nodes"]], reverse=True
    )


@pytest.mark.parametrize("count", [1, 12])
async def test_a_teams_screen_costs_the_same_statements_however_much_it_has(desk: Desk, count: int) -> None:
    for _ in range(count):
        await desk.create(desk.team, title="Free")
        await desk.place(await desk.create(desk.team, title="Held"))
        given = await desk.create(desk.team, title="Given")
        await desk.assign(given, desk.ann)
        await desk.cancel(await desk.create(desk.team, title="Cancelled"))
    team = id_of("Team", desk.team)
    counts = {"unassigned": count, "assigned": count, "onHold": count, "completed": count, "overdue": 0}
    for tab, title in (("UNASSIGNED", "Free"), ("ASSIGNED", "Given"), ("ON_HOLD", "Held"), ("COMPLETED", "Cancelled")):
        for viewer in (desk.lead, desk.ben, desk.editor):
            api = Api(desk.database, viewer)
            # The team, its admins, its counts; whether it may be seen; its tasks, their number, and what is below them.
            assert await api.statements(TEAM, team=team, tab=tab) == 7
            data = await api.data(TEAM, team=team, tab=tab)
            assert data["node"] == {"name": "Intake", "admins": [{"name": "Lee Lead"}], "taskCounts": counts}
            assert data["teamTasks"]["totalCount"] == count
            assert [node["title"] for node in data["teamTasks"]["nodes"]] == [title] * count
    children = (await Api(desk.database, desk.lead).data(TEAM, team=team, tab="ASSIGNED"))["teamTasks"]["nodes"][0]
    (child,) = children["children"]["nodes"]
    assert (child["status"], child["assignedTo"]) == ("ASSIGNED", {"name": "Ann"})


async def test_a_teams_queue_is_not_for_everybody(desk: Desk) -> None:
    await desk.create(desk.team)
    query = "query ($team: ID!) { teamTasks(teamId: $team, tab: UNASSIGNED) { totalCount } }"
    for viewer, team in (
        (desk.stranger, id_of("Team", desk.team)),
        (desk.ann, id_of("Team", desk.other_team)),
        (desk.ann, id_of("User", desk.team)),
        (desk.ann, "nonsense"),
    ):
        assert await Api(desk.database, viewer).data(query, team=team) == {"teamTasks": None}
    assert await Api(desk.database, desk.editor).data(query, team=id_of("Team", desk.team)) == {
        "teamTasks": {"totalCount": 1}
    }
    # Whoever sees a task of a team sees whose it is, and no counts.
    given = await desk.create(desk.team, by=desk.boss)
    await desk.rows_of("UPDATE tasks SET assigned_by_id = :id WHERE id = :task", id=desk.stranger.user_id, task=given)
    task = "query ($id: ID!) { task(id: $id) { assignedTo { name ... on Team { taskCounts { assigned } } } } }"
    seen = await Api(desk.database, desk.stranger).data(task, id=id_of("WorkTask", given))
    assert seen["task"]["assignedTo"] == {"name": "Intake", "taskCounts": None}


PAGE, PAGES = 5, 5_000
# A page reads its rows, what is joined to each of them, and the way there.
MOST_BLOCKS = 150
_CROWD = """
INSERT INTO tasks (type_name, title, status, assignee_user_id, assignee_team_id, assigned_at, due_at, closed_at,
    placed_on_hold_at)
SELECT 'general', 'Task ' || n, :status, CAST(:user_id AS uuid), CAST(:team_id AS uuid),
    now() - n * interval '1 second', now() + n * interval '1 minute',
    CASE WHEN :status = 'COMPLETED' THEN now() - n * interval '1 second' END,
    CASE WHEN :status = 'ON_HOLD' THEN now() END
FROM generate_series(1, :count) n
"""


async def crowd(desk: Desk, *, status: str, user_id: UUID | None = None, team_id: UUID | None = None) -> None:
    values = {"status": status, "user_id": user_id, "team_id": team_id, "count": PAGE * PAGES + PAGE}
    await desk.rows_of(_CROWD, **values)


SELECTED = """
{ nodes { title availableActions parent { title } activeHold { endsAt } plan { title } } pageInfo { endCursor } }
"""
OWN = "query ($after: String) { viewer { page: tasks(first: 5, after: $after, tab: TAB) SELECTED } }"
TEAMS = """
query ($after: String, $team: ID!) { page: teamTasks(teamId: $team, first: 5, after: $after, tab: TAB) SELECTED }
"""


@pytest.mark.parametrize("whose", ["a person's", "a team's"])
async def test_page_5000_of_a_queue_costs_what_page_1_costs(desk: Desk, whose: str) -> None:
    is_team = whose == "a team's"
    owner = {"team_id": desk.team} if is_team else {"user_id": desk.ann.user_id}
    tab, query = ("UNASSIGNED", TEAMS) if is_team else ("ASSIGNED", OWN)
    for status in ("ASSIGNED", "COMPLETED"):
        await crowd(desk, status=status, **owner)
    await desk.database.reader.fetch("VACUUM ANALYZE tasks")
    api = Api(desk.database, desk.ann)
    recorded = Recorded(desk.database.reader)

    async def page(tab: str, after: str | None) -> tuple[list[str], int]:
        variables = {"team": id_of("Team", desk.team)} if is_team else {}
        text = query.replace("TAB", tab).replace("SELECTED", SELECTED)
        found = await api.data(text, **variables, after=after)
        # Before the page of a team's queue, whether the team may be seen.
        recorded.executed = recorded.executed[-1:]
        return [node["title"] for node in found.get("viewer", found)["page"]["nodes"]], await recorded.blocks()

    for shown, status, column in ((tab, "ASSIGNED", "assigned_at"), ("COMPLETED", "COMPLETED", "closed_at")):
        (row,) = await desk.rows(
            f"SELECT {column} AS at, id FROM tasks WHERE title = :title AND status = :status",
            title=f"Task {PAGE * (PAGES - 1)}",
            status=status,
        )
        order = "ASSIGNED_DESC" if column == "assigned_at" else "CLOSED_DESC"
        first, cost_of_first = await page(shown, None)
        last, cost_of_last = await page(shown, encode_cursor(order, [row.at, row.id]))
        assert first == [f"Task {n}" for n in range(1, 6)]
        assert last == [f"Task {n}" for n in range(24_996, 25_001)]
        assert cost_of_last <= cost_of_first + 20, shown
        assert cost_of_last <= MOST_BLOCKS, shown
