"""Who asks: tokens of ours, tokens of an identity provider, and what a wrong one gets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import jwt
import orjson
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from db.accounts.models import ApiToken, User
from db.accounts.rules import Role
from db.session import Database
from resolvers.schema import schema as whole_schema
from server.jwt import JwtSettings, JwtVerifier
from tests.server.support.facts import revoke_all, until
from tests.server.support.serving import Running, Uvicorn, serving, token_of
from tests.server.support.sockets import socket_to
from tests.server.support.stage import Stage, schema
from tests.support.facts import PATIENCE_SECONDS
from tests.support.people import admin, now_of, person


async def test_a_token_says_who_asks(server: Running, token: str) -> None:
    assert (await server.post("{ me }", token=token)).json()["data"] == {"me": "Mia Member"}


async def test_without_a_token_one_is_nobody(server: Running) -> None:
    answer = await server.post("{ hello me }")
    assert answer.status_code == 200
    assert answer.json()["data"] == {"hello": "Hello, world!", "me": None}
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "bearer hf_wrong", "Basic YTpi", "Bearer", "hf_x", "Bearer " + "x" * 9_000, "Bearer ä"],
)
async def test_a_wrong_token_is_401_and_nothing_runs(server: Running, stage: Stage, header: str) -> None:
    headers = {b"authorization": header.encode(), b"accept": b"application/graphql-response+json"}
    body = {"query": 'mutation { note(text: "x") }'}
    answer = await server.client.post("/graphql", json=body, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": "UNAUTHENTICATED"}]
    assert stage.notes == []


async def test_a_revoked_token_is_refused_at_once(server: Running, database: Database) -> None:
    boss = await admin(database)
    token = await token_of(database, boss, roles=(Role.ADMIN,))
    assert (await server.post("{ me }", token=token)).status_code == 200
    await revoke_all(database, boss)
    assert (await server.post("{ me }", token=token)).status_code == 401


async def test_an_expired_token_is_refused(server: Running, database: Database) -> None:
    now = await now_of(database)
    token = await token_of(database, expires_at=now + timedelta(seconds=0.3))
    answers: list[int] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not answers or answers[-1] == 200:
            answers.append((await server.post("{ me }", token=token)).status_code)
    assert answers[-1] == 401


async def test_somebody_inactive_is_refused(server: Running, database: Database) -> None:
    token = await token_of(database, await person(database, is_active=False))
    assert (await server.post("{ me }", token=token)).status_code == 401


async def test_that_a_token_was_used_is_noted_later(server: Running, database: Database, token: str) -> None:
    async def last_used_at() -> object:
        async with database.transaction() as tx:
            return (await tx.scalars(select(ApiToken.last_used_at))).one()

    await server.post("{ me }", token=token)
    assert await last_used_at() is None
    await server.edge.authenticator.note_use()
    assert await last_used_at() is not None


# ------------------------------------------------------------------------------------------------ identity providers

Known = tuple[Running, list[int]]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER, AUDIENCE = "https://id.example.org", "holdfast"


def signed(key: Any = KEY, kid: str = "one", algorithm: str = "RS256", **changes: Any) -> str:
    """A token of the provider."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "person-1",
        "exp": time.time() + 60,
        "email": "grace@example.org",
        "email_verified": True,
    } | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm, headers={"kid": kid})


@asynccontextmanager
async def provider(keys: dict[str, Any]) -> AsyncIterator[tuple[str, list[int]]]:
    """A provider that publishes the public halves of `keys`, and counts who asks."""
    asked: list[int] = []

    async def jwks(_: Request) -> JSONResponse:
        asked.append(1)
        published = [
            orjson.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"}
            for kid, key in keys.items()
        ]
        return JSONResponse({"keys": published})

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(Starlette(routes=[Route("/keys", jwks)]), log_config=None, lifespan="off")
    running = Uvicorn(config)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        await until(lambda: running.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/keys", asked
    finally:
        running.should_exit = True
        await task
        listener.close()


@pytest.fixture
async def known(
    database: Database, database_url: str, redis_url: str, stage: Stage
) -> AsyncIterator[tuple[Running, list[int]]]:
    """A server that takes a provider's tokens, and a person the provider knows by their address."""
    await person(database, "Grace Guest", Role.EDITOR, email="grace@example.org")
    async with provider({"one": KEY}) as (url, asked):
        settings = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": url}
        async with serving(database_url, redis_url, schema=schema, jwt=settings) as server:
            yield server, asked


async def test_a_providers_token_signs_in_whom_it_knows_by_their_address(known: Known, database: Database) -> None:
    server, asked = known
    assert (await server.post("{ me }", token=signed())).json()["data"] == {"me": "Grace Guest"}
    async with database.transaction() as tx:
        assert (await tx.scalars(select(User.subject))).all() == ["person-1"]
    # From then on the subject counts, and the address no longer matters.
    moved = signed(email="new@example.org")
    assert (await server.post("{ me }", token=moved)).json()["data"] == {"me": "Grace Guest"}
    # The keys are asked for once.
    assert len(asked) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 1},
        {"exp": None},
        {"exp": 10**20},
        {"aud": "another"},
        {"iss": "https://evil.example.org"},
        {"sub": None},
        {"key": OTHER_KEY},
        {"kid": "two"},
        {"sub": "person-2", "email": "nobody@example.org"},
        {"sub": "person-2", "email_verified": False},
        {"sub": "person-2", "email_verified": None},
    ],
)
async def test_a_providers_token_that_is_not_for_us_is_refused(known: Known, changes: dict[str, Any]) -> None:
    server, _ = known
    assert (await server.post("{ me }", token=signed(**changes))).status_code == 401


async def test_an_unsigned_token_is_refused(known: Known) -> None:
    server, _ = known
    unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "person-1", "exp": time.time() + 60}, "", "none")
    assert (await server.post("{ me }", token=unsigned)).status_code == 401


async def test_our_own_tokens_work_beside_a_providers(known: Known, token: str) -> None:
    server, asked = known
    assert (await server.post("{ me }", token=token)).json()["data"] == {"me": "Mia Member"}
    assert asked == []


async def test_the_end_of_a_providers_token_ends_its_streams(known: Known, stage: Stage) -> None:
    server, _ = known
    async with socket_to(server) as connection:
        expires_at = time.time() + 60
        await connection.init(signed(exp=expires_at))
        await connection.subscribe("1", "subscription { news }")
        await stage.streaming.wait()
        server.edge.sessions.clock = lambda: expires_at
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await connection.receive()
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "UNAUTHENTICATED")
        assert (await connection.closed())[0] == 4401


async def test_a_token_is_taken_for_the_leeway_longer() -> None:
    key = "a secret that is shared with the provider"
    settings = JwtSettings(issuer=ISSUER, audience=AUDIENCE, key=key, algorithms=["HS256"], leeway_seconds=120)
    ended = int(time.time()) - 60
    token = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "person-1", "exp": ended}, key, algorithm="HS256")
    claims = await JwtVerifier(settings).verify(token)
    assert claims.expires_at.timestamp() == ended + 120


async def test_a_provider_that_does_not_answer_is_an_outage_and_not_a_wrong_token(
    database_url: str, redis_url: str, stage: Stage
) -> None:
    settings = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "http://127.0.0.1:9/keys"}
    async with serving(database_url, redis_url, schema=schema, jwt=settings) as server:
        answer = await server.post("{ me }", token=signed())
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["extensions"] == {"code": "INTERNAL", "isTransient": True}


async def test_roles_come_from_the_claim_where_it_names_any(
    known: Known,
) -> None:
    server, _ = known
    cases = {("editor", "other"): {Role.EDITOR}, ("ADMIN",): {Role.ADMIN}, ("theirs",): {Role.EDITOR}}
    for given, expected in cases.items():
        viewer = await server.edge.authenticator.viewer(signed(roles=list(given)))
        assert viewer is not None
        assert viewer.roles == expected


async def test_a_narrow_token_of_a_provider_makes_no_wider_one(
    database: Database, database_url: str, redis_url: str
) -> None:
    await person(database, "Grace Guest", Role.ADMIN, email="grace@example.org")
    create_user = 'mutation { createUser(input: {name: "Eve"}) { userErrors { code } } }'
    key = "a secret that is shared with the provider"
    settings = {"issuer": ISSUER, "audience": AUDIENCE, "key": key, "algorithms": ["HS256"]}

    def given(*roles: str) -> str:
        return signed(key, algorithm="HS256", roles=list(roles))

    async with serving(database_url, redis_url, schema=whole_schema, jwt=settings) as server:
        assert (await server.post(create_user, token=given("member"))).json()["data"]["createUser"] == {
            "userErrors": [{"code": "FORBIDDEN"}]
        }
        for roles in ("", ", roles: [ADMIN]", ", roles: [MEMBER]", ", roles: [ADMIN, MEMBER]"):
            make = (
                f'mutation {{ createApiToken(input: {{name: "x"{roles}}}) {{ secret userErrors {{ code field }} }} }}'
            )
            refused = {"secret": None, "userErrors": [{"code": "FORBIDDEN", "field": ["input", "roles"]}]}
            assert (await server.post(make, token=given("member"))).json()["data"] == {"createApiToken": refused}
        async with database.transaction() as tx:
            assert (await tx.scalars(select(ApiToken.id))).all() == []
            assert (await tx.scalars(select(User.name))).all() == ["Grace Guest"]
        # A token that carries the role makes one, which may do as much.
        made = await server.post('mutation { createApiToken(input: {name: "x"}) { secret } }', token=given("admin"))
        secret = made.json()["data"]["createApiToken"]["secret"]
        assert (await server.post(create_user, token=secret)).json()["data"]["createUser"] == {"userErrors": []}


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": "x"},
        {"issuer": "x", "audience": "y"},
        {"issuer": "x", "audience": "y", "key": "k", "jwks_url": "u"},
        {"issuer": "x", "audience": "y", "key": "k", "algorithms": ["none"]},
    ],
)
def test_half_a_configuration_stops_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JwtSettings(**settings)
