"""Diagrams in the docs are those of the declared machines."""

from pathlib import Path

import pytest

from db.machine import Machine
from db.plans.rules import PLAN, PlanState

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "machine"), [("plans.md", PLAN)])
def test_a_page_shows_its_machine_as_it_is_declared(page: str, machine: Machine[PlanState]) -> None:
    assert f"```mermaid\n{machine.mermaid()}\n```" in (DOCS / page).read_text()
