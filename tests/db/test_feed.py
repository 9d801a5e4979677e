"""Hints: heard by whoever listens, missed without harm, and never in anybody's way."""

import asyncio
import time

import redis

from db.feed import Feed
from db.settings import RedisSettings
from tests.support.facts import PATIENCE_SECONDS
from tests.support.hints import heard, listening


async def test_a_listener_hears_its_topics_and_no_others(feed: Feed) -> None:
    async with listening(feed, "a", "b") as hints:
        await feed.publish(["c"])
        await feed.publish(["a"])
        assert await heard(hints, {"a"}) == {"a"}
        assert await hints.wait(0.05) == frozenset()


async def test_hints_of_one_topic_that_come_while_nobody_waits_are_one(feed: Feed) -> None:
    async with listening(feed, "a", "b") as hints:
        for _ in range(10):
            await feed.publish(["a", "b"])
        assert await heard(hints, {"a", "b"}) == {"a", "b"}
        while await hints.wait(0.05):
            pass


async def test_all_listeners_of_a_process_share_one_subscription(feed: Feed, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with listening(feed, "a") as one, listening(feed, "a") as two:
            assert client.execute_command("PUBSUB", "NUMSUB", "holdfast:0:a") == [b"holdfast:0:a", 1]
            await feed.publish(["a"])
            assert [await heard(each, {"a"}) for each in (one, two)] == [{"a"}, {"a"}]


async def test_one_that_leaves_does_not_take_the_topic_from_the_others(feed: Feed) -> None:
    async with listening(feed, "a") as stays:
        async with listening(feed, "a", "b"):
            pass
        await feed.publish(["a"])
        assert await heard(stays, {"a"}) == {"a"}


async def test_what_nobody_listens_to_is_not_subscribed(feed: Feed, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with feed.listen("a"):
            pass
        while client.execute_command("PUBSUB", "NUMSUB", "holdfast:0:a")[1]:
            await asyncio.sleep(0.01)


async def test_topics_of_one_family_share_a_channel_and_a_message(feed: Feed, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with listening(feed, "job.1", "job.2") as hints:
            assert client.execute_command("PUBSUB", "NUMSUB", "holdfast:0:job") == [b"holdfast:0:job", 1]
            before = client.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"]
            await feed.publish([f"job.{number}" for number in range(1_000)])
            assert await heard(hints, {"job.1", "job.2"}) == {"job.1", "job.2"}
            assert client.info("commandstats")["cmdstat_publish"]["calls"] == before + 1


async def test_who_comes_while_the_last_one_leaves_hears_all_the_same(feed: Feed) -> None:
    for _ in range(50):
        async with feed.listen("a"):
            pass
        async with listening(feed, "a") as hints:
            await feed.publish(["a"])
            assert await heard(hints, {"a"}) == {"a"}


async def test_another_process_hears(feed: Feed, redis_url: str) -> None:
    other = Feed.open(RedisSettings(url=redis_url))
    async with listening(other, "a") as hints:
        await feed.publish(["a"])
        assert await heard(hints, {"a"}) == {"a"}
    await other.close()


async def test_without_redis_nothing_raises_and_nothing_waits(tmp_path: object) -> None:
    feed = Feed.open(RedisSettings(url=f"unix://{tmp_path}/nobody.sock"))
    began = time.monotonic()
    for _ in range(100):
        await feed.publish(["a"])
    # Whoever waits rests for half a second after each failure, or waits for two for an answer: a hundred times.
    assert time.monotonic() - began < PATIENCE_SECONDS
    async with feed.listen("a") as hints:
        assert await hints.wait(0.05) == frozenset()
    await feed.close()


async def test_after_a_break_each_listener_looks_once_for_what_it_missed(feed: Feed, redis_url: str) -> None:
    async with listening(feed, "a") as hints:
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="pubsub")
        assert await heard(hints, {"a"}) == {"a"}
        await feed.publish(["a"])
        assert await heard(hints, {"a"}) == {"a"}
