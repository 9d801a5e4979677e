"""Lists and counts of jobs where there are many: what they read depends on what they show, not on what lies there."""

import pytest

from db.paging import encode_cursor
from db.session import Database
from db.settings import DatabaseSettings
from tests.support.api import Api
from tests.support.blocks import Recorded
from tests.support.ledger import execute
from tests.support.people import admin

MANY = 40_000
# A month of jobs that ended, one kind and queue of them rare, a few failed and put aside; and some that wait.
_MANY = """
INSERT INTO jobs (
    id, kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, enqueued_at, scheduled_at,
    started_at, finished_at, error, progress, attempt, last_seq
)
SELECT uuidv7(at - now()), CASE WHEN n < 30 THEN 'rare' ELSE 'kind ' || n % 5 END,
    CASE WHEN n < 30 THEN 'rare' ELSE 'default' END,
    state, 5, '{}', 1, 5, 900, at, at, at, at,
    CASE WHEN state IN ('failed', 'quarantined') THEN '{"code": "X", "message": "x"}'::jsonb END,
    CASE WHEN state = 'completed' THEN 100 ELSE 0 END, 1, 1
FROM (
    SELECT n, now() - (:many - n) * interval '60 seconds' AS at,
        CASE WHEN n < 30 THEN 'quarantined' WHEN n < 80 THEN 'failed' WHEN n < 130 THEN 'cancelled'
            ELSE 'completed' END AS state
    FROM generate_series(1, :many) AS n
) AS made
"""
_WAITING = """
INSERT INTO jobs (
    kind, queue, state, priority, args, args_version, max_attempts, timeout_seconds, enqueued_at, scheduled_at, last_seq
)
SELECT 'kind 1', 'default', 'queued', 5, '{}', 1, 5, 900, now(), now(), 1 FROM generate_series(1, 200)
"""
# A page of 20 reads its rows, each perhaps in a block of its own, and the way to them.
MOST_BLOCKS = 60


@pytest.fixture
async def many(database: Database) -> Api:
    await execute(database, _MANY, many=MANY)
    await execute(database, _WAITING)
    await database.reader.fetch("VACUUM ANALYZE jobs")
    return Api(database, await admin(database))


async def test_a_page_costs_what_it_shows(many: Api) -> None:
    recorded = Recorded(many.database.reader)
    costs = {}
    for filter_, count in {
        "{isQuarantined: true}": 20,
        "{statuses: [FAILED]}": 20,
        "{statuses: [CANCELLED]}": 20,
        "{statuses: [QUEUED]}": 20,
        "{statuses: [RUNNING]}": 0,
        "{statuses: [COMPLETED]}": 20,
        '{kinds: ["rare"]}': 20,
        '{kinds: ["kind 3"]}': 20,
        '{kinds: ["nothing"]}': 0,
        '{kinds: ["rare"], queue: "rare", statuses: [FAILED]}': 20,
        '{queue: "rare"}': 20,
        '{queue: "default"}': 20,
        '{queue: "nothing"}': 0,
        "{}": 20,
    }.items():
        page = await many.data(f"{{ jobs(filter: {filter_}) {{ nodes {{ uuid status }} pageInfo {{ endCursor }} }} }}")
        assert len(page["jobs"]["nodes"]) == count, filter_
        assert len(recorded.executed) == 1
        costs[filter_] = await recorded.blocks()
    assert {name: cost for name, cost in costs.items() if cost > MOST_BLOCKS} == {}


async def test_page_1000_costs_what_page_1_costs(many: Api) -> None:
    for arguments, order, columns in (
        ("", "ENQUEUED_DESC", "id"),
        (", filter: {statuses: [COMPLETED]}", "ENQUEUED_DESC", "id"),
        (', filter: {kinds: ["kind 3"]}', "ENQUEUED_DESC", "id"),
        (', filter: {queue: "default"}', "ENQUEUED_DESC", "id"),
        (", orderBy: FINISHED_DESC", "FINISHED_DESC", "finished_at, id"),
    ):
        # The cursor that page 1,000 would start after.
        rows = await many.database.reader.fetch(
            f"SELECT {columns} FROM jobs WHERE finished_at IS NOT NULL ORDER BY id DESC OFFSET 20000 LIMIT 1"
        )
        values = [each.isoformat() if name == "finished_at" else each for name, each in rows[0].items()]
        recorded = Recorded(many.database.reader)
        costs = []
        for after in (None, encode_cursor(order, values)):
            query = f"query ($after: String) {{ jobs(after: $after{arguments}) {{ nodes {{ uuid }} }} }}"
            assert len((await many.data(query, after=after))["jobs"]["nodes"]) == 20
            assert len(recorded.executed) == 1
            costs.append(await recorded.blocks())
        first, thousandth = costs
        assert thousandth <= first + 20, arguments
        assert thousandth <= MOST_BLOCKS, arguments


async def test_the_way_to_a_common_kind_is_never_taken_to_a_rare_one(many: Api, database_url: str) -> None:
    query = (
        'query ($kinds: [String!]) { jobs(filter: {kinds: $kinds, queue: "default"}) { nodes { uuid } totalCount } }'
    )
    one = await Database.open(DatabaseSettings(url=database_url, read_pool=1))
    try:
        api = Api(one, many.viewer)
        for number in range(10):
            # Postgres would settle for a plan for kinds in general after the fifth.
            found = await api.data(query, kinds=[f"kind {number % 5}"])
            assert len(found["jobs"]["nodes"]) == 20
        kept = await one.reader.fetch(
            "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%jobs%' AND statement NOT LIKE '%pg_%'"
        )
        assert kept == []
    finally:
        await one.close()


async def test_counting_a_queue_reads_nothing_of_what_ended_long_ago(many: Api) -> None:
    recorded = Recorded(many.database.reader)
    found = await many.data("{ queues { queue queued completedLastHour } }")
    assert [(each["queue"], each["queued"]) for each in found["queues"]] == [("default", 200)]
    assert 58 <= found["queues"][0]["completedLastHour"] <= 60
    assert len(recorded.executed) == 1
    assert await recorded.blocks() <= MOST_BLOCKS
