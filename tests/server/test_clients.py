"""The schema as front-end tools use it, and the npm packages that GraphiQL and the tests are made of."""

import json
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


def test_the_sources_of_graphiql_type_check() -> None:
    done = subprocess.run(
        [WEB / "node", PACKAGES / ".bin/tsc", "--project", WEB], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_npm_packages_are_pinned_with_hashes_and_the_lock_names_no_host() -> None:
    manifest = json.loads((WEB / "package.json").read_text())
    wanted = manifest["dependencies"] | manifest["devDependencies"]
    assert [name for name, version in wanted.items() if not version[0].isdigit()] == []
    lock = (WEB / "package-lock.json").read_text()
    assert "://" not in lock
    packages = {name: one for name, one in json.loads(lock)["packages"].items() if name}
    assert [name for name, one in packages.items() if not one["integrity"].startswith("sha512-")] == []
