"""The work of the demo's help desk: tasks that wait, are late, are on hold, were on hold before, and are done.

All of it is one transaction, each command with the time at which it would have been given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, select

from db.accounts.models import Team
from db.accounts.rules import Viewer
from db.session import Database, Tx
from db.tasks import commands as tasks
from db.tasks.commands import Assignee
from db.tasks.models import Task
from db.tasks.rules import Due
from server.demo.people import TEAM

DAY = timedelta(days=1)


async def make_tasks(database: Database, people: Mapping[str, Viewer]) -> None:
    """Write the help desk's tasks where there are none yet."""
    async with database.transaction() as tx:
        team_id = (await tx.execute(select(Team.id).where(Team.name == TEAM))).scalar_one()
        if not (await tx.execute(select(exists().where(Task.assignee_team_id == team_id)))).scalar():
            desk = _Desk(tx, people, team_id)
            await _publisher(desk)
            await _projector(desk)
            await _names(desk)
            await _cables(desk)
            await _call(desk)
            await _passwords(desk)


@dataclass(frozen=True, slots=True)
class _Desk:
    """Who works at the help desk, and the transaction that all of it is written in."""

    tx: Tx
    people: Mapping[str, Viewer]
    team_id: UUID

    @property
    def lead(self) -> Viewer:
        """Who runs the team."""
        return self.people["team_admin"]

    @property
    def mina(self) -> Viewer:
        """Who works in it."""
        return self.people["team_member"]

    def ago(self, days: float) -> datetime:
        """An instant so many days back; ahead, where they are negative."""
        return self.tx.now - days * DAY

    async def task(
        self,
        title: str,
        *,
        days_ago: float,
        to: Viewer | None = None,
        type_name: str = "general",
        note: str | None = None,
        due_in: float | None = None,
    ) -> UUID:
        """A task of the team, or of somebody in it."""
        return await tasks.create_task(
            self.tx,
            actor=self.lead,
            type_name=type_name,
            title=title,
            assignee=Assignee(team_id=self.team_id) if to is None else Assignee(user_id=to.user_id),
            parent_id=None,
            instructions=note,
            opens_at=None,
            due_at=None if due_in is None else self.ago(-due_in),
            closes_at=None,
            now=self.ago(days_ago),
        )

    async def hold(
        self, task_id: UUID, *, days: int, days_ago: float, by: Viewer | None = None, note: str | None = None
    ) -> UUID:
        """A hold on a task."""
        return await tasks.place_hold(
            self.tx,
            actor=by or self.mina,
            task_id=task_id,
            duration_days=days,
            instructions=note,
            now=self.ago(days_ago),
        )


async def _publisher(desk: _Desk) -> None:
    """On hold for a quarter of a year; given to a person, its hold would go along."""
    task_id = await desk.task(
        "Books for Physics 10b: has the publisher answered?",
        days_ago=20,
        type_name="response_window",
        note="Two of the thirty are missing.",
    )
    note = "They answer within a quarter of a year, they say."
    await desk.hold(task_id, days=90, days_ago=20, by=desk.lead, note=note)


async def _projector(desk: _Desk) -> None:
    """A person's, with three holds behind it: run out, replaced, ended early."""
    task_id = await desk.task("Projector in room 12 stays dark", days_ago=18, to=desk.mina, due_in=3)
    first = await desk.hold(task_id, days=10, days_ago=18, note="The caretaker looks after the holidays.")
    await tasks.expire_hold(desk.tx, due=Due(first, task_id, None), now=desk.ago(8))
    await desk.hold(task_id, days=5, days_ago=7, note="A new lamp is ordered.")
    await desk.hold(task_id, days=30, days_ago=4, by=desk.lead, note="The lamp is out of stock.")
    await tasks.end_hold(desk.tx, actor=desk.mina, task_id=task_id, reason="The lamp came.", now=desk.ago(1))


async def _names(desk: _Desk) -> None:
    """The team's, given to somebody who has begun with it."""
    task_id = await desk.task("Check the names of the new learners", days_ago=6, due_in=2)
    given = await tasks.assign_task(
        desk.tx,
        actor=desk.lead,
        task_id=task_id,
        assignee=Assignee(user_id=desk.mina.user_id),
        instructions="Accents get lost in the import: have a look at those first.",
        now=desk.ago(5),
    )
    await tasks.start_task(desk.tx, actor=desk.mina, task_id=given.new_task_id, now=desk.ago(4))


async def _cables(desk: _Desk) -> None:
    """No longer needed, and one that is done."""
    task_id = await desk.task("Throw the old network cables away", days_ago=6)
    reason = "The physics course wants them."
    await tasks.cancel_task(desk.tx, actor=desk.lead, task_id=task_id, cascade=False, reason=reason, now=desk.ago(3))
    done = await desk.task("Charge the tablets of Physics 10a", days_ago=5)
    await tasks.complete_task(desk.tx, actor=desk.mina, task_id=done, note="All 28.", now=desk.ago(2))


async def _call(desk: _Desk) -> None:
    """On hold, and completed by itself when that is over: who does not come by then does not come."""
    title = "Does Otis Unger come for his password?"
    task_id = await desk.task(title, days_ago=3, to=desk.mina, type_name="no_show")
    await desk.hold(task_id, days=7, days_ago=3, note="He said this week.")


async def _passwords(desk: _Desk) -> None:
    """What nobody has yet; one of them is late."""
    await desk.task("Reset the forgotten passwords of Physics 10a", days_ago=2, due_in=-1)
    await desk.task("Rooms for the exams", days_ago=1, due_in=9, note="Eight rooms, and one that is quiet.")
