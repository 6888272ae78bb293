"""The scopes that a lifted call needs, and clones of its modules on scopes of the body.

A call lifts the scopes of its modules, of the modules that these hold in fields, and of handles to
variables (`roots_of`). In the body, each is represented by a lowered scope, and each module by one
clone that is bound to it (`Clones`), so that no traced value is left in the caller's modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import JaxTransformError
from . import adoption
from .module import Module
from .scope import Scope
from .variable import Variable


def roots_of(modules: Sequence[Module], handles: Sequence[Variable[Any] | Scope]) -> list[Scope]:
    """The scopes of the modules and of everything they hold, except those below another.

    Empty if no module has a scope: the call then uses the plain jax transform.
    """
    found: dict[tuple[str, ...], Scope] = {}
    if all(module.scope is None for module in modules) and not handles:
        return []
    lifted: list[Module | Variable[Any] | Scope] = [*modules, *handles]
    for place in lifted:
        _collect_scopes(place, found, modules[0] if modules else None)
    frames = {id(scope.frame) for scope in found.values()}
    if len(frames) != 1:
        places = ", ".join(scope.path_text for scope in found.values())
        raise JaxTransformError(
            f"A lifted transform got modules of different calls or trace levels: {places}.",
            hint=(
                "Also pass the outer module as an argument of the enclosing transform, and use "
                "the one that its function receives. Modules from two calls to bind cannot "
                "share a transform: bind the model that has both."
            ),
        )
    return [
        scope
        for path, scope in found.items()
        if not any(path[:n] in found for n in range(len(path)))
    ]


def _collect_scopes(
    place: Module | Variable[Any] | Scope,
    found: dict[tuple[str, ...], Scope],
    main: Module | None,
) -> None:
    # Not nested in `_roots`: a closure that calls itself is a reference cycle and would keep the
    # scopes alive.
    scope = place if isinstance(place, Scope) else place.scope
    if scope is None:
        raise JaxTransformError(
            f"A lifted transform got an unbound {type(place).__name__}.",
            hint="Pass modules that were made in setup or in a compact method.",
        )
    known = scope.path in found
    found.setdefault(scope.path, scope)
    if isinstance(place, Module) and not (known and place is not main):
        for held in _held(place):
            if isinstance(held, Scope) or held.scope is not None:
                _collect_scopes(held, found, main)


def _held(module: Module) -> Iterable[Module | Variable[Any] | Scope]:
    for field in module._fields:
        value = module.__dict__.get(field)
        if not adoption.is_plain(value):
            for _, held in adoption.iter_modules(value, of=adoption.is_place):
                yield held


class Clones:
    """Clones of bound modules, one per module, on the scopes of a lowered frame."""

    def __init__(
        self, roots: Sequence[Scope], scopes: Sequence[Scope], cursors: dict[int, Any]
    ) -> None:
        self._roots = roots
        self._scopes = {root.path: scope for root, scope in zip(roots, scopes, strict=True)}
        self._cursors = cursors
        self._made: dict[int, Module] = {}

    def _scope(self, scope: Scope) -> Scope:
        known = self._scopes.get(scope.path)
        if known is None:
            # A root is a prefix of every path that was collected, so this ends there.
            above = self._by_path(scope.path[:-1])
            known = self._scopes[scope.path] = above.inner(scope.path[-1])
        return known

    def _by_path(self, path: tuple[str, ...]) -> Scope:
        known = self._scopes.get(path)
        if known is None:
            known = self._scopes[path] = self._by_path(path[:-1]).inner(path[-1])
        return known

    def of(self, module: Any) -> Any:
        """The clone of a module, of a handle to a variable, or of a scope."""
        if isinstance(module, Scope):
            return self._scope(module)
        if isinstance(module, Variable):
            scope = self._scope(module.scope)
            return Variable(scope, module.collection, module.name, module.unbox)
        known = self._made.get(id(module))
        if known is not None:
            return known
        if module.scope is None:
            return module
        clone = object.__new__(type(module))
        self._made[id(module)] = clone
        attributes = clone.__dict__
        attributes.update(
            (k, v) for k, v in module.__dict__.items() if k not in module._state.setup_attributes
        )
        scope = attributes["scope"] = self._scope(module.scope)
        if scope.frame.bound is not None:
            scope.frame.bound.append(clone)
        state = attributes["_state"] = module._state.fresh()
        state.in_compact = module._state.in_compact
        state.cursors = dict(self._cursors.get(id(module), ()))
        attributes["parent"] = self._made.get(id(module.parent), module.parent)
        for field in module._fields:
            value = attributes.get(field)
            if adoption.is_plain(value) or not any(
                True for _ in adoption.iter_modules(value, of=adoption.is_place)
            ):
                continue
            attributes[field] = adoption.map_modules(
                lambda path, m: self.of(m), value, of=adoption.is_place
            )
            for _, held in adoption.iter_modules(attributes[field]):
                if held.parent is clone and held.name is not None:
                    scope.take(held.name)
                    state.children[held.name] = held
        return clone

    def reserve(self, module: Module) -> None:
        """Reserves the name of a module argument, so that no other module gets it inside."""
        parent, name = module.parent, module.name
        clone = self._made.get(id(parent))
        if clone is not None and name is not None and name not in parent._state.setup_names:
            clone.scope.take(name)  # type: ignore[union-attr]
