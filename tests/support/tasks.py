"""People with tasks to give each other, and what is stored of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from db.accounts import commands as accounts
from db.accounts.rules import Role, Viewer
from db.errors import Code, Refused
from db.session import Database
from db.tasks import commands as tasks
from db.tasks.commands import Assigned, Assignee, TaskChanges
from db.tasks.queries import due_timers
from tests.support.people import person

# Everything that a refused command must leave as it is.
_STORED = (
    "SELECT * FROM tasks ORDER BY id",
    "SELECT * FROM task_holds ORDER BY task_id",
    "SELECT * FROM task_timers ORDER BY task_id",
    "SELECT * FROM task_transitions ORDER BY id",
    "SELECT * FROM task_notes ORDER BY id",
    "SELECT * FROM task_types ORDER BY name",
    "SELECT * FROM task_step_completions ORDER BY task_id, key",
)

_CROWD = """
    WITH clock AS (SELECT now() + CAST(:shift AS interval) AS at), held AS (
        INSERT INTO tasks (type_name, title, status, assignee_user_id, placed_on_hold_at)
        SELECT 'general', 'Task ' || n, 'ON_HOLD', CAST(:user_id AS uuid), clock.at
        FROM clock, generate_series(1, :count) n RETURNING id
    ), hold AS (
        INSERT INTO tasks (type_name, title, parent_id, root_id, assignee_user_id)
        SELECT 'timed_hold', 'Timed hold', id, id, CAST(:user_id AS uuid) FROM held RETURNING id
    ), facts AS (
        INSERT INTO task_holds (task_id, duration_days, starts_at, ends_at)
        SELECT hold.id, span.days, clock.at, clock.at + span.days * interval '24 hours'
        FROM hold, clock, (SELECT CAST(:days AS smallint) AS days) span
        RETURNING task_id, ends_at
    )
    INSERT INTO task_timers (task_id, due_at) SELECT task_id, ends_at FROM facts
"""


def to(whom: Viewer | UUID) -> Assignee:
    """A person, or a team by its key."""
    return Assignee(user_id=whom.user_id) if isinstance(whom, Viewer) else Assignee(team_id=whom)


@dataclass
class Desk:
    """An office: `boss` is ADMIN, `editor` EDITOR; `lead` administers the team that `ann` and `ben` are in.

    `stranger` has nothing to do with any of it. Commands are methods; where nobody is named the boss gives them.
    """

    database: Database
    boss: Viewer
    editor: Viewer
    lead: Viewer
    ann: Viewer
    ben: Viewer
    stranger: Viewer
    team: UUID
    other_team: UUID

    async def create(
        self,
        assignee: Viewer | UUID,
        *,
        type_name: str = "general",
        below: UUID | None = None,
        by: Viewer | None = None,
        title: str = "Write it",
        instructions: str | None = None,
        opens_at: datetime | None = None,
        due_at: datetime | None = None,
        closes_at: datetime | None = None,
    ) -> UUID:
        """A new task."""
        async with self.database.transaction() as tx:
            return await tasks.create_task(
                tx,
                actor=by or self.boss,
                type_name=type_name,
                title=title,
                assignee=to(assignee),
                parent_id=below,
                instructions=instructions,
                opens_at=opens_at,
                due_at=due_at,
                closes_at=closes_at,
                now=tx.now,
            )

    async def place(
        self, task_id: UUID, days: int = 30, *, by: Viewer | None = None, instructions: str | None = None
    ) -> UUID:
        """A hold of so many days."""
        async with self.database.transaction() as tx:
            return await tasks.place_hold(
                tx,
                actor=by or self.boss,
                task_id=task_id,
                duration_days=days,
                instructions=instructions,
                now=tx.now,
            )

    async def end(self, task_id: UUID, *, by: Viewer | None = None, reason: str | None = None) -> UUID:
        """The hold ends early."""
        async with self.database.transaction() as tx:
            return await tasks.end_hold(tx, actor=by or self.boss, task_id=task_id, reason=reason, now=tx.now)

    async def start(self, task_id: UUID, *, by: Viewer | None = None) -> None:
        """Work begins."""
        async with self.database.transaction() as tx:
            await tasks.start_task(tx, actor=by or self.boss, task_id=task_id, now=tx.now)

    async def complete(self, task_id: UUID, *, by: Viewer | None = None, note: str | None = None) -> None:
        """It is done."""
        async with self.database.transaction() as tx:
            await tasks.complete_task(tx, actor=by or self.boss, task_id=task_id, note=note, now=tx.now)

    async def cancel(
        self, task_id: UUID, *, by: Viewer | None = None, cascade: bool = False, reason: str | None = None
    ) -> int:
        """It is no longer needed."""
        async with self.database.transaction() as tx:
            return await tasks.cancel_task(
                tx, actor=by or self.boss, task_id=task_id, cascade=cascade, reason=reason, now=tx.now
            )

    async def assign(
        self, task_id: UUID, whom: Viewer | UUID, *, by: Viewer | None = None, instructions: str | None = None
    ) -> Assigned:
        """A team's task is given to a person."""
        async with self.database.transaction() as tx:
            return await tasks.assign_task(
                tx,
                actor=by or self.boss,
                task_id=task_id,
                assignee=to(whom),
                instructions=instructions,
                now=tx.now,
            )

    async def reassign(
        self, task_id: UUID, whom: Viewer | UUID, *, by: Viewer | None = None, instructions: str | None = None
    ) -> Assigned:
        """It is given to somebody else."""
        async with self.database.transaction() as tx:
            return await tasks.reassign_task(
                tx,
                actor=by or self.boss,
                task_id=task_id,
                assignee=to(whom),
                instructions=instructions,
                now=tx.now,
            )

    async def update(
        self, task_id: UUID, changes: TaskChanges, *, by: Viewer | None = None, instructions: str | None = None
    ) -> None:
        """Its title or dates change."""
        async with self.database.transaction() as tx:
            await tasks.update_task(
                tx,
                actor=by or self.boss,
                task_id=task_id,
                changes=changes,
                instructions=instructions,
                now=tx.now,
            )

    async def complete_step(self, task_id: UUID, *, by: Viewer, position: int = 0) -> None:
        """A step of a plan's task is done."""
        (step,) = await self.rows(
            "SELECT s.id FROM tasks t JOIN task_step_templates s ON s.plan_id = t.plan_id"
            " AND s.generation = t.generation WHERE t.id = :id AND s.position = :position",
            id=task_id,
            position=position,
        )
        async with self.database.transaction() as tx:
            await tasks.complete_step(tx, actor=by, task_id=task_id, template_id=step.id, now=tx.now)

    async def sweep(self) -> int:
        """Let every hold whose time is over end; how many timers were worked on."""
        done = 0
        for due in await due_timers(self.database.reader, limit=500):
            async with self.database.transaction() as tx:
                done += await tasks.expire_hold(tx, due=due, now=tx.now)
        return done

    def later(self, **span: float) -> None:
        """Move the clock."""
        self.database.clock.shift += timedelta(**span)

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        """What is stored."""
        async with self.database.transaction() as tx:
            return list((await tx.execute(text(sql), values)).all())

    async def rows_of(self, sql: str, **values: Any) -> None:
        """Something done behind the commands' back."""
        async with self.database.transaction() as tx:
            await tx.execute(text(sql), values)

    async def crowd(self, count: int, *, days: int = 1) -> None:
        """So many tasks of Ann's, each on hold for so many days: as the commands leave them, in one statement."""
        await self.rows_of(_CROWD, count=count, days=days, user_id=self.ann.user_id, shift=self.database.clock.shift)

    async def row(self, task_id: UUID) -> Any:
        """A task."""
        (row,) = await self.rows("SELECT * FROM tasks WHERE id = :id", id=task_id)
        return row

    async def status(self, task_id: UUID) -> str:
        """Where a task is."""
        status: str = (await self.row(task_id)).status
        return status

    async def hold(self, hold_id: UUID) -> Any:
        """A hold with its timer."""
        (row,) = await self.rows(
            "SELECT t.*, h.duration_days, h.starts_at, h.ends_at, h.end_reason, m.due_at AS timer_due_at, m.attempts,"
            " m.next_attempt_at, m.last_error, m.processed_at, m.cancelled_at AS timer_cancelled_at"
            " FROM tasks t JOIN task_holds h ON h.task_id = t.id JOIN task_timers m ON m.task_id = t.id"
            " WHERE t.id = :id",
            id=hold_id,
        )
        return row

    async def history(self, task_id: UUID) -> list[tuple[str | None, str]]:
        """A task's transitions, oldest first."""
        rows = await self.rows("SELECT * FROM task_transitions WHERE task_id = :id ORDER BY id", id=task_id)
        return [(row.from_status, row.to_status) for row in rows]

    async def notes(self, task_id: UUID) -> list[str]:
        """What was written to a task."""
        return [
            row.text
            for row in await self.rows("SELECT text FROM task_notes WHERE task_id = :id ORDER BY id", id=task_id)
        ]

    async def stored(self) -> list[list[Any]]:
        """Everything that is stored of tasks."""
        return [await self.rows(sql) for sql in _STORED]

    @asynccontextmanager
    async def refused(self, code: Code, *path: str) -> AsyncIterator[Refused]:
        """The block is refused with this code at this path, and nothing is changed by it."""
        before = await self.stored()
        with pytest.raises(Refused) as refused:
            yield  # type: ignore[misc]  # what is raised is only there afterwards
        assert (refused.value.code, refused.value.problems[0].path) == (code, path), refused.value
        assert await self.stored() == before


async def a_desk(database: Database) -> Desk:
    """The office, empty of tasks."""
    boss = await person(database, "Bo Boss", Role.ADMIN)
    editor = await person(database, "Ed Editor", Role.EDITOR)
    lead, ann, ben, stranger = [await person(database, name) for name in ("Lee Lead", "Ann", "Ben", "Sam Stranger")]
    async with database.transaction() as tx:
        team = await accounts.create_team(
            tx, actor=boss, name="Intake", member_ids=[ann.user_id, ben.user_id], admin_ids=[lead.user_id]
        )
        other_team = await accounts.create_team(tx, actor=boss, name="Archive")
    return Desk(database, boss, editor, lead, ann, ben, stranger, team, other_team)
