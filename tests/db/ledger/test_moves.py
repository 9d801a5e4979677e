"""What has moved in the ledger: the filters of consoles, and who may see what, for many at once."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from db.accounts.rules import Role, Viewer
from db.ledger import commands as ledger
from db.ledger.jobs import Subject
from db.ledger.queries import (
    JOB,
    JOBS,
    SAME_FOR_ALL,
    EventRow,
    JobsWanted,
    Move,
    is_same_for_all,
    jobs_unguarded,
    read_moves,
    who_sees,
)
from db.ledger.rules import EventType, JobState, JobStatus
from db.reading import Reading, Want, want
from db.session import Database
from tests.support.kinds import Empty, Talks
from tests.support.ledger import ask, in_state, later, row_of
from tests.support.people import admin, person
from tests.support.plans import a_world

# Has Postgres number the transaction.
JUST_A_NUMBER = text("SELECT pg_current_xact_id()")


async def moved(database: Database, job_id: UUID) -> Move:
    """A job as it is, as if it had just moved without changing its state."""
    row = await row_of(database, job_id)
    state = JobState(row["state"])
    event = EventRow(job_id, 1, row["enqueued_at"], EventType.STATUS, state, 0, None, None, None, 0)
    return Move(event, row["kind"], row["queue"], row["subject_id"], row["actor_id"], row["enqueued_at"], None)


async def test_a_filter_means_what_it_means_in_the_list(database: Database) -> None:
    ada, boss = await person(database), await admin(database)
    subject = Subject("Thing", uuid4(), "a thing")
    jobs = [await in_state(database, state, Talks(), actor_id=ada.user_id) for state in JobState]
    later(database, seconds=1)
    jobs += [await in_state(database, state, Empty(), subject=subject) for state in JobState]
    noon: datetime = (await row_of(database, jobs[len(JobState)]))["enqueued_at"]
    filters: list[dict[str, Any]] = [
        {},
        {"kinds": ["test.talks", "none"]},
        {"kinds": []},
        *[{"statuses": [status]} for status in JobStatus],
        {"statuses": [JobStatus.QUEUED, JobStatus.FAILED]},
        {"statuses": []},
        {"subject_id": subject.id},
        {"requested_by_id": ada.user_id},
        {"queue": "default"},
        {"queue": "other"},
        {"uuid": str(jobs[3])},
        {"is_quarantined": True},
        {"is_quarantined": False},
        {"enqueued_from": noon},
        {"enqueued_to": noon},
        {"kinds": ["test.talks"], "statuses": [JobStatus.FAILED], "is_quarantined": False},
    ]
    moves = [await moved(database, job_id) for job_id in jobs]
    for given in filters:
        page = await Reading(database.reader, boss).page(JOB, want("uuid", args=given | {"first": 100}), JOBS, name="t")
        key = {"uuid": UUID(given["uuid"])} if "uuid" in given else {}
        wanted = JobsWanted(**(given | key))
        assert {move.event.job_id for move in moves if wanted.fits(move)} == {row.id for row in page.nodes}, given


async def test_a_look_finds_what_was_committed_since_the_last_however_late(database: Database) -> None:
    begin = await read_moves(database.reader, since=None)
    assert begin.moves == []
    async with database.transaction() as slow:
        await slow.execute(JUST_A_NUMBER)
        first = await ask(database)
        look = await read_moves(database.reader, since=begin.place)
        assert [(move.event.job_id, move.event.seq) for move in look.moves] == [(first, 1)]
        assert (await read_moves(database.reader, since=look.place)).moves == []
        late = await ledger.enqueue(slow, work=Empty(), actor_id=None)
        assert (await read_moves(database.reader, since=look.place)).moves == []
        between = await read_moves(database.reader, since=look.place)
    look = await read_moves(database.reader, since=between.place)
    assert [move.event.job_id for move in look.moves] == [late.job_id]
    assert (await read_moves(database.reader, since=look.place)).moves == []


def test_what_all_see_alike_depends_on_no_viewer() -> None:
    source = JOB.table.alias("job")
    for name in SAME_FOR_ALL - {"status", "error"}:
        assert "viewer" not in str(JOB.column(name, source)), name
    assert is_same_for_all(want(*SAME_FOR_ALL))
    assert not is_same_for_all(want("uuid", "can_cancel"))
    assert not is_same_for_all(want(Want("requested_by", want("name").wants)))
    assert not is_same_for_all(want(Want("logs", want("seq").wants, {"first": 3})))


async def test_who_sees_a_job_is_who_finds_it(database: Database) -> None:
    """The rule for many viewers and jobs at once says what it says for one of each."""
    world = await a_world(database)
    boss, ada, editor = await admin(database), await person(database), await person(database, "", Role.EDITOR)
    subject = Subject("CourseClass", world.class_id, "First")
    jobs = [
        await ask(database),
        await ask(database, actor_id=ada.user_id),
        await ask(database, subject=subject),
        await ask(database, subject=subject, actor_id=editor.user_id),
        await ask(database, subject=Subject("Thing", uuid4(), "unknown")),
    ]
    # Two tokens of one person see what each may see.
    viewers = [boss, ada, editor, world.teacher, Viewer(boss.user_id, "", frozenset({Role.MEMBER}))]
    reading = Reading(database.reader, boss)
    before = database.reader.statements
    seen = await who_sees(reading, viewers=viewers, job_ids=jobs)
    assert database.reader.statements - before == 2  # members and the editor
    one_by_one = set()
    for viewer in viewers:
        for job_id in await Reading(database.reader, viewer).by_ids(JOB, want("uuid"), jobs):
            one_by_one.add((viewer, job_id))
    assert seen == one_by_one
    assert {job_id for viewer, job_id in seen if viewer == world.teacher} == set(jobs[2:4])
    assert (await jobs_unguarded(reading, want("uuid"), jobs)).keys() == set(jobs)


@pytest.mark.parametrize("count", [0, 1])
async def test_seeing_every_job_needs_no_statement(database: Database, count: int) -> None:
    boss = await admin(database)
    jobs = [await ask(database) for _ in range(count)]
    before = database.reader.statements
    assert await who_sees(Reading(database.reader, boss), viewers=[boss], job_ids=jobs) == {(boss, job) for job in jobs}
    assert database.reader.statements == before
