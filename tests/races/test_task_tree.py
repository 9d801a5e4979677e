"""Random trees, random operations, real Postgres: whatever is done in whatever order, the tree's rules hold."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from db.accounts.rules import Viewer
from db.errors import Code, Refused
from db.session import Database
from db.settings import DatabaseSettings
from jobs.settings import WorkerSettings
from jobs.timers import Timers
from tests.support.tasks import Desk, a_desk
from tests.support.trees import violations

CLOSED = {"COMPLETED", "CANCELLED"}
# Every way in which a type differs: goes on or is completed, keeps or moves its hold, allows none.
TYPES = st.sampled_from(["general", "general", "response_window", "no_show", "decision"])
WHICH = st.integers(0, 30)
WHO = st.integers(0, 4)
DAYS = st.sampled_from([1, 2, 30, 45, 60, 120, 364])


class Tree(RuleBasedStateMachine):
    """Operations on whatever tasks there are. A refusal changes nothing; anything else keeps the rules."""

    runner: asyncio.Runner
    desk: Desk

    def __init__(self) -> None:
        super().__init__()
        self.run(self.desk.rows_of("TRUNCATE tasks, task_holds, task_timers, task_transitions, task_notes CASCADE"))
        self.before: dict[UUID, Any] = {}
        self.told: dict[UUID, Any] = {}

    def run(self, work: Awaitable[Any]) -> Any:
        async def inside() -> Any:
            return await work

        return self.runner.run(inside())

    def attempt(self, work: Awaitable[Any]) -> None:
        """Do it; where it is refused, nothing has changed."""
        before = self.run(self.desk.stored())
        try:
            self.run(work)
        except Refused as refused:
            # Nobody else works here, so nobody can have been faster.
            if refused.code is Code.CONFLICT:
                raise
            assert self.run(self.desk.stored()) == before

    def pick(self, which: int) -> UUID | None:
        """One of the tasks that there are, holds included, open ones first."""
        rows = sorted(self.before.values(), key=lambda row: (row.status in CLOSED, row.id))
        return rows[which % len(rows)].id if rows else None

    def who(self, number: int) -> Viewer | UUID:
        desk = self.desk
        chosen: list[Viewer | UUID] = [desk.ann, desk.team, desk.ben, desk.other_team, desk.lead]
        return chosen[number]

    @rule(type_name=TYPES, who=WHO)
    def create(self, type_name: str, who: int) -> None:
        self.attempt(self.desk.create(self.who(who), type_name=type_name))

    @rule(which=WHICH, type_name=TYPES, who=WHO)
    def create_below(self, which: int, type_name: str, who: int) -> None:
        if (parent := self.pick(which)) is not None:
            self.attempt(self.desk.create(self.who(who), type_name=type_name, below=parent))

    @rule(which=WHICH, days=DAYS)
    def place(self, which: int, days: int) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.place(task_id, days, instructions="Later"))

    @rule(which=WHICH)
    def end(self, which: int) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.end(task_id))

    @rule(which=WHICH)
    def start(self, which: int) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.start(task_id))

    @rule(which=WHICH)
    def complete(self, which: int) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.complete(task_id))

    @rule(which=WHICH, cascade=st.booleans())
    def cancel(self, which: int, cascade: bool) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.cancel(task_id, cascade=cascade, reason="No"))

    @rule(which=WHICH, who=WHO)
    def assign(self, which: int, who: int) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.assign(task_id, self.who(who)))

    @rule(which=WHICH, who=WHO)
    def reassign(self, which: int, who: int) -> None:
        if (task_id := self.pick(which)) is not None:
            self.attempt(self.desk.reassign(task_id, self.who(who)))

    @rule(days=st.sampled_from([1, 2, 30, 400]))
    def expire(self, days: int) -> None:
        """Time passes, and a worker ends what is due; after it nothing is."""
        self.desk.later(days=days)
        timers = Timers(database=self.desk.database, settings=WorkerSettings())
        self.run(timers())
        (row,) = self.run(
            self.desk.rows(
                "SELECT count(*) AS due FROM task_timers WHERE processed_at IS NULL AND cancelled_at IS NULL"
                " AND due_at <= now() + CAST(:shift AS interval)",
                shift=self.desk.database.clock.shift,
            )
        )
        assert row.due == 0

    @invariant()
    def rules_hold(self) -> None:
        assert self.run(violations(self.desk)) == []

    @invariant()
    def what_is_closed_or_told_never_changes(self) -> None:
        after = {row.id: row for row in self.run(self.desk.rows("SELECT * FROM tasks"))}
        told = {row.id: row for row in self.run(self.desk.rows("SELECT * FROM task_transitions ORDER BY id"))}
        for key, row in self.before.items():
            if row.status in CLOSED:
                # Under which root it stands follows from the tasks above it.
                same = {**row._mapping, "root_id": after[key].root_id}
                assert dict(after[key]._mapping) == same
        for key, line in self.told.items():
            assert told[key] == line
        # One line for each change: no more than changes of status, and none without one.
        for key, row in after.items():
            old = self.before.get(key)
            new = [line for line in told.values() if line.task_id == key and line.id not in self.told]
            if old is None:
                assert new[0].from_status is None
            elif old.status == row.status:
                assert new == []
            else:
                assert new
                assert (new[0].from_status, new[-1].to_status) == (old.status, row.status)
        self.before, self.told = after, told


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Tree]]:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(DatabaseSettings(url=database_url)))

        class Here(Tree):
            pass

        Here.runner = runner
        Here.desk = runner.run(a_desk(database))
        yield Here
        runner.run(database.close())


def test_the_rules_of_trees_hold_whatever_is_done(machine: type[Tree]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
