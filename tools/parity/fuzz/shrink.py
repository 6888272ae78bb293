"""Makes a program smaller as long as it shows the same fault.

The rules only know JSON: leave something out of a list or a dict, replace the program with a part
of the same kind, make a number smaller. A program that then makes no sense raises an error in all
libraries, and so shows no fault. Arms therefore give each key that may be left out a default.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from .program import Program


def minimize(
    program: Program, shows: Callable[[Program], bool], tries: int = 400, seconds: float = 90
) -> Program:
    """The smallest program that greedy steps reach and that still `shows` what `program` does."""
    end = time.monotonic() + seconds
    met = {json.dumps(program)}
    changed = True
    while changed:
        changed = False
        for smaller in candidates(program):
            text = json.dumps(smaller)
            if text in met:
                continue
            met.add(text)
            if len(met) > tries or time.monotonic() > end:
                return program
            if shows(copy.deepcopy(smaller)):
                program, changed = smaller, True
                break
    return program


def candidates(value: Any) -> Iterator[Any]:
    """Values that are one step smaller, the largest steps first."""
    if isinstance(value, dict):
        yield from _parts(value, set(value))
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
        for key, part in value.items():
            yield from ({**value, key: smaller} for smaller in candidates(part))
    elif isinstance(value, list):
        for size in (len(value) // 2, 1):
            if size:
                for i in range(0, len(value), size):
                    yield value[:i] + value[i + size :]
        for i, part in enumerate(value):
            yield from ([*value[:i], smaller, *value[i + 1 :]] for smaller in candidates(part))
    elif isinstance(value, bool):
        if value:
            yield False
    elif isinstance(value, int):
        yield from (n for n in dict.fromkeys((0, 1, 2, value // 2, value - 1)) if 0 <= n < value)
        if value < 0:
            yield -value
    elif isinstance(value, float):
        yield from (n for n in (0.0, 1.0) if abs(n) < abs(value))


def _parts(value: Any, keys: set[str]) -> Iterator[Any]:
    """The parts of the same kind: those that have a key named `of` or `do`, like the whole."""
    marks = keys & {"of", "do"}
    if not marks:
        return
    inner = value.values() if isinstance(value, dict) else value
    for part in inner:
        if isinstance(part, dict) and "do" in part:
            yield part
        if isinstance(part, (dict, list)):
            yield from _parts(part, keys)
