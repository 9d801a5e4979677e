"""When there are traces, and what happens where there are none, or where they cannot be had."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from db import tracing
from db.environment import SetupError
from db.session import Database
from db.telemetry import name_the_span
from db.tracing import exporting
from tests.support.ledger import ask, row_of
from tests.support.otlp import receiving

NOWHERE = "http://127.0.0.1:9"
HEADERS = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}

# A server that is made and a worker that runs, in one process: what of tracing did they load?
LIVES = """
import asyncio, sys, threading
from jobs.worker import run_worker
from server.app import create_app

async def live():
    stop = asyncio.Event()
    stop.set()
    await run_worker(stop=stop)

create_app()
asyncio.run(live())
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "requests") or "exporting" in name])
print([thread.name for thread in threading.enumerate() if "Otel" in thread.name])
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment that says nothing of traces; those that a test begins end with it."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    yield monkeypatch
    tracing.stop()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_SDK_DISABLED": "true"},
        # Set for others, and without an address no word about us.
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "shop"},
    ],
)
def test_there_are_no_traces_unless_the_environment_says_where_they_go(
    environment: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    for name, value in settings.items():
        environment.setenv(name, value)
    tracing.start("holdfast-test")
    with tracing.serving(HEADERS, path="/graphql") as span:
        assert (span, tracing.carried(), dict(tracing.ids())) == (tracing.NOTHING, None, {})
    with tracing.asking(kinds=["a"], queues=["b"]) as span:
        assert (span, tracing.carried()) == (tracing.NOTHING, None)
    assert name_the_span(None, "info", {"event": "said"}) == {"event": "said"}


async def test_a_process_without_traces_loads_nothing_of_them_and_a_job_carries_none(
    environment: pytest.MonkeyPatch, database: Database, database_url: str, redis_url: str
) -> None:
    assert (await row_of(database, await ask(database)))["trace_context"] is None
    done = subprocess.run(
        [sys.executable, "-c", LIVES],
        env={**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.splitlines(), done.returncode) == (["[]", "[]"], 0), done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL='http/json': no protocol that we can send traces by.",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318': no address. Right would be: http://collector:4318.",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "Install it (opentelemetry-exporter-otlp-proto-grpc), or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkinn"}, "asks for the exporter 'zipkinn', which is not installed."),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, "OTEL_BSP_MAX_QUEUE_SIZE": "1"},
            "OpenTelemetry does not take its settings (OTEL_… in the environment): ",
        ),
    ],
)
def test_what_is_asked_for_and_cannot_be_had_stops_the_start(
    environment: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    for name, value in settings.items():
        environment.setenv(name, value)
    with pytest.raises(SetupError) as refused:
        tracing.start("holdfast-test")
    assert said in str(refused.value)
    assert tracing.serving(HEADERS, path="/graphql") is tracing.NOTHING


def test_where_the_packages_are_missing_the_error_says_what_to_install(environment: pytest.MonkeyPatch) -> None:
    environment.delitem(sys.modules, "db.tracing.exporting")
    environment.setitem(sys.modules, "opentelemetry", None)
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOWHERE)
    with pytest.raises(SetupError) as refused:
        tracing.start("holdfast-test")
    assert "pip install --require-hashes -r requirements/tracing.txt" in str(refused.value)
    assert "OTEL_TRACES_EXPORTER=none turns traces off." in str(refused.value)


def test_the_standard_environment_decides_of_sampling_and_names(environment: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        environment.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop-jobs,deployment.environment.name=test")
        tracing.start("holdfast-test")
        # The caller's trace is not sampled: neither is what hangs on it, in this process or another.
        with tracing.serving({"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}, path="/graphql"):
            unsampled = tracing.carried()
        with tracing.asking(kinds=["a", "b"], queues=["c"], count=2, instead_of="nonsense"):
            carried = tracing.carried()
        tracing.stop()
    assert unsampled is not None
    assert carried is not None
    assert unsampled.startswith(f"00-{'a' * 32}-")
    assert unsampled.endswith("-00")
    (span,) = receiver.spans
    assert (span.service, span.name, span.links) == ("shop-jobs", "enqueue several", [])
    assert carried.startswith(f"00-{span.trace_id}-{span.span_id}-")
    assert int(carried[-2:], 16) & 1


def test_an_exception_is_told_by_its_class_and_never_by_its_words(environment: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        tracing.start("holdfast-test")
        with pytest.raises(ValueError, match="swordfish"), tracing.asking(kinds=["a"], queues=["b"]):
            raise ValueError("Key (email)=(swordfish) already exists")
        tracing.stop()
    (span,) = receiver.spans
    assert (span.is_error, span.words, span.facts["error.type"]) == (True, "", "ValueError")
    assert b"swordfish" not in receiver.bodies[0]


def test_a_collector_that_does_not_answer_keeps_nobody_from_ending(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(exporting, "LAST_SECONDS", 0.1)
    environment.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracing.start("holdfast-test")
        with tracing.asking(kinds=["a"], queues=["b"]):
            pass
        tracing.stop()
        # What sends still waits for an answer, and nobody waits for it.
        assert "last-spans" in {thread.name for thread in threading.enumerate()}
