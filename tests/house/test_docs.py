"""Diagrams in the docs are those of the declared machines."""

from pathlib import Path
from typing import Any

import pytest

from db.ledger.rules import JOB
from db.machine import Machine
from db.plans.rules import PLAN
from db.tasks.rules import TASK

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "machine"), [("plans.md", PLAN), ("jobs.md", JOB), ("tasks.md", TASK)])
def test_a_page_shows_its_machine_as_it_is_declared(page: str, machine: Machine[Any]) -> None:
    assert f"```mermaid\n{machine.mermaid()}\n```" in (DOCS / page).read_text()
