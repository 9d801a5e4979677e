"""A worker that cannot start says which setting is wrong, its value, and what would be right."""

import os
import subprocess
import sys

import pytest

WELL = {"DATABASE_URL": "postgresql:///nowhere", "REDIS_URL": "redis://nowhere"}


def start(module: list[str], settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    own = ("DATABASE_", "REDIS_", "WORKER_", "RETENTION_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return subprocess.run(
        [sys.executable, "-m", *module],
        env=environment | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, ["DATABASE_URL is not set. Right would be: postgresql://user:password@host:port/name"]),
        (
            {**WELL, "WORKER_SLOTS": "0"},
            ["WORKER_SLOTS='0': should be greater than or equal to 1. Right would be: a whole number, 1 to 1000 "],
        ),
        (
            {**WELL, "WORKER_LEASE_SECONDS": "5"},
            [
                "WORKER_HEARTBEAT_SECONDS=2.0, WORKER_LEASE_SECONDS='5', WORKER_DEADLINE_SECONDS=8.0: must be: ",
                "must be: heartbeat_seconds < deadline_seconds < lease_seconds.",
            ],
        ),
        (
            {"DATABASE_URL": "mysql://app:swordfish@db/x", "REDIS_URL": "http://app:swordfish@redis"},
            ["DATABASE_URL='mysql://app:***@db/x': must be a URL such as postgresql://"],
        ),
        (
            {**WELL, "REDIS_URL": "http://app:swordfish@redis"},
            ["REDIS_URL='http://app:***@redis': must be a URL such as redis://localhost:6379/0."],
        ),
        (
            {**WELL, "RETENTION_JOBS_DAYS": "-1"},
            ["RETENTION_JOBS_DAYS='-1': should be greater than or equal to 1. Right would be: "],
        ),
    ],
)
def test_a_wrong_setting_is_told_by_name_and_value_with_what_would_be_right(
    settings: dict[str, str], said: list[str]
) -> None:
    done = start(["jobs"], settings)
    assert done.returncode == 2
    for line in said:
        assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert "swordfish" not in done.stderr


def test_the_command_of_the_server_says_the_same() -> None:
    done = start(["server", "worker"], {**WELL, "WORKER_SLOTS": "many"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("WORKER_SLOTS='many': should be a valid integer")
