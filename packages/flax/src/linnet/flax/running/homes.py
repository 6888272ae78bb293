"""Finds the place of a Flax name in Linnet, for programs that are rewritten.

It needs no table. It looks up a name of Flax at the same path in `linnet`, and then at that path
without the module that holds the name. The first result that is the same object as in
`linnet.flax` is the name's home; without such a result, the home is `linnet.flax`. So a rewritten
program gets the objects that the hook would give it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

ABSENT = object()


class Home(NamedTuple):
    """The place of a name: the innermost module on its path, and the path."""

    module: str
    path: str

    @property
    def is_module(self) -> bool:
        """Whether `import path` works."""
        return self.path == self.module

    @property
    def is_in_module(self) -> bool:
        """Whether `from ... import ...` works."""
        return self.is_module or self.path.rpartition(".")[0] == self.module


def any_home(found: Home) -> bool:
    """Whether an attribute chain may be the path."""
    return True


def home(
    name: str, uses: Iterable[str] = (), fits: Callable[[Home], object] = any_home
) -> Home | None:
    """Finds a name of Flax in Linnet, or None.

    Args:
      name: as Flax has it, such as "flax.training.train_state.TrainState".
      uses: names below it that the program uses, such as "create". A place that has them all
        comes first.
      fits: whether a place can be imported as the program needs it.
    """
    wanted = [f"{name}.{use}" for use in uses]
    first = None
    for path in _candidates(name):
        module = _same(name, path)
        if module is None or not fits(Home(module, path)):
            continue
        if all(_same(use, path + use.removeprefix(name)) for use in wanted):
            return Home(module, path)
        first = first or Home(module, path)
    return first


def _candidates(name: str) -> Iterator[str]:
    parts = name.split(".")[1:]
    if parts:
        yield ".".join(["linnet", *parts])
    # Below linnet, a name may be in the package: linnet.training.TrainState.
    for end in range(len(parts) - 2, 0, -1):
        yield ".".join(["linnet", *parts[:end], parts[-1]])
    yield ".".join(["linnet.flax", *parts])


def _same(name: str, path: str) -> str | None:
    """The module that `path` is in, if it refers to the same object as `name` in Flax."""
    found, module = resolve(path)
    expected, _ = resolve(f"linnet.{name}")
    if found is ABSENT or expected is ABSENT:
        return None
    modules = isinstance(found, ModuleType) and isinstance(expected, ModuleType)
    return module if modules or found is expected else None


def resolve(path: str) -> tuple[Any, str]:
    """The object at a dotted path, or `ABSENT`, and the innermost module on the path."""
    first, *rest = path.split(".")
    found: Any = import_module(first)
    module = first
    for part in rest:
        inner = getattr(found, part, ABSENT)
        if inner is ABSENT and isinstance(found, ModuleType):
            inner = _import(f"{module}.{part}")
        if inner is ABSENT:
            return ABSENT, module
        if isinstance(inner, ModuleType) and _import(f"{module}.{part}") is inner:
            module = f"{module}.{part}"
        found = inner
    return found, module


def _import(name: str) -> object:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return ABSENT
        raise  # The module exists, but something that it imports does not.
