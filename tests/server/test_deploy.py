"""The deploy files name settings and commands that exist, and give a drain the time that it takes."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from db.settings import DatabaseSettings, RedisSettings
from jobs.settings import WorkerSettings
from server.__main__ import COMMANDS
from server.edge import EdgeSettings
from server.jwt import JwtSettings
from server.limits import LimitSettings
from server.settings import ServerSettings
from tests.support.facts import ROOT

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
ROOMS: tuple[type[BaseSettings], ...] = (
    DatabaseSettings,
    RedisSettings,
    WorkerSettings,
    EdgeSettings,
    JwtSettings,
    LimitSettings,
    ServerSettings,
)
KNOWN = {f"{room.model_config['env_prefix']}{name}".upper() for room in ROOMS for name in room.model_fields}
SETTING = re.compile(r"\b((?:DATABASE|REDIS|WORKER|EDGE|JWT|LIMIT|SERVER|HOLDFAST)_[A-Z_]+)\b")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(DEPLOY)) for path in FILES])
def test_every_setting_that_a_deploy_file_names_exists(path: Path) -> None:
    assert set(SETTING.findall(path.read_text())) <= KNOWN


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(DEPLOY)) for path in FILES])
def test_every_command_that_a_deploy_file_runs_exists(path: Path) -> None:
    named = re.findall(r"^\s*(?:args|command|CMD):? *\[\"?([a-z]+)\"?\]", path.read_text(), re.MULTILINE)
    assert set(named) <= set(COMMANDS)


def test_a_pod_may_take_longer_than_its_drain() -> None:
    settings = (DEPLOY / "kubernetes/settings.yaml").read_text()
    for part, before_the_drain in (("server", 5), ("worker", 0)):
        drain = int(re.findall(rf'{part.upper()}_DRAIN_SECONDS: "(\d+)"', settings)[0])
        grace = re.findall(r"terminationGracePeriodSeconds: (\d+)", (DEPLOY / f"kubernetes/{part}.yaml").read_text())
        assert int(grace[0]) >= before_the_drain + drain + 5


def test_a_workers_probes_ask_the_port_that_its_settings_open() -> None:
    settings = (DEPLOY / "kubernetes/settings.yaml").read_text()
    worker = (DEPLOY / "kubernetes/worker.yaml").read_text()
    (port,) = re.findall(r'WORKER_METRICS_PORT: "(\d+)"', settings)
    assert re.findall(r"containerPort: (\d+)", worker) == [port]
    assert re.findall(r'prometheus.io/port: "(\d+)"', worker) == [port]
    assert re.findall(r"path: (/\w+), port: page", worker) == ["/livez", "/livez", "/readyz"]
    (compose,) = re.findall(r'WORKER_METRICS_PORT: "(\d+)"', (DEPLOY / "compose.yaml").read_text())
    assert f"http://127.0.0.1:{compose}/readyz" in (DEPLOY / "compose.yaml").read_text()
