"""The demo data: real in shape, the same however often it is loaded, and something for each of its people."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import text

from db.accounts.queries import authenticate
from db.accounts.rules import Viewer, hash_token
from db.plans.rules import PlanState, PlanType
from db.session import Database
from server.demo import load_demo
from tests.support.api import Api

CAST = {
    "admin",
    "editor",
    "teacher",
    "co_teacher",
    "learner",
    "other_learner",
    "outsider",
    "team_admin",
    "team_member",
    "service",
}


async def viewer_of(database: Database, tokens: Mapping[str, str], name: str) -> Viewer:
    viewer = await authenticate(database.reader, token_hash=hash_token(tokens[name]))
    assert viewer is not None
    return viewer


async def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    async with database.transaction() as tx:
        return [tuple(row) for row in await tx.execute(text(sql))]


async def test_the_demo_is_a_school_with_plans_in_every_state(database: Database) -> None:
    tokens = await load_demo(database)
    assert set(tokens) == CAST
    classes = await rows(
        database,
        "SELECT count(*) FILTER (WHERE e.status = 'ACTIVE'), count(*) FILTER (WHERE e.status = 'PENDING')"
        " FROM classes k JOIN enrollments e ON e.class_id = k.id GROUP BY k.id ORDER BY 1",
    )
    assert classes == [(24, 1), (28, 1), (1_000, 0)]
    assert await rows(database, "SELECT count(*), bool_and(competencies <> '{}') FROM course_items") == [(121, False)]
    assert {state for (state,) in await rows(database, "SELECT state FROM plans")} == {*map(str, PlanState)}
    assert {type_ for (type_,) in await rows(database, "SELECT type FROM plans")} == {*map(str, PlanType)}
    states = await rows(database, "SELECT DISTINCT status FROM tasks ORDER BY 1")
    assert states == [("ASSIGNED",), ("CANCELLED",), ("COMPLETED",), ("IN_PROGRESS",), ("ON_HOLD",)]

    # The queries that `up` and the README show have something to show.
    teacher = Api(database, await viewer_of(database, tokens, "teacher"))
    shown = await teacher.data("{ viewer { courses { title classes { name } plans(first: 20) { nodes { state } } } } }")
    (course,) = shown["viewer"]["courses"]
    assert (course["title"], len(course["classes"])) == ("Physics", 3)
    learner = Api(database, await viewer_of(database, tokens, "learner"))
    tasks = await learner.data("{ viewer { taskCounts { assigned completed } tasks { nodes { title isReady } } } }")
    assert tasks["viewer"]["taskCounts"]["assigned"] >= 1
    team = Api(database, await viewer_of(database, tokens, "team_member"))
    assert (await team.data("{ teams { nodes { name } } }"))["teams"]["nodes"] == [{"name": "Help desk"}]
    outsider = Api(database, await viewer_of(database, tokens, "outsider"))
    assert (await outsider.data("{ courses { nodes { id } } }"))["courses"]["nodes"] == []

    # The plan to publish by hand: ten pages for a thousand learners.
    ready = await rows(
        database,
        "SELECT jsonb_array_length(settings -> 'page_ids') FROM plans WHERE title = 'Read: Work and energy'",
    )
    assert ready == [(10,)]


DESK = """
{
  teams { nodes { id name taskCounts { unassigned assigned onHold completed overdue } } }
  viewer { tasks(filter: {search: "projector"}) { nodes { status holds { durationDays endReason } } } }
}
"""


async def test_its_help_desk_has_something_in_each_tab_and_holds_with_a_history(database: Database) -> None:
    tokens = await load_demo(database)
    member = Api(database, await viewer_of(database, tokens, "team_member"))
    shown = await member.data(DESK)
    (team,) = shown["teams"]["nodes"]
    counts = {"unassigned": 2, "assigned": 1, "onHold": 1, "completed": 2, "overdue": 1}
    assert (team["name"], team["taskCounts"]) == ("Help desk", counts)
    (projector,) = shown["viewer"]["tasks"]["nodes"]
    assert projector["status"] == "ASSIGNED"
    assert [(hold["durationDays"], hold["endReason"]) for hold in projector["holds"]] == [
        (30, "ENDED_EARLY"),
        (5, "SUPERSEDED"),
        (10, "EXPIRED"),
    ]
    held = """
        query ($team: ID!) {
          teamTasks(teamId: $team, tab: ON_HOLD) {
            nodes { type { name hold { minDays maxDays } } activeHold { durationDays daysElapsed } }
          }
        }
    """
    (waiting,) = (await member.data(held, team=team["id"]))["teamTasks"]["nodes"]
    assert waiting == {
        "type": {"name": "response_window", "hold": {"minDays": 45, "maxDays": 364}},
        "activeHold": {"durationDays": 90, "daysElapsed": 20},
    }
    admin = Api(database, await viewer_of(database, tokens, "admin"))
    health = "{ taskHealth { overdueTimers onHoldWithoutOpenChild openChildOfTaskNotOnHold failingTimers } }"
    assert set((await admin.data(health))["taskHealth"].values()) == {0}


async def test_loading_it_again_changes_nothing_and_revokes_nothing(database: Database) -> None:
    async def stored() -> list[Any]:
        found: list[Any] = []
        for table in ("users", "teams", "courses", "course_items", "classes", "enrollments", "plans", "tasks", "jobs"):
            found += await rows(database, f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t.id)) FROM {table} t")
        return found

    tokens = await load_demo(database)
    before = await stored()
    spoilt = {**tokens, "learner": "hf_wrong"}
    again = await load_demo(database, known=spoilt)
    assert {name for name in tokens if again[name] != tokens[name]} == {"learner"}
    # Who noted the first of the two goes on with it.
    for good in (tokens, again):
        assert (await viewer_of(database, good, "learner")).name == "Lena Abbott"
    assert await stored() == before
    assert await rows(database, "SELECT count(*) FROM api_tokens") == [(11,)]


async def test_a_load_that_was_cut_short_is_completed_by_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.demo import plans  # noqa: PLC0415 - its chapters are cut short here only

    async def power_cut(*_: Any) -> None:
        raise ConnectionError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(plans, "_opened", power_cut)
        with pytest.raises(ConnectionError):
            await load_demo(database)
    assert database.clock.shift.total_seconds() == 0
    await load_demo(database)
    assert await rows(database, "SELECT count(*), count(DISTINCT title) FROM plans") == [(8, 8)]
