"""Tickets over ARQ: what we rely on of it, and what we do without it. Pinned to arq 0.28."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import deserialize_job

from db.cancelling import end_tasks
from db.feed import Feed
from db.ledger.commands import Ticket
from db.settings import RedisSettings
from jobs.settings import WorkerSettings
from jobs.worker.bus import FUNCTION, QUEUE, Bus, _unseal
from jobs.worker.tickets import TicketWorker, name_of
from tests.support.workers import until


class Desk:
    """A bus, and the tickets that it has brought."""

    def __init__(self, url: str, feed: Feed, **settings: object) -> None:
        self.brought: list[Ticket] = []
        self.free = 10
        self.wait = asyncio.Event()
        self.wait.set()
        self.busy: set[asyncio.Task[bool]] = set()
        self.bus = Bus(
            redis=RedisSettings(url=url),
            feed=feed,
            settings=WorkerSettings.model_validate({"arq_poll_seconds": 0.05, **settings}),
            take=self.take,
            run=self.run,
            free_slots=lambda: self.free - len(self.busy),
        )

    async def take(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            task = asyncio.create_task(self.run(ticket))
            self.busy.add(task)
            task.add_done_callback(self.free_a_slot)

    def free_a_slot(self, task: "asyncio.Task[bool]") -> None:
        self.busy.discard(task)
        self.bus.wake()

    async def run(self, ticket: Ticket) -> bool:
        self.brought.append(ticket)
        await self.wait.wait()
        return True

    async def until_brought(self, *tickets: Ticket) -> None:
        async def there() -> bool:
            return set(tickets) <= set(self.brought)

        await until(there, what=f"{len(tickets)} tickets")


@pytest.fixture
async def desk(redis_url: str, feed: Feed) -> AsyncIterator[Desk]:
    desk = Desk(redis_url, feed)
    working = asyncio.create_task(desk.bus.run())
    yield desk
    await end_tasks([working])
    await desk.bus.close()


def tickets(count: int) -> list[Ticket]:
    return [Ticket(uuid4(), number) for number in range(count)]


def test_we_rely_on_this_version_of_arq() -> None:
    assert version("arq").startswith("0.28.")


async def test_tickets_are_brought_and_leave_nothing_behind(desk: Desk, redis_url: str) -> None:
    pushed = tickets(25)
    assert list(await desk.bus.carry(pushed)) == []
    await desk.until_brought(*pushed)
    assert sorted(desk.brought, key=lambda each: each.fence) == pushed
    with redis.Redis.from_url(redis_url) as client:

        async def clean() -> bool:
            keys = {key for key in client.keys("*") if not key.endswith(b"health-check")}
            return not keys

        await until(clean, what="an empty Redis")


async def test_redis_holds_ids_and_fences_and_nothing_else(redis_url: str, feed: Feed) -> None:
    desk = Desk(redis_url, feed)
    (ticket,) = tickets(1)
    await desk.bus.carry([ticket])
    name = f"{ticket.job_id}:{ticket.fence}"
    with redis.Redis.from_url(redis_url) as client:
        assert set(client.keys("*")) == {QUEUE.encode(), (job_key_prefix + name).encode()}
        assert [member for member, _ in client.zrange(QUEUE, 0, -1, withscores=True)] == [name.encode()]
        stored = client.get(job_key_prefix + name)
        assert 0 < client.pttl(job_key_prefix + name) <= 15 * 60 * 1000
    assert isinstance(stored, bytes)
    found = deserialize_job(stored, deserializer=_unseal)
    assert (found.function, list(found.args), found.kwargs) == (FUNCTION, [str(ticket.job_id), ticket.fence], {})
    await desk.bus.close()


async def test_arq_takes_what_we_push_for_what_it_would_have_pushed(desk: Desk, redis_url: str) -> None:
    """Our push leaves out ARQ's WATCH; the keys and the message are the same."""
    pool: ArqRedis = desk.bus._pool
    (ours, theirs) = tickets(2)
    await desk.bus.carry([ours])
    await pool.enqueue_job(FUNCTION, str(theirs.job_id), theirs.fence, _job_id=f"{theirs.job_id}:{theirs.fence}")
    await desk.until_brought(ours, theirs)


async def test_no_more_tickets_are_taken_than_there_are_free_slots(desk: Desk, redis_url: str) -> None:
    desk.free = 3
    desk.wait.clear()
    pushed = tickets(5)
    await desk.bus.carry(pushed)
    await desk.until_brought(*pushed[:3])
    with redis.Redis.from_url(redis_url) as client:
        assert client.zrange(QUEUE, 0, -1) == [f"{each.job_id}:{each.fence}".encode() for each in pushed[3:]]
    desk.wait.set()
    await desk.until_brought(*pushed)
    assert desk.brought == pushed


async def test_arqs_own_loop_lives_through_an_exception_in_a_ticket(redis_url: str, feed: Feed) -> None:
    brought: list[Ticket] = []

    async def run(ticket: Ticket) -> bool:
        brought.append(ticket)
        raise RuntimeError("no")

    bus = Bus(
        redis=RedisSettings(url=redis_url),
        feed=feed,
        settings=WorkerSettings(stock_arq=True, arq_poll_seconds=0.05),
        take=None,  # type: ignore[arg-type]  # not used here
        run=run,
        free_slots=lambda: 10,
    )
    working = asyncio.create_task(bus.run())
    for ticket in tickets(2):
        await bus.carry([ticket])

        async def there(ticket: Ticket = ticket) -> bool:
            return ticket in brought

        await until(there)
    await end_tasks([working])
    await bus.close()


async def test_garbage_in_the_queue_leaves_the_worker_alive(desk: Desk, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{job_key_prefix}garbage", b"\x80\x04not json")
        client.set(f"{job_key_prefix}other", b'{"f":"rm_rf","a":[],"k":{},"t":null,"et":1}')
        client.set(f"{job_key_prefix}odd", b'{"f":"take_ticket","a":["x", "y"],"k":{},"t":null,"et":1}')
        client.zadd(QUEUE, {"garbage": 1, "other": 1, "odd": 1, "nothing": 1})
    (ticket,) = tickets(1)
    await desk.bus.carry([ticket])
    await desk.until_brought(ticket)
    assert desk.brought == [ticket]


async def test_a_ticket_that_arqs_own_loop_has_in_hand_is_no_hindrance(desk: Desk, redis_url: str) -> None:
    """A worker with ARQ's loop that was killed leaves a key behind, which ARQ would wait for."""
    (ticket,) = tickets(1)
    with redis.Redis.from_url(redis_url) as client:
        client.psetex(in_progress_key_prefix + name_of(ticket), 300_000, b"1")
    await desk.bus.carry([ticket])
    await desk.until_brought(ticket)


async def test_a_worker_that_stops_picking_leaves_tickets_to_others(desk: Desk, redis_url: str, feed: Feed) -> None:
    (first,) = tickets(1)
    await desk.bus.carry([first])
    await desk.until_brought(first)
    desk.bus.stop_picking()
    (second,) = tickets(1)
    await desk.bus.carry([second])
    other = Desk(redis_url, feed)
    working = asyncio.create_task(other.bus.run())
    await other.until_brought(second)
    assert desk.brought == [first]
    await end_tasks([working])
    await other.bus.close()


async def test_without_redis_tickets_run_here_as_far_as_there_are_slots(tmp_path: Path, feed: Feed) -> None:
    desk = Desk(f"unix://{tmp_path}/nobody.sock", feed)
    desk.free = 2
    desk.wait.clear()
    pushed = tickets(5)
    assert desk.bus.room() is None
    left = await desk.bus.carry(pushed)
    assert list(left) == pushed[2:]
    await desk.until_brought(*pushed[:2])
    assert desk.bus.is_away
    assert desk.bus.room() == 0
    desk.wait.set()

    async def roomy() -> bool:
        return desk.bus.room() == 2

    await until(roomy)
    desk.bus.stop_picking()
    assert desk.bus.room() == 0
    await desk.bus.close()


async def test_a_hint_wakes_our_loop_long_before_its_poll(redis_url: str, feed: Feed) -> None:
    desk = Desk(redis_url, feed, arq_poll_seconds=60)
    working = asyncio.create_task(desk.bus.run())

    async def idle() -> bool:
        worker = desk.bus._worker
        return isinstance(worker, TicketWorker) and bool(feed._subscribed)

    await until(idle)
    for _ in range(3):
        (ticket,) = tickets(1)
        await desk.bus.carry([ticket])
        await desk.until_brought(ticket)
    await end_tasks([working])
    await desk.bus.close()


def test_a_password_with_special_characters_is_decoded() -> None:
    bus = Bus(
        redis=RedisSettings(url="redis://user:p%40ss%2Fword@localhost:6380/3"),
        feed=None,  # type: ignore[arg-type]  # not used here
        settings=WorkerSettings(),
        take=None,  # type: ignore[arg-type]  # not used here
        run=None,  # type: ignore[arg-type]  # not used here
        free_slots=lambda: 0,
    )
    given = bus._pool.connection_pool.connection_kwargs
    assert (given["username"], given["password"], given["port"], given["db"]) == ("user", "p@ss/word", 6380, 3)


async def test_arqs_own_loop_picks_what_was_pushed_by_a_clock_that_is_ahead(
    redis_url: str, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(redis_url, feed, stock_arq=True)
    pushed = tickets(3)
    with monkeypatch.context() as patched:
        real = time.time
        patched.setattr("jobs.worker.bus.time.time", lambda: real() + 600)
        await desk.bus.carry(pushed)
    working = asyncio.create_task(desk.bus.run())
    await desk.until_brought(*pushed)
    await end_tasks([working])
    await desk.bus.close()


async def test_it_knows_which_tickets_still_wait(redis_url: str, feed: Feed) -> None:
    desk = Desk(redis_url, feed)
    waiting, lost, stuck = tickets(3)
    await desk.bus.carry([waiting, stuck])
    with redis.Redis.from_url(redis_url) as client:
        # As a worker with ARQ's own loop leaves it when it is killed before the claim.
        client.set(in_progress_key_prefix + name_of(stuck), b"1")
    assert list(await desk.bus.still_waiting([lost, waiting, stuck])) == [waiting]
    await desk.bus.close()
