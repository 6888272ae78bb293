"""The cases: each module in this folder holds some, in a list `CASES`."""

from __future__ import annotations

import importlib
import pkgutil

from bench.case import Case


def all_cases() -> list[Case]:
    """The cases of all modules here, in the order of the modules' names."""
    cases: list[Case] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        cases.extend(importlib.import_module(f"{__name__}.{module}").CASES)
    return cases
