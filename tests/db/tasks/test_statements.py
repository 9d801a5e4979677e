"""What a sweep and a page read: as much as they show, whatever else there is."""

from collections.abc import Sequence
from typing import Any

import pytest

from db.reading import Reading, Want, want
from db.session import Database
from db.tasks.queries import QUEUES, TEAM_QUEUES, WORK_TASK, due_timers, timer_source
from db.tasks.rules import QueueTab, TeamTab
from tests.support.tasks import Desk, a_desk

MANY = 3_000


@pytest.fixture
async def desk(database: Database) -> Desk:
    """An office with some thousand tasks on hold, and as many to do."""
    desk = await a_desk(database)
    await desk.crowd(MANY, days=30)
    await desk.rows_of(
        "INSERT INTO tasks (type_name, title, assignee_user_id, assignee_team_id)"
        " SELECT 'general', 'T', CASE WHEN n % 2 = 0 THEN CAST(:ann AS uuid) END,"
        " CASE WHEN n % 2 = 1 THEN CAST(:team AS uuid) END FROM generate_series(1, :many) n",
        ann=desk.ann.user_id,
        team=desk.team,
        many=MANY,
    )
    for table in ("tasks", "task_timers", "task_holds"):
        await desk.rows_of(f"ANALYZE {table}")
    return desk


class Explaining:
    """Stands before a reader and keeps how Postgres executed each statement."""

    def __init__(self, desk: Desk) -> None:
        self._fetch = desk.database.reader.fetch
        self.plan = ""

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), **_: Any) -> list[Any]:
        lines = await self._fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}", arguments)
        self.plan += "\n".join(line[0] for line in lines)
        return await self._fetch(sql, arguments)

    def most_rows(self) -> float:
        """The most rows that any step of a plan gave up."""
        return max(float(word[5:]) for word in self.plan.split() if word.startswith("rows="))


@pytest.fixture
def explaining(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Explaining:
    made = Explaining(desk)
    monkeypatch.setattr(desk.database.reader, "fetch", made.fetch)
    return made


async def test_a_sweep_reads_what_is_due_and_not_what_is_pending(desk: Desk, explaining: Explaining) -> None:
    task_id = await desk.create(desk.ann)
    await desk.place(task_id, 1)
    desk.later(days=1)
    assert len(await due_timers(desk.database.reader, limit=100)) == 1
    assert "ix_task_timers_due" in explaining.plan
    assert explaining.most_rows() == 1
    rows = await desk.rows(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) "
        + str(timer_source().question.compile(compile_kwargs={"literal_binds": False})),
        clock_shift=desk.database.clock.shift,
    )
    plan = "\n".join(row[0] for row in rows)
    assert "ix_task_timers_due" in plan
    assert "Seq Scan" not in plan


async def test_a_page_of_a_tab_reads_its_rows_from_the_tabs_own_index(desk: Desk, explaining: Explaining) -> None:
    reading = Reading(desk.database.reader, desk.ann)
    wanted = Want("", (*want("title", "available_actions").wants, Want("active_hold", want("ends_at").wants)))
    for many, key, index in (
        (QUEUES[QueueTab.ASSIGNED], desk.ann.user_id, "ix_tasks_active_by_user"),
        (TEAM_QUEUES[TeamTab.UNASSIGNED], desk.team, "ix_tasks_active_by_team"),
    ):
        explaining.plan = ""
        found = await reading.below(WORK_TASK, wanted, many, [key], name=index)
        assert len(found[key].nodes) == 20
        assert index in explaining.plan
        assert explaining.most_rows() <= 21
