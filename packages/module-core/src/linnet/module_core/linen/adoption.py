"""How a module gets its children.

A module finds its place in one of four ways; each ends in `bind_child`:

* made in a compact method: a child of the module whose method is running, named `ClassName_k` or
  by `name`;
* made in `setup`: it waits, without a name, until it is assigned to an attribute, which names it;
* passed to a constructor while unbound: a clone of it becomes a child, named by the field;
* passed to a constructor while waiting in some `setup`: it becomes that module's child instead.

A module with a place keeps it, wherever it is passed. Modules inside lists, tuples, dicts and
dataclasses are found, and named by the path to them: `layers_0`, `heads_left`. Each call clones
each original once, so a module that is passed twice has one set of parameters.

A value that holds modules is stored immutably: lists become tuples and dicts `FrozenDict`s, because
later additions would go unnoticed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.struct import FrozenDict

from ..config import config
from ..errors import ArgumentTypeError, CallShareScopeOnUnboundModuleError, describe
from ..structs import is_struct
from .scope import Scope
from .variable import Variable

if TYPE_CHECKING:
    from .module import Module

# The types of nearly every field: they hold no modules, so they need not be searched.
_PLAIN = frozenset(
    (
        *(int, float, bool, str, complex, bytes, NoneType, type, np.dtype),
        FunctionType,
        BuiltinFunctionType,
    )
)

Path = tuple[str, ...]


def is_plain(value: object) -> bool:
    """Whether `value` is known to hold no modules and stays as it is."""
    return type(value) in _PLAIN


def is_module(value: object) -> bool:
    """Whether `value` is a linen module."""
    return getattr(type(value), "_is_linen_module", False) is True


def is_place(value: object) -> bool:
    """Whether `value` is or has a place in a frame: a module, a handle to a variable, a scope."""
    return isinstance(value, Variable | Scope) or is_module(value)


def map_modules(
    fn: Callable[[Path, Any], Any],
    value: Any,
    path: Path = (),
    *,
    of: Callable[[Any], bool] = is_module,
) -> Any:
    """Replaces every module in `value` with `fn(path, module)`; lists and dicts become immutable.

    With `of=is_place`, handles to variables are replaced, too.

    Containers are rebuilt; everything else is passed on unchanged.
    """
    if type(value) in _PLAIN:
        return value
    if of(value):
        return fn(path, value)
    if isinstance(value, list | tuple):
        items = [map_modules(fn, item, (*path, str(i)), of=of) for i, item in enumerate(value)]
        if type(value) is list or type(value) is tuple:
            return tuple(items)
        if hasattr(value, "_fields"):
            return type(value)(*items)
        # A tuple subclass with special meaning, such as PartitionSpec in older versions of jax.
        return value if all(a is b for a, b in zip(items, value, strict=True)) else tuple(items)
    if isinstance(value, dict | FrozenDict):
        return FrozenDict(
            {key: map_modules(fn, item, (*path, str(key)), of=of) for key, item in value.items()}
        )
    if is_struct(value):
        changed = {
            f.name: new
            for f in dataclasses.fields(value)
            if f.metadata.get("pytree_node", True)
            and (new := map_modules(fn, old := getattr(value, f.name), (*path, f.name), of=of))
            is not old
        }
        return dataclasses.replace(value, **changed) if changed else value
    return value


def iter_modules(
    value: Any, path: Path = (), *, of: Callable[[Any], bool] = is_module
) -> Iterator[tuple[Path, Any]]:
    """The modules (with `of=is_place`, also the variables) in `value`, with the path to each."""
    if type(value) in _PLAIN:
        return
    if of(value):
        yield path, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from iter_modules(item, (*path, str(i)), of=of)
    elif isinstance(value, dict | FrozenDict):
        for key, item in value.items():
            yield from iter_modules(item, (*path, str(key)), of=of)
    elif is_struct(value):
        for f in dataclasses.fields(value):
            if f.metadata.get("pytree_node", True):
                yield from iter_modules(getattr(value, f.name), (*path, f.name), of=of)


def adopt(parent: Module, name: str, value: object) -> object:
    """Makes the unplaced modules in `value` children of `parent`.

    Their names begin with `name`. Returns `value` as `parent` should hold it.
    """
    found = sorted(iter_modules(value), key=lambda entry: entry[0])
    placed = {id(module): _place(parent, "_".join((name, *path)), module) for path, module in found}
    return map_modules(lambda path, module: placed[id(module)], value)


def _place(parent: Module, name: str, module: Module) -> Module:
    if module.scope is not None or module is parent:
        return module
    if module.parent is not None:  # it waits in a setup for a name
        bind_child(parent, name, module)
        return module
    adopted = parent.scope.frame.adopted  # type: ignore[union-attr]
    known = adopted.get(id(module))
    if known is None:
        keeps = parent.preserve_adopted_names
        if keeps is None:
            keeps = config.flax_preserve_adopted_names
        child = module.clone(parent=None)
        bind_child(parent, module.name if keeps and module.name else name, child)
        known = adopted[id(module)] = module, child
    return known[1]


def bind_child(parent: Module, name: str, module: Module) -> None:
    """Gives `module` the place `name` under `parent`.

    Raises:
      ArgumentTypeError: the name is not a string.
      NameInUseError: the name is taken.
    """
    scope = parent.scope
    assert scope is not None
    if not isinstance(name, str):
        raise ArgumentTypeError(
            f"The name of a {type(module).__name__} must be a string, got {describe(name)}.",
            hint='Write name=f"layer_{i}" for the number i, or leave name out.',
        )
    scope.claim("submodule", name, None, type(parent).__name__)
    parent._state.children[name] = module
    bind(module, parent, name, scope.inner(name))


def bind(module: Module, parent: object, name: str | None, scope: Scope) -> None:
    """Gives `module` a scope, and places to the modules among its fields."""
    attributes = module.__dict__
    attributes["parent"] = parent
    attributes["name"] = name
    attributes["scope"] = scope
    frame = scope.frame
    if frame.bound is not None:
        frame.bound.append(module)
    if frame.deferred is not None:
        frame.deferred.adopts(module)
    for field in module._fields:
        value = attributes.get(field)
        if type(value) in _PLAIN:
            continue
        if isinstance(value, _HOLDERS) or is_module(value) or is_struct(value):
            attributes[field] = adopt(module, field, value)


_HOLDERS = (list, tuple, dict, FrozenDict)


def share_scope(module: Module, other: Module) -> None:
    """Gives two bound modules the same place; see `module.share_scope`."""
    if module.scope is None or other.scope is None:
        raise CallShareScopeOnUnboundModuleError(
            f"share_scope needs two bound modules, got {type(module).__name__} and "
            f"{type(other).__name__}.",
            hint="Call it in setup, on self and a submodule that is already assigned.",
        )
    depth = len(module.scope.path)
    if other.scope.path[:depth] == module.scope.path:
        _move(other, module.scope)
    else:
        _move(module, other.scope)


def _move(module: Module, scope: Scope) -> None:
    module.__dict__["scope"] = scope
    for name, child in module._state.children.items():
        if is_module(child):
            scope.claim("submodule", name, None, type(module).__name__)
            _move(child, scope.inner(name))
