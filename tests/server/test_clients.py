"""The schema as front-end tools use it: typed documents checked by tsc, relay-compiler, and no breaking change."""

import subprocess

import pytest

from tests.support.facts import ROOT

WEB = ROOT / "web"
PACKAGES = WEB / "node_modules"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not (PACKAGES / "relay-compiler").is_dir(), reason="the npm packages are missing: make web"),
]


def test_codegen_tsc_and_relay_compiler_accept_the_schema() -> None:
    done = subprocess.run([WEB / "node", ROOT / "clients/check.mjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
