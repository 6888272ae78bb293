"""Names of Flax that Linnet lacks: a program fails when it uses one, not when it imports it.

`from flax.nnx import Missing` gives a placeholder that raises an error when it is used, since many
programs import more than a run needs. `nnx.Missing` raises an `AttributeError` itself, so that
`hasattr` and `getattr` with a default answer truthfully. Both give the full name and say what to
use instead.

A name that Flax also lacks raises the same class of error as in Flax. A program that tests for it
(`try: from flax import new ... except ImportError:`) thus takes the branch that it takes with Flax
0.12.8. For names of older versions (`flax.optim`), the error says what replaced them.
"""

from __future__ import annotations

import dis
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from linnet.flax.running.remedies import REMEDIES, REMOVED

if TYPE_CHECKING:
    from importlib.abc import Loader

_FROM_IMPORT = dis.opmap["IMPORT_FROM"]


used: set[str] = set()
"""Missing names that the program has used or imported so far, for the report."""


def watch(name: str, module: ModuleType) -> None:
    """Adds the placeholders to a module that a program imports as `name`."""
    lacking, removed = [
        {n.rpartition(".")[2] for n in names if n.rpartition(".")[0] == name}
        for names in (REMEDIES, REMOVED)
    ]
    if not (lacking or removed) or "_linnet_missing" in vars(module):
        return
    vars(module)["_linnet_missing"] = frozenset(lacking)
    get = vars(module).get("__getattr__")

    def find(attribute: str) -> object:
        if attribute in lacking:
            used.add(f"{name}.{attribute}")
            if _is_from_import():
                return Missing(f"{name}.{attribute}")
            raise AttributeError(message(f"{name}.{attribute}"), name=attribute, obj=module)
        if attribute in removed:
            full = f"{name}.{attribute}"
            text = f"{full} is from an older Flax; Flax 0.12.8 lacks it, too.\n  {REMOVED[full]}"
            if _is_from_import():
                raise ImportError(text, name=name)
            raise AttributeError(text, name=attribute, obj=module)
        if get is not None:
            return get(attribute)
        raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")

    vars(module)["__getattr__"] = find


def _is_from_import() -> bool:
    """Whether `from module import name` looks the attribute up, rather than other code."""
    frame = sys._getframe(2)
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith("linnet.flax.running."):
        frame = frame.f_back
    return frame.f_code.co_code[frame.f_lasti] == _FROM_IMPORT


def message(name: str) -> str:
    """The missing name, and what to use instead."""
    return f"{name} is not in Linnet.\n  {REMEDIES[name]}"


def missing_module(name: str) -> ModuleSpec | None:
    """Describes a module of Flax that Linnet lacks, or None if Flax lacks it too."""
    return ModuleSpec(name, _loader, is_package=True) if name in REMEDIES else None


class _Loader:
    """Loads a module each of whose names is a placeholder."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Returns None: the import system creates the module."""

    def exec_module(self, module: ModuleType) -> None:
        used.add(module.__name__)

        def find(attribute: str) -> object:
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            used.discard(module.__name__)  # the names in it are listed instead
            used.add(f"{module.__name__}.{attribute}")
            return Missing(f"{module.__name__}.{attribute}", message(module.__name__))

        vars(module)["__getattr__"] = find


_loader = cast("Loader", _Loader())


class Missing:
    """A placeholder for a missing name: raises an error that names it when it is used.

    It can be imported, passed on, compared and written in annotations, and nothing is an instance
    of it.
    """

    def __init__(self, name: str, text: str | None = None) -> None:
        self.__dict__.update(linnet_name=name, linnet_message=text or message(name))

    def __repr__(self) -> str:
        return f"<{self.linnet_name}, which is not in Linnet>"

    def _fail(self, *args: object, **kwargs: object) -> NoReturn:
        from linnet.flax.running.errors import MissingNameError

        raise MissingNameError(self.linnet_message)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # functools, inspect and others look these up
        self._fail()

    def __or__(self, other: object) -> Self:
        return self

    __ror__ = __or__

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __subclasscheck__(self, subclass: object) -> bool:
        return False

    __call__ = __getitem__ = __iter__ = __enter__ = __setattr__ = _fail
    __mro_entries__ = __reduce_ex__ = __add__ = __mul__ = __index__ = __float__ = _fail
