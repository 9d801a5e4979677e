"""The house's rules that no other tool holds: sizes of files, who commits, what a domain's folder may contain."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
MOST_LINES_OF_CONFTEST = 80
ROOMS = ("server", "resolvers", "jobs", "db")
DOMAIN_FILES = {"rules", "jobs", "models", "queries", "commands"}
DOMAINS = ("accounts", "ledger", "courses", "tasks", "plans")
VAGUE = {"utils", "helpers", "service", "services", "manager", "common", "misc"}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def sources() -> Iterator[Path]:
    for path in tracked("*.py"):
        if "migrations/versions" not in str(path):
            yield path


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_conftest_stays_small() -> None:
    assert len((ROOT / "tests" / "conftest.py").read_text().splitlines()) <= MOST_LINES_OF_CONFTEST


def test_only_the_session_commits() -> None:
    found = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            ends = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in {"commit", "rollback"}]
            found += [str(path.relative_to(ROOT)) for _ in ends]
    assert set(found) <= {"db/session.py"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_its_five_parts_and_no_sixth(domain: str) -> None:
    names = {path.stem for path in (ROOT / "db" / domain).iterdir() if path.name not in {"__init__.py", "__pycache__"}}
    assert names <= DOMAIN_FILES


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in sources() if path.stem in VAGUE] == []


def test_the_top_level_is_what_it_is() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in tracked()}
    given = {"pyproject.toml", "schema.graphql", "server", "resolvers", "jobs", "db", "tests"}
    beside = {"docs", "deploy", "bench", "web", "clients", "requirements", "Makefile"}
    papers = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert {name for name in top if not name.startswith(".")} <= given | beside | papers
