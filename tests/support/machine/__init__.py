"""The ledger with everybody who acts on it, and what must hold whatever they do."""

from tests.support.machine.kinds import WORKS
from tests.support.machine.world import Action, World

__all__ = ["WORKS", "Action", "World"]
