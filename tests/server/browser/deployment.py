"""A server with the demo data and, where a test starts it, a worker: real processes on the run's stores."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.support.facts import ROOT, eventually

LISTENING = re.compile(r"Listening on (http://\S+)")


class RefusedError(AssertionError):
    """The server refused what a test needs for its beginning."""


@dataclass
class Deployment:
    """The server's URL, the demo people's tokens, and where the logs are."""

    url: str
    tokens: dict[str, str]
    environment: dict[str, str]
    directory: Path

    def ask(self, query: str, *, who: str = "teacher", **variables: Any) -> dict[str, Any]:
        """The data of an operation, for the beginning of a test; errors of any kind end it."""
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {self.tokens[who]}"},
        ).json()
        if "errors" in answer:
            raise RefusedError(answer["errors"])
        data: dict[str, Any] = answer["data"]
        return data

    def draft(self, title: str) -> str:
        """The id of a new plan: a homework for all learners of the demo course, not published yet."""
        course = self.ask("{ viewer { courses { id } } }")["viewer"]["courses"][0]["id"]
        now = datetime.now(UTC).replace(microsecond=0)
        opens, due, closes = ((now + timedelta(days=days)).isoformat().replace("+00:00", "Z") for days in (1, 8, 15))
        payload = self.ask(
            """mutation ($input: CreatePlanInput!) {
                 createPlan(input: $input) { plan { id } userErrors { code field message } }
               }""",
            input={
                "courseId": course,
                "type": "EXTERNAL",
                "title": title,
                "settings": {"external_url": "https://example.org/{{learner_id}}"},
                "taskingPlans": [{"targetId": course, "opensAt": opens, "dueAt": due, "closesAt": closes}],
            },
        )["createPlan"]
        if payload["plan"] is None:
            raise RefusedError(payload["userErrors"])
        return str(payload["plan"]["id"])

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker process, drained at the end."""
        with holdfast("worker", log=self.directory / "worker.log", environment=self.environment) as process:
            yield
            assert process.poll() is None, (self.directory / "worker.log").read_text()


@contextmanager
def holdfast(*arguments: str, log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that writes to a log; asked to end at the end, and waited for."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", *arguments],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()


@contextmanager
def deployment(*, database_url: str, redis_url: str, directory: Path) -> Iterator[Deployment]:
    """Migrate, load the demo data, serve."""
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SERVER_PORT": "0",
        "HOLDFAST_DATA": str(directory),
    }
    tokens, log = directory / "tokens.json", directory / "server.log"
    with ExitStack() as stack:
        prepare = holdfast("prepare", "--tokens", str(tokens), log=log, environment=environment)
        with prepare as process:
            assert process.wait(timeout=120) == 0, log.read_text()
        server = stack.enter_context(holdfast("serve", log=log, environment=environment))
        url = eventually(lambda: address_in(log, server) or "")
        eventually(lambda: is_ready(url))
        yield Deployment(url, json.loads(tokens.read_text()), environment, directory)


def address_in(log: Path, server: subprocess.Popen[bytes]) -> str | None:
    """Where the server says that it listens, once it has."""
    said = log.read_text()
    assert server.poll() is None, said
    found = LISTENING.search(said)
    return found[1] if found else None


def is_ready(url: str) -> bool:
    """Whether the server answers that it is."""
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False
