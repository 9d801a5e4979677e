"""What the fixtures promise: real servers, a migrated database of one's own, an empty Valkey."""

import asyncpg
import pytest
import redis

from db.session import Database


@pytest.mark.parametrize("round_", range(10))
async def test_each_test_has_a_database_of_its_own(database_url: str, round_: int) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    assert await connection.fetchval("SELECT version_num FROM alembic_version") is not None
    assert await connection.fetchval("SELECT to_regclass('mine')") is None
    await connection.execute("CREATE TABLE mine ()")
    await connection.close()


@pytest.mark.parametrize("round_", range(2))
def test_each_test_begins_with_an_empty_valkey(redis_url: str, round_: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("mine", "1")


async def test_the_database_is_open(database: Database) -> None:
    async with database.transaction() as tx:
        assert tx.now.utcoffset() is not None
