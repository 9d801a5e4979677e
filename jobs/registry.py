"""Every kind of work that this code can do. A stored kind is looked up here; nothing stored is ever imported."""

import importlib
import pkgutil
from collections.abc import Mapping

import jobs.handlers
from jobs.attempt import DECLARED, Declared


def load() -> Mapping[str, Declared]:
    """Import the handlers' modules, which declare themselves, and give all kinds."""
    for module in pkgutil.iter_modules(jobs.handlers.__path__, f"{jobs.handlers.__name__}."):
        importlib.import_module(module.name)
    return DECLARED
