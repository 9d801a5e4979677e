"""`/livez`: the process answers. `/readyz`: it can do its work, so send it requests."""

import asyncio
from typing import Any

import asyncpg
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse

from server.auth import AWAY
from server.edge import Edge, edge_of

PROBE_SECONDS = 2.0


async def livez(_: Request) -> JSONResponse:
    """Says that the event loop turns. Asks nobody, so that a database that is down has nobody restarted."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> JSONResponse:
    """Ready: the database answers and is migrated. Without Redis everything works, only later: degraded, not down."""
    edge = edge_of(request.scope)
    database, redis = await asyncio.gather(_database(edge), _redis(edge))
    checks = {"database": database, "redis": redis}
    if edge.is_draining:
        checks["shutdown"] = {"status": "draining"}
    ready = database["status"] == "ok" and not edge.is_draining
    status = "ok" if redis["status"] == "ok" else "degraded"
    return JSONResponse(
        {"status": status if ready else "unavailable", "checks": checks}, status_code=200 if ready else 503
    )


async def _database(edge: Edge) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            found = await edge.database.reader.fetch("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        found = []
    except AWAY as error:
        return {"status": "down", "error": type(error).__name__}
    current = found[0]["version_num"] if found else None
    if current != edge.newest_revision:
        return {"status": "not migrated", "revision": current, "newest": edge.newest_revision}
    return {"status": "ok", "revision": current}


async def _redis(edge: Edge) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await edge.redis.ping()
    except (OSError, TimeoutError, RedisError) as error:
        return {"status": "down", "error": type(error).__name__}
    return {"status": "ok"}
