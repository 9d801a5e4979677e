"""The list of jobs: its orders, pages and filters, and what it costs."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from db.ledger import commands as ledger
from db.ledger.jobs import Subject
from db.ledger.rules import JobState
from db.session import Database
from tests.support.api import Api, id_of
from tests.support.kinds import Fails, Steps
from tests.support.ledger import ask, execute, in_state, later, running
from tests.support.people import admin, now_of, person


def instant(value: Any) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


async def listed(api: Api, arguments: str = "", **variables: Any) -> list[str]:
    found = await api.data(f"query {{ jobs{arguments} {{ nodes {{ uuid }} }} }}", **variables)
    return [job["uuid"] for job in found["jobs"]["nodes"]]


async def test_the_list_has_four_orders(database: Database) -> None:
    api = Api(database, await admin(database))
    first, second, third = [await ask(database) for _ in range(3)]
    await execute(database, "UPDATE jobs SET priority = 1 WHERE id = :id", id=second)
    assert await listed(api) == [str(third), str(second), str(first)]
    assert await listed(api, "(orderBy: ENQUEUED_ASC)") == [str(first), str(second), str(third)]
    assert await listed(api, "(orderBy: DISPATCH_ASC)") == [str(second), str(first), str(third)]
    assert await listed(api, "(orderBy: FINISHED_DESC)") == []
    for job_id in (third, first):
        async with database.transaction() as tx:
            await ledger.request_cancel(tx, job_id=job_id, actor_id=None, reason=None, now=tx.now)
    assert await listed(api, "(orderBy: FINISHED_DESC)") == [str(first), str(third)]
    assert await listed(api, "(orderBy: DISPATCH_ASC)") == [str(second)]


async def test_the_list_is_read_in_pages_and_counted(database: Database) -> None:
    api = Api(database, await admin(database))
    ids = [str(await ask(database)) for _ in range(5)]
    for order in ("ENQUEUED_ASC", "DISPATCH_ASC"):
        query = f"""query ($after: String) {{ jobs(first: 2, after: $after, orderBy: {order}) {{
            nodes {{ uuid }} totalCount pageInfo {{ hasNextPage endCursor }} }} }}"""
        seen: list[str] = []
        after = None
        while True:
            page = (await api.data(query, after=after))["jobs"]
            assert page["totalCount"] == 5
            seen += [job["uuid"] for job in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert seen == ids


async def test_the_list_is_filtered_by_everything_at_once(database: Database) -> None:
    ada = await person(database)
    api = Api(database, await admin(database))
    subject = Subject("TaskPlan", uuid4(), "Week 1")
    began = await now_of(database)
    plain = str(await ask(database))
    mine = str(await ask(database, Steps(1), actor_id=ada.user_id, subject=subject))
    runs = str((await running(database, Fails())).job_id)
    poison = str(await in_state(database, JobState.QUARANTINED))
    later(database, minutes=10)
    new = str(await ask(database))
    at = instant(began + timedelta(minutes=5))
    cases = {
        "{}": {plain, mine, runs, poison, new},
        '{kinds: ["test.steps", "test.fails"]}': {mine, runs},
        "{kinds: []}": set(),
        "{statuses: [RUNNING]}": {runs},
        "{statuses: [QUEUED, FAILED]}": {plain, mine, poison, new},
        f'{{subjectId: "{id_of("TaskPlan", subject.id)}"}}': {mine},
        f'{{requestedById: "{id_of("User", ada.user_id)}"}}': {mine},
        '{subjectId: "nonsense"}': set(),
        '{queue: "default"}': {plain, mine, runs, poison, new},
        '{queue: "other"}': set(),
        f'{{uuid: "{plain}"}}': {plain},
        '{uuid: "nonsense"}': set(),
        "{isQuarantined: true}": {poison},
        "{isQuarantined: false}": {plain, mine, runs, new},
        f'{{enqueuedFrom: "{at}"}}': {new},
        f'{{enqueuedTo: "{at}"}}': {plain, mine, runs, poison},
        f'{{statuses: [QUEUED], enqueuedTo: "{at}", kinds: ["test.empty"]}}': {plain},
    }
    for filter_, expected in cases.items():
        assert set(await listed(api, f"(filter: {filter_})")) == expected, filter_


async def test_a_list_costs_one_statement_for_rows_and_one_for_each_list_below(database: Database) -> None:
    api = Api(database, await admin(database))
    query = """{ jobs { nodes { uuid status requestedBy { name } retryOf { uuid } retriedAs { uuid } canRetry
        attempts { nodes { number } } logs { nodes { message } } } } }"""
    for _ in range(3):
        await ask(database)
    few = await api.statements(query)
    for _ in range(15):
        await ask(database)
    assert await api.statements(query) == few == 3
