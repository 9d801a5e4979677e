"""Probes, metrics, GraphiQL's files: what is answered beside GraphQL."""

import re
from pathlib import Path

import asyncpg
import pytest
import redis as sync_redis

import server.graphiql as server_graphiql
from tests.server.support.serving import Running, serving
from tests.server.support.stage import Stage, schema


async def test_a_server_with_its_stores_is_live_and_ready(server: Running) -> None:
    assert (await server.client.get("/livez")).json() == {"status": "ok"}
    ready = await server.client.get("/readyz")
    assert ready.status_code == 200
    revision = server.edge.newest_revision
    assert ready.json() == {
        "status": "ok",
        "checks": {"database": {"status": "ok", "revision": revision}, "redis": {"status": "ok"}},
    }


async def test_without_redis_it_is_degraded_and_still_ready(server: Running, redis_url: str) -> None:
    with sync_redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "PAUSE", "600", "ALL")
    ready = await server.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["redis"]["status"] == "down"
    assert (await server.post("{ hello }")).json()["data"] == {"hello": "Hello, world!"}


async def test_without_a_database_it_is_live_and_not_ready(redis_url: str, stage: Stage) -> None:
    nowhere = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"
    async with serving(nowhere, redis_url, schema=schema) as server:
        ready = await server.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["checks"]["database"]["status"] == "down"
        assert (await server.client.get("/livez")).status_code == 200
        # A request that needs it is told that this will pass.
        answer = await server.post("{ me }", token="hf_whatever")
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"]["isTransient"] is True


async def test_a_database_behind_our_migrations_is_not_ready(server: Running, database_url: str) -> None:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await connection.execute("UPDATE alembic_version SET version_num = '0001'")
    ready = await server.client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == {
        "status": "not migrated",
        "revision": "0001",
        "newest": server.edge.newest_revision,
    }
    await connection.execute("DROP TABLE alembic_version")
    await connection.close()
    ready = await server.client.get("/readyz")
    assert ready.json()["checks"]["database"]["status"] == "not migrated"


async def test_a_server_that_shuts_down_asks_for_no_more_requests(server: Running) -> None:
    server.edge.drain()
    ready = await server.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["shutdown"]) == (503, {"status": "draining"})


async def test_metrics_name_operations_that_exist_and_nothing_a_client_made_up(server: Running) -> None:
    await server.post("query MadeUp { alias: hello }")
    await server.post("{ nope }")
    page = (await server.client.get("/metrics")).text
    assert 'holdfast_requests_total{kind="query",operation="hello",outcome="ok"}' in page
    assert 'outcome="BAD_USER_INPUT"' in page
    assert "MadeUp" not in page
    assert "alias" not in page


@pytest.mark.edge(edge={"metrics_token": "open sesame"})
async def test_metrics_can_ask_for_a_token(server: Running) -> None:
    assert (await server.client.get("/metrics")).status_code == 401
    assert (await server.client.get("/metrics", headers={"authorization": "Bearer wrong"})).status_code == 401
    assert (await server.client.get("/metrics", headers={"authorization": "Bearer open sesame"})).status_code == 200


@pytest.mark.edge(edge={"metrics": False})
async def test_metrics_can_be_turned_off(server: Running) -> None:
    assert (await server.client.get("/metrics")).status_code == 404


# ------------------------------------------------------------------------------------------------ GraphiQL


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build of the page, as web/ would leave it."""
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "assets/main-1a2b.js"):
        for suffix in ("", ".br", ".gz"):
            (tmp_path / (name + suffix)).write_text(f"{name}{suffix}")
    (tmp_path / ".stamp").write_text("secret of the build")
    monkeypatch.setattr(server_graphiql, "STATIC", tmp_path)
    return tmp_path


async def test_graphiql_is_served_from_our_own_files_under_a_strict_policy(server: Running, built: Path) -> None:
    for path in ("/graphiql", "/graphiql/"):
        page = await server.client.get(path, headers={"accept-encoding": "identity"})
        assert (page.status_code, page.text) == (200, "index.html")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'")
        assert re.findall(r"https?:|\*", policy) == []
        assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accepts", "encoding"),
    [("gzip, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip", "gzip"), ("identity", None), ("", None)],
)
async def test_assets_come_compressed_as_the_browser_likes_and_are_kept(
    server: Running, built: Path, accepts: str, encoding: str | None
) -> None:
    async with server.client.stream(
        "GET", "/graphiql/assets/main-1a2b.js", headers={"accept-encoding": accepts}
    ) as answer:
        suffix = {"br": ".br", "gzip": ".gz", None: ""}[encoding]
        assert b"".join([chunk async for chunk in answer.aiter_raw()]).decode() == f"assets/main-1a2b.js{suffix}"
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "path", [".stamp", "assets/nope.js", "..%2Fgraphiql.py", "assets%2F..%2F..%2Fapp.py", "assets"]
)
async def test_nothing_else_is_served(server: Running, built: Path, path: str) -> None:
    answer = await server.client.get(f"/graphiql/{path}")
    assert answer.status_code == 404
    assert answer.text == "Not found."


async def test_where_it_is_not_built_the_page_says_how(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_graphiql, "STATIC", tmp_path / "nothing")
    answer = await server.client.get("/graphiql")
    assert answer.status_code == 404
    assert "make web" in answer.text
    assert (await server.post("{ hello }")).status_code == 200


async def test_the_root_leads_to_graphiql(server: Running) -> None:
    answer = await server.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/graphiql")


async def test_origins_that_are_named_may_ask_from_the_browser(database_url: str, redis_url: str, stage: Stage) -> None:
    edge = {"cors_origins": ["https://app.example.org"]}
    preflight = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with serving(database_url, redis_url, schema=schema, edge=edge) as server:
        ours = await server.client.options("/graphql", headers=preflight | {"origin": "https://app.example.org"})
        assert ours.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "authorization" in ours.headers["access-control-allow-headers"]
        theirs = await server.client.options("/graphql", headers=preflight | {"origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in theirs.headers
