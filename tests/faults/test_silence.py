"""The stores' machines vanish without a word: no FIN, no RST, no answer. Everybody notices in time and goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text, bindparam, text

from db import feed as feeds
from db.compiled import Write
from db.errors import Outage
from db.feed import Feed
from db.session import STORE_ERRORS, Database
from db.settings import DatabaseSettings, RedisSettings
from tests.support.api import Api
from tests.support.facts import PATIENCE_SECONDS
from tests.support.hints import heard, listening
from tests.support.kinds import Steps, effects_of, make_effects
from tests.support.ledger import ask, attempts_of, row_of, story_of
from tests.support.people import person
from tests.support.wires import Wire, wire_to_postgres, wire_to_valkey
from tests.support.workers import fleet, until, until_state, until_workers

pytestmark = pytest.mark.faults

SAY = Write("SELECT CAST(:word AS text) AS word", bindparam("word", type_=Text()))
# One connection of each pool, so that the first that is used again is the one that was cut.
POOLS = {"read_pool": 1, "write_pool": 1, "connect_timeout_ms": 500}


@pytest.fixture
async def cable(database_url: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the test's database."""
    async with wire_to_postgres(database_url) as laid:
        yield laid


async def read(database: Database) -> Any:
    return (await database.reader.fetch("SELECT 7 AS n"))[0]["n"]


async def write_alone(database: Database) -> Any:
    async with database.single() as single:
        return (await single.fetch(SAY, {"word": "seven"}))[0]["word"]


async def write(database: Database) -> Any:
    async with database.transaction() as tx:
        return (await tx.execute(text("SELECT 7"))).scalar_one()


async def write_by_the_driver(database: Database, torn: asyncio.Event, goes_on: asyncio.Event) -> None:
    async with database.transaction() as tx:
        await tx.fetch(SAY, {"word": "seven"})
        torn.set()
        await goes_on.wait()
        await tx.fetch(SAY, {"word": "eight"})


async def failed(work: Awaitable[Any]) -> tuple[BaseException | None, float]:
    """What was raised, and after how many seconds."""
    began = time.monotonic()
    try:
        await work
    except (Outage, *STORE_ERRORS) as error:
        return error, time.monotonic() - began
    return None, time.monotonic() - began


@pytest.mark.parametrize(
    ("way", "limits"),
    [
        # Nobody acknowledges: the kernel gives up, long before any statement's time is over.
        pytest.param("cut", {"statement_timeout_ms": 60_000, "silence_timeout_ms": 1_000}, id="cut"),
        # Everything is acknowledged and nothing answered: that is left to the time limit of the statement.
        pytest.param("freeze", {"statement_timeout_ms": 500, "silence_timeout_ms": 1_000}, id="frozen"),
    ],
)
async def test_no_one_waits_for_ever_for_a_database_that_is_silent(
    way: str, limits: dict[str, int], cable: tuple[Wire, str], database: Database
) -> None:
    wire, url = cable
    viewer = await person(database)
    settings = DatabaseSettings(url=url).model_copy(update={**POOLS, **limits})
    silent, other = await Database.open(settings), await Database.open(settings)
    try:
        for work in (read, write_alone, write):
            await work(silent)
        torn, goes_on = asyncio.Event(), asyncio.Event()
        in_the_middle = asyncio.create_task(failed(write_by_the_driver(other, torn, goes_on)))
        await torn.wait()
        getattr(wire, way)()
        goes_on.set()
        # Whoever is cancelled does not wait until the server has heard of it.
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read(other)
        assert time.monotonic() - began < PATIENCE_SECONDS
        results = await asyncio.gather(
            failed(read(silent)), failed(write_alone(silent)), failed(write(silent)), in_the_middle
        )
        assert type(results[0][0]) is Outage
        assert None not in [error for error, _ in results]
        assert max(seconds for _, seconds in results) < PATIENCE_SECONDS, results
        # Nor are there new connections: the API says so in a word, as of any outage.
        body = await Api(silent, viewer).ask("{ jobs(first: 1) { nodes { id } } }")
        assert {error["extensions"]["code"] for error in body["errors"]} == {"INTERNAL"}
        assert all(error["extensions"]["isTransient"] for error in body["errors"])
        wire.mend()

        async def answers() -> bool:
            found = [(await failed(work(silent)))[0] for work in (read, write_alone, write)]
            return found == [None, None, None]

        await until(answers)
    finally:
        wire.mend()
        await silent.close()
        await other.close()


async def test_a_worker_whose_connections_have_died_takes_new_ones_before_anybody_takes_its_jobs(
    database: Database, cable: tuple[Wire, str], redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As where the address of Postgres goes over to another machine: the old one answers nothing any more."""
    wire, url = cable
    await make_effects(database)
    # The store's end of the wire is a Unix socket, where Postgres cannot ask whether anybody is there: only this limit
    # frees what a transaction has locked that was cut between two statements.
    environment = {"DATABASE_SILENCE_TIMEOUT_MS": "1000", "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_MS": "2000"}
    with fleet(database_url=url, redis_url=redis_url, directory=tmp_path, environment=environment) as workers:
        settings = {"heartbeat_seconds": "0.5", "deadline_seconds": "5", "lease_seconds": "6", "slots": "4"}
        worker = workers.start(**settings)
        await until_workers(database, 1)
        ids = [await ask(database, Steps(20, 0.1)) for _ in range(4)]

        async def begun() -> bool:
            return len(await database.reader.fetch("SELECT 1 FROM effects")) > 4

        await until(begun)
        wire.cut(for_good=True)
        try:
            for job_id in ids:
                await until_state(database, job_id, "completed")
            assert worker.poll() is None
        finally:
            request.node.add_report_section("call", "workers", workers.log.read_text()[-8_000:])
    for job_id in ids:
        # What was in the middle of a transaction was tried again; nobody took the worker for dead.
        assert (await row_of(database, job_id))["crash_count"] == 0
        outcomes = [outcome for _, outcome in await attempts_of(database, job_id)]
        assert outcomes in (["COMPLETED"], ["RETRY", "COMPLETED"])
        assert await effects_of(database, job_id) == list(range(20))
        await story_of(database, job_id)
    assert b"heartbeat.deadline" not in workers.log.read_bytes()


async def test_a_worker_goes_on_by_itself_when_both_stores_answer_again(
    database: Database, cable: tuple[Wire, str], redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """For longer than a lease everything is acknowledged and nothing comes through."""
    wire, url = cable
    await make_effects(database)
    environment = {"DATABASE_SILENCE_TIMEOUT_MS": "1000", "DATABASE_STATEMENT_TIMEOUT_MS": "2000"}
    async with wire_to_valkey(redis_url) as (far, far_url):
        with fleet(database_url=url, redis_url=far_url, directory=tmp_path, environment=environment) as workers:
            worker = workers.start(slots="4")
            await until_workers(database, 1)
            ids = [await ask(database, Steps(10, 0.1)) for _ in range(4)]

            async def begun() -> bool:
                return len(await database.reader.fetch("SELECT 1 FROM effects")) > 4

            async def stopped() -> bool:
                return b"heartbeat.deadline" in workers.log.read_bytes()

            await until(begun)
            for each in (wire, far):
                each.freeze()
            try:
                await until(stopped)
                for each in (wire, far):
                    each.mend()
                for job_id in ids:
                    await until_state(database, job_id, "completed")
                assert worker.poll() is None
            finally:
                request.node.add_report_section("call", "workers", workers.log.read_text()[-8_000:])
    for job_id in ids:
        # Away from everybody, that it was not seen is no crash of what it ran.
        assert (await row_of(database, job_id))["crash_count"] == 0
        assert await effects_of(database, job_id) == list(range(10))
        await story_of(database, job_id)


@pytest.mark.parametrize("way", ["cut", "freeze"])
async def test_a_listener_asks_a_silent_redis_whether_it_is_there_and_subscribes_anew(
    way: str, feed: Feed, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "ANSWER_SECONDS", 0.3)
    async with wire_to_valkey(redis_url) as (wire, url):
        far = Feed.open(RedisSettings(url=url))
        try:
            async with listening(far, "a") as hints:
                getattr(wire, way)()
                # It knows that it has heard nothing for a while: so it looks once, when it is subscribed again.
                await asyncio.wait_for(until_gone(far), PATIENCE_SECONDS)
                wire.mend()
                assert await heard(hints, {"a"}) == {"a"}
                await feed.publish(["a"])
                assert await heard(hints, {"a"}) == {"a"}
        finally:
            wire.mend()
            await far.close()


async def until_gone(feed: Feed) -> None:
    async def gone() -> bool:
        return feed._pubsub is None

    await until(gone)
