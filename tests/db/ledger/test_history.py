"""The history of a job: gapless, in order, each line with the facts of its own moment."""

from db.ledger import commands as ledger
from db.ledger.commands import Ending, Line
from db.ledger.rules import EventType, LogLevel
from db.session import Database
from jobs.attempt import COMPLETED
from tests.support.ledger import events_of, row_of, running, snapshot, story_of


def progress(percent: int, *, done: int | None = None, step: str | None = None, age: float = 0.0) -> Line:
    return Line(EventType.PROGRESS, percent, step, done, 10, age_seconds=age)


def line(message: str, percent: int = 0) -> Line:
    return Line(EventType.LOG, percent, None, None, None, LogLevel.INFO, message, {"n": 1})


async def note(database: Database, claim: ledger.Claimed, *lines: Line) -> bool:
    async with database.transaction() as tx:
        held = await ledger.note(tx, lines={(claim.job_id, claim.fence): list(lines)})
    return claim.job_id in held


async def test_lines_get_numbers_without_gap_and_keep_the_facts_of_their_moment(database: Database) -> None:
    claim = await running(database)
    assert await note(database, claim, progress(10, done=1, step="a"), line("x", 10), progress(20, done=2, step="b"))
    assert await note(database, claim, line("y", 20))
    async with database.transaction() as tx:
        await ledger.end_attempts(tx, endings=[Ending(claim.job_id, claim.fence, COMPLETED)])
    assert await story_of(database, claim.job_id) == [
        ("STATUS", "queued", 0),
        ("STATUS", "running", 0),
        ("PROGRESS", "running", 10),
        ("LOG", "running", 10),
        ("PROGRESS", "running", 20),
        ("LOG", "running", 20),
        ("STATUS", "completed", 100),
    ]
    events = await events_of(database, claim.job_id)
    assert [(event["step"], event["done"], event["total"]) for event in events[2:5]] == [
        ("a", 1, 10),
        (None, None, None),
        ("b", 2, 10),
    ]
    assert [(event["level"], event["message"], event["data"]) for event in events[3:4]] == [("INFO", "x", {"n": 1})]
    assert {event["attempt"] for event in events[1:]} == {1}


async def test_the_jobs_row_has_the_newest_facts(database: Database) -> None:
    claim = await running(database)
    await note(database, claim, progress(10, done=1, step="a"), progress(40, done=4, step="b"))
    row = await row_of(database, claim.job_id)
    assert (row["progress"], row["done"], row["total"], row["step"]) == (40, 4, 10, "b")


async def test_progress_in_the_jobs_row_never_goes_back(database: Database) -> None:
    claim = await running(database)
    await note(database, claim, progress(40))
    await note(database, claim, progress(30))
    assert (await row_of(database, claim.job_id))["progress"] == 40


async def test_an_older_fence_tells_nothing(database: Database) -> None:
    claim, other = await running(database), await running(database)
    before = await snapshot(database)
    async with database.transaction() as tx:
        held = await ledger.note(
            tx,
            lines={(claim.job_id, claim.fence - 1): [line("x")], (other.job_id, other.fence + 1): [line("y")]},
        )
    assert held == set()
    assert await snapshot(database) == before


async def test_the_lines_of_many_jobs_are_one_statement_and_a_lost_one_spares_the_others(database: Database) -> None:
    claims = [await running(database) for _ in range(3)]
    lost = claims[1]
    async with database.transaction() as tx:
        held = await ledger.note(
            tx,
            lines={(each.job_id, each.fence - int(each is lost)): [line("x"), progress(10)] for each in claims},
        )
    assert held == {claims[0].job_id, claims[2].job_id}
    assert [len(await story_of(database, each.job_id)) for each in claims] == [4, 2, 4]


async def test_a_line_says_when_it_happened_not_when_it_was_written(database: Database) -> None:
    claim = await running(database)
    async with database.transaction() as tx:
        await ledger.note(tx, lines={(claim.job_id, claim.fence): [progress(1, age=30.0)]})
    at = (await events_of(database, claim.job_id))[-1]["at"]
    assert (tx.now - at).total_seconds() == 30.0


async def test_the_last_facts_go_into_the_last_event(database: Database) -> None:
    claim = await running(database)
    await note(database, claim, progress(40, done=4, step="Writing"))
    async with database.transaction() as tx:
        ending = Ending(claim.job_id, claim.fence, COMPLETED, result={"n": 1}, step="Going live", done=10, total=10)
        await ledger.end_attempts(tx, endings=[ending])
    last = (await events_of(database, claim.job_id))[-1]
    assert (last["progress"], last["step"], last["done"], last["total"]) == (100, "Going live", 10, 10)
    assert (await row_of(database, claim.job_id))["result"] == {"n": 1}
