"""A worker's page: what it tells Prometheus, and when Kubernetes is to start the process anew."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import jobs.probes
from db.environment import SetupError
from db.session import Database
from jobs.probes import Page
from jobs.settings import WorkerSettings
from tests.support.facts import PATIENCE_SECONDS
from tests.support.kinds import Blocks, make_effects
from tests.support.ledger import ask
from tests.support.workers import fleet, until, until_state


@dataclass
class Beats:
    """A heartbeat as the page sees one."""

    seconds_since_beat: float = 0.1
    seconds_since_try: float = 0.1
    is_draining: bool = False


@pytest.fixture
def beats() -> Beats:
    return Beats()


@pytest.fixture
async def page(database: Database, beats: Beats) -> AsyncIterator[Page]:
    made = Page(settings=WorkerSettings(metrics_port=0, slots=7), heartbeat=beats, database=database, running=lambda: 3)
    made.start()
    yield made
    await made.stop()


async def get(page: Page, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{page.port}", timeout=10) as client:
        return await client.get(path)


async def test_a_worker_that_beats_is_live_and_ready(page: Page) -> None:
    for path in ("/livez", "/readyz"):
        answer = await get(page, path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert (await get(page, "/nothing")).status_code == 404


async def test_without_its_database_a_worker_is_not_ready_and_nobody_starts_it_anew(page: Page, beats: Beats) -> None:
    beats.seconds_since_beat = 8.1
    assert (await get(page, "/livez")).status_code == 200
    ready = await get(page, "/readyz")
    assert (ready.status_code, ready.json()) == (
        503,
        {"status": "unavailable", "reason": "It cannot tell the database that it lives."},
    )


async def test_a_worker_that_drains_is_live_and_not_ready(page: Page, beats: Beats) -> None:
    beats.is_draining = True
    assert (await get(page, "/livez")).status_code == 200
    assert (await get(page, "/readyz")).json()["reason"] == "It is about to stop."


async def test_a_worker_whose_heartbeat_has_died_is_to_be_started_anew(page: Page, beats: Beats) -> None:
    beats.seconds_since_try = 20.1
    live = await get(page, "/livez")
    assert (live.status_code, live.json()) == (
        503,
        {"status": "stuck", "reason": "The heartbeat's thread is stuck or has died."},
    )


async def test_a_worker_whose_loop_does_not_turn_is_to_be_started_anew_and_still_answers(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.probes, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(jobs.probes, "TURN_SECONDS", 0.05)
    found: list[tuple[int, str]] = []

    def look() -> None:
        # From another thread: this one's loop is what is stuck.
        answer = httpx.get(f"http://127.0.0.1:{page.port}/livez", timeout=PATIENCE_SECONDS)
        found.append((answer.status_code, answer.text))

    began = time.monotonic()
    while time.monotonic() < began + 0.4:
        pass
    stuck = asyncio.get_running_loop().run_in_executor(None, look)
    while not found and time.monotonic() < began + PATIENCE_SECONDS:
        pass
    await stuck
    assert found[0][0] == 503
    assert "a handler keeps it busy" in found[0][1]
    await until(lambda: _is_live(page), what="live again")


async def _is_live(page: Page) -> bool:
    return (await get(page, "/livez")).status_code == 200


async def test_the_page_tells_slots_running_jobs_and_pools(page: Page, database: Database) -> None:
    async with database.transaction():
        text = (await get(page, "/metrics")).text
    for line in (
        "holdfast_worker_slots 7.0",
        "holdfast_worker_running 3.0",
        'holdfast_pool_used{pool="write"} 1.0',
        'holdfast_pool_most{pool="write"} 10.0',
    ):
        assert line in text.splitlines()


async def test_without_the_setting_nothing_is_served(database: Database, beats: Beats) -> None:
    page = Page(settings=WorkerSettings(), heartbeat=beats, database=database, running=lambda: 0)
    page.start()
    assert page.port is None
    await page.stop()


async def test_a_port_that_is_taken_is_told_by_the_settings_name(database: Database, beats: Beats) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = Page(settings=WorkerSettings(metrics_port=port), heartbeat=beats, database=database, running=lambda: 0)
        with pytest.raises(SetupError, match=f"WORKER_METRICS_PORT={port}: cannot listen there on 127.0.0.1"):
            page.start()


async def test_a_worker_process_shows_its_page_while_a_handler_keeps_it_busy(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await make_effects(database)
    with fleet(database_url=database_url, redis_url=redis_url, directory=tmp_path) as workers:
        worker = workers.start(metrics_port="0")
        url = await until(lambda: _said(workers.log, "worker.page"), what="a page")
        base = url.removesuffix("/metrics")
        async with httpx.AsyncClient(base_url=base, timeout=10) as client:
            await until(lambda: _answers(client, "/readyz"), what="ready")
            job_id = await ask(database, Blocks(seconds=1.5))
            await until_state(database, job_id, "running")
            assert (await client.get("/livez")).status_code == 200
            assert "holdfast_worker_running 1.0" in (await client.get("/metrics")).text
            await until_state(database, job_id, "completed")
            text = (await client.get("/metrics")).text
        assert 'holdfast_job_attempts_total{kind="test.blocks",outcome="COMPLETED"} 1.0' in text
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 20) == 0


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    return (await client.get(path)).status_code == 200


async def _said(log: Path, event: str) -> str | None:
    for line in log.read_text().splitlines():
        if line.startswith("{") and (told := json.loads(line))["event"] == event:
            url: str = told["url"]
            return url
    return None
