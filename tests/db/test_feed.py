"""Hints: heard by whoever listens, missed without harm, and never in anybody's way."""

import asyncio
import time

import redis

from db.feed import Feed
from db.settings import RedisSettings


async def test_a_listener_hears_its_topics_and_no_others(feed: Feed) -> None:
    async with feed.listen("a", "b") as hints:
        assert await hints.wait(5) <= {"a", "b"}
        await feed.publish(["c"])
        await feed.publish(["a"])
        assert await hints.wait(5) == {"a"}
        assert await hints.wait(0.05) == frozenset()


async def test_hints_of_one_topic_that_come_while_nobody_waits_are_one(feed: Feed) -> None:
    async with feed.listen("a", "b") as hints:
        await hints.wait(0.5)
        for _ in range(10):
            await feed.publish(["a", "b"])
        heard = set(await hints.wait(5))
        while heard < {"a", "b"}:
            heard |= await hints.wait(5)
        while await hints.wait(0.05):
            pass
        assert heard == {"a", "b"}


async def test_all_listeners_of_a_process_share_one_subscription(feed: Feed, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with feed.listen("a") as one, feed.listen("a") as two:
            await one.wait(0.5)
            await two.wait(0.05)
            assert client.execute_command("PUBSUB", "NUMSUB", "holdfast:0:a") == [b"holdfast:0:a", 1]
            await feed.publish(["a"])
            assert [await one.wait(5), await two.wait(5)] == [{"a"}, {"a"}]


async def test_one_that_leaves_does_not_take_the_topic_from_the_others(feed: Feed) -> None:
    async with feed.listen("a") as stays:
        async with feed.listen("a", "b"):
            pass
        await stays.wait(0.2)
        await feed.publish(["a"])
        assert await stays.wait(5) == {"a"}


async def test_what_nobody_listens_to_is_not_subscribed(feed: Feed, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with feed.listen("a"):
            pass
        while client.execute_command("PUBSUB", "NUMSUB", "holdfast:0:a")[1]:
            await asyncio.sleep(0.01)


async def test_topics_of_one_family_share_a_channel_and_a_message(feed: Feed, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        async with feed.listen("job.1", "job.2") as hints:
            await hints.wait(5)
            assert client.execute_command("PUBSUB", "NUMSUB", "holdfast:0:job") == [b"holdfast:0:job", 1]
            before = client.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"]
            await feed.publish([f"job.{number}" for number in range(1_000)])
            assert await hints.wait(5) == {"job.1", "job.2"}
            assert client.info("commandstats")["cmdstat_publish"]["calls"] == before + 1


async def test_who_comes_while_the_last_one_leaves_hears_all_the_same(feed: Feed) -> None:
    for _ in range(50):
        async with feed.listen("a"):
            pass
        async with feed.listen("a") as hints:
            await hints.wait(0.01)
            await feed.publish(["a"])
            assert await hints.wait(5) == {"a"}


async def test_another_process_hears(feed: Feed, redis_url: str) -> None:
    other = Feed.open(RedisSettings(url=redis_url))
    async with other.listen("a") as hints:
        await hints.wait(0.5)
        await feed.publish(["a"])
        assert await hints.wait(5) == {"a"}
    await other.close()


async def test_without_redis_nothing_raises_and_nothing_waits(tmp_path: object) -> None:
    feed = Feed.open(RedisSettings(url=f"unix://{tmp_path}/nobody.sock"))
    began = time.monotonic()
    for _ in range(100):
        await feed.publish(["a"])
    assert time.monotonic() - began < 0.1
    async with feed.listen("a") as hints:
        assert await hints.wait(0.05) == frozenset()
    await feed.close()


async def test_after_a_break_each_listener_looks_once_for_what_it_missed(feed: Feed, redis_url: str) -> None:
    async with feed.listen("a") as hints:
        await hints.wait(0.5)
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="pubsub")
        assert await hints.wait(10) == {"a"}
        await feed.publish(["a"])
        assert await hints.wait(10) == {"a"}
