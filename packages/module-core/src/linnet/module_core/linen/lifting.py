"""The one mechanism behind every lifted transform.

A jax transform takes a function of arrays. A module's method also reads and writes the variables of
its scope, draws random keys and counts the draws. *Lifting* a transform turns such a method into a
function of arrays:

1. find the scopes that the call needs: the module's, and those of modules passed as arguments or
   held in fields from elsewhere (`Lift`); for a function of a scope, that scope itself;
2. extract their collections and root keys as pytrees, which become explicit inputs
   (`Lift.collections`, `.keys`);
3. inside the transform, build a frame from these inputs, lower the scopes into it, clone the
   modules onto the lowered scopes, run the method, and return its output and its changes as
   explicit outputs (`Lift.run`);
4. write the changes back (`Lift.store`).

Each transform defines only what happens to the inputs and outputs in between. The clones are
discarded along with everything that the trace has stored in them; the draw counts and the automatic
names continue, because scope and clone share them.

A function of a scope is lifted in the same way, without modules: it gets the lowered scope.
`lift_targets` makes lifted functions, methods and classes from those of the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import jax

from ..errors import (
    TransformedMethodReturnValueError,
    TransformTargetError,
)
from ..typing import PyTree, RNGSequences
from . import adoption
from .clones import Clones, roots_of
from .filters import CollectionFilter, group_collections, in_filter, intersect_filters
from .frame import Collections, Frame
from .module import Module
from .passages import Loops, Passage
from .rng import Names
from .scope import Scope
from .variable import Variable

Inputs: TypeAlias = tuple[list[Collections], list[RNGSequences]]
"""The collections and keys of each root."""

T = TypeVar("T")

Call = Callable[..., Any]  # (clone of the main module, *arguments) -> output


class _Slot:
    """A placeholder for a module or variable in a tree of arguments: a pytree without leaves."""

    def __init__(self, kind: type, index: int) -> None:
        self.kind = kind
        self.index = index


jax.tree_util.register_pytree_node(
    _Slot, lambda s: ((), (s.kind, s.index)), lambda place, _: _Slot(*place)
)


class Lift:
    """A method call, together with the parts of its scopes that it needs.

    Args:
      call: the method, or function, to run with a clone of `module`.
      module: the module or scope that it runs on, or a tree of them.
      args, kwargs: the other arguments; modules in them are lifted too.

    Attributes:
      call: the method.
      modules: the modules that are lifted, the main one first.
      handles: the variables and scopes among the arguments.
      args, kwargs: the arguments without their modules, as a jax transform accepts them.
      given, arguments, named: module, args and kwargs, as they were given.
      roots: the scopes that are lifted; none is below another.
      frame: the caller's frame.
    """

    def __init__(
        self,
        call: Call,
        module: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.call = call
        self.given = module
        self.arguments = tuple(args)
        self.named = dict(kwargs or {})
        self.modules: list[Module] = []
        self.handles: list[Variable[Any] | Scope] = []
        self._main = self._take_modules(module)
        self.args = tuple(self._take_modules(arg) for arg in args)
        self.kwargs = {name: self._take_modules(arg) for name, arg in self.named.items()}
        if not self.modules and not any(isinstance(h, Scope) for h in self.handles):
            raise TransformTargetError(
                "A lifted transform needs a module or scope as its first argument, got "
                f"{module!r:.60}.",
                hint="Call the transformed function as fn(module, *args).",
            )
        self.roots = roots_of(self.modules, self.handles)
        self.frame = self.roots[0].frame if self.roots else Frame({}, {}, False)
        self._cursors = {id(m): _cursors_of(m) for m in self.modules}
        self._changed: list[Any] = [{} for _ in self.roots]  # names of changed variables
        self._passage: Passage | None = None

    def _take_modules(self, tree: object) -> object:
        if adoption.is_plain(tree):
            return tree

        def take(leaf: object) -> object:
            if isinstance(leaf, Variable | Scope):
                self.handles.append(leaf)
                return _Slot(type(leaf), len(self.handles) - 1)
            if not isinstance(leaf, Module):
                return leaf
            self.modules.append(leaf)
            return _Slot(Module, len(self.modules) - 1)

        return jax.tree.map(take, tree, is_leaf=adoption.is_place)

    def follow_draws(self, loops_of: Callable[[str], Loops | None]) -> None:
        """Records, outside the transform, which parameters were drawn inside; see `Passage`."""
        if self.frame.deferred is not None or self.frame.recorder is not None:
            self._passage = Passage(self.frame, [root.keys for root in self.roots], loops_of)

    # Inputs.

    def collections(self, filter_like: CollectionFilter) -> list[Collections]:
        """The variables of each root in the collections that `filter_like` matches."""
        return [root.lift(filter_like) for root in self.roots]

    def keys(self, filter_like: CollectionFilter) -> list[RNGSequences]:
        """The root keys of each root, for the streams that `filter_like` matches."""
        return [
            {s: k for s, k in root.keys.items() if in_filter(filter_like, s)} for root in self.roots
        ]

    def folded_keys(self, filter_like: CollectionFilter) -> list[RNGSequences]:
        """The root keys, with the main module's path folded in by one draw from each stream.

        The scopes of modules from elsewhere keep their keys, but also lose their paths inside. This
        is a quirk of Flax that its random numbers depend on.
        """
        keys = self.keys(filter_like)
        if not self.roots:
            return keys
        main = self.roots[0]
        keys[0] = {s: main.make_rng(s) for s in keys[0]}
        return keys

    def mutable(self, filter_like: CollectionFilter) -> CollectionFilter:
        """The collections that `filter_like` matches and that the caller may change."""
        return intersect_filters(self.frame.mutable, filter_like)

    # The body.

    def run(
        self,
        collections: Sequence[Collections],
        keys: Sequence[RNGSequences],
        mutable: CollectionFilter,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        call: Call | None = None,
        fresh_hash: bool = False,
        concrete: bool = False,
        whole: bool = False,
    ) -> tuple[Any, list[Collections]]:
        """Runs the method on clones of its modules.

        Args:
          collections: the variables of each root.
          keys: the root keys of each root.
          mutable: the collections that the body may change.
          args, kwargs: the arguments, by default those that the call was made with.
          call: the function to run; by default the one that the call was made with.
          fresh_hash: the paths of the modules are already folded into the keys.
          concrete: compute initial values outside the trace; see `Frame`.
          whole: return the mutable collections as they are after the run, changed or not, for
            bodies whose outputs must have the same structure. `store` then takes what any of these
            bodies has changed.

        Returns:
          (output, the changes in the mutable collections of each root).
        """
        body = self.enter(collections, keys, mutable, fresh_hash=fresh_hash, concrete=concrete)
        filled = [body.fill(arg) for arg in (self.args if args is None else args)]
        named = {k: body.fill(v) for k, v in (self.kwargs if kwargs is None else kwargs).items()}
        try:
            output = (call or self.call)(body.main, *filled, **named)
        finally:
            body.frame.end()
        _check_output(output, body.main)
        after, changed = body.leave()
        return output, after if whole else changed

    def enter(
        self,
        collections: Sequence[Collections],
        keys: Sequence[RNGSequences],
        mutable: CollectionFilter,
        *,
        fresh_hash: bool = False,
        concrete: bool = False,
        suffixes: Sequence[Names] | None = None,
    ) -> Body:
        """The lowered scopes and clones of a body, with explicit inputs.

        Args:
          collections, keys, mutable, fresh_hash, concrete: as for `run`.
          suffixes: the names that are folded into the keys of each root, if not its path.
        """
        frame = Frame(
            {},
            keys[0] if keys else {},
            mutable,
            initializing=self.frame.initializing,
            concrete=concrete,
            capture=self.frame.capture,
            lifted=True,
            flags=self.frame.flags,
        )
        if self._passage is not None and not concrete:
            self._passage.enter(frame)
        paths = [None] * len(self.roots) if suffixes is None else suffixes
        scopes = [
            root.lower(frame, _copy(tree), own_keys, fresh_hash=fresh_hash, suffix=suffix)
            for root, tree, own_keys, suffix in zip(
                self.roots, collections, keys, paths, strict=True
            )
        ]
        return Body(self, frame, scopes, collections)

    def directly(self, call: Callable[..., T]) -> T:
        """Runs another function on the modules themselves, for transforms composed of others."""
        return call(self.given, *self.arguments)

    def as_tree(self, collections: Sequence[Collections]) -> PyTree:
        """The collections of each root, arranged like the scopes that the call was made with."""
        if isinstance(self._main, _Slot):
            return self._at(self._main, collections)
        return jax.tree.map(lambda slot: self._at(slot, collections), self._main, is_leaf=_is_slot)

    def from_tree(self, tree: PyTree) -> list[Collections]:
        """Reverses `as_tree`; the other roots get no collections."""
        found: list[Collections] = [{} for _ in self.roots]
        if not self.modules and not isinstance(self._main, _Slot):
            slots = jax.tree.leaves(self._main, is_leaf=_is_slot)
            parts = jax.tree.map(lambda _, part: _Part(part), self._main, tree, is_leaf=_is_slot)
            for slot, part in zip(slots, jax.tree.leaves(parts), strict=True):
                scope = self.handles[slot.index]
                for i, root in enumerate(self.roots):
                    if root is scope:
                        found[i] = part.value
        else:
            found[:1] = [tree]
        return found

    def _at(self, slot: _Slot, collections: Sequence[Collections]) -> Collections:
        place: Any = (self.modules if slot.kind is Module else self.handles)[slot.index]
        scope = place if isinstance(place, Scope) else place.scope
        for root, of_root in zip(self.roots, collections, strict=True):
            if scope.path[: len(root.path)] == root.path:
                return {c: _below(t, scope.path[len(root.path) :]) for c, t in of_root.items()}
        return {}

    def counts(self) -> tuple[Any, Any]:
        """The counts of draws and automatic names so far, as a comparable value."""
        draws = tuple(_sorted_counts(root.draws.snapshot()) for root in self.roots)
        return draws, tuple(_cursors_of(m) for m in self.modules)

    def set_counts(self, counts: tuple[Any, Any]) -> None:
        """Sets the counts of draws and names to a value that `counts` returned."""
        draws, cursors = counts
        for root, found in zip(self.roots, draws, strict=True):
            root.draws.restore({path: dict(streams) for path, streams in found})
        for module, items in zip(self.modules, cursors, strict=True):
            module._state.cursors = dict(items)

    # Outputs.

    def store(self, changed: Sequence[Collections], *, whole: bool = False) -> None:
        """Writes the changes of the body back to the scopes, either all of them or none.

        Args:
          changed: the collections of each root, from `run`.
          whole: `changed` includes values that no run has changed; these are skipped.

        Raises:
          JaxTransformError: the scopes and the values belong to different traces.
        """
        if whole:
            changed = self.pick(changed)
        for root, collections in zip(self.roots, changed, strict=True):
            root.check_write(collections)
        for root, collections in zip(self.roots, changed, strict=True):
            root.store(collections)
        if self._passage is not None:
            self._passage.arrive(changed)

    def pick(self, collections: Sequence[Collections]) -> list[Collections]:
        """The part of each root's collections that any run so far has changed."""
        return [_pick(t, m) for t, m in zip(collections, self._changed, strict=True)]

    def plain(self, variables: CollectionFilter, rngs: CollectionFilter) -> PlainBody:
        """The body as a function of arrays, for transforms that treat all collections alike."""
        return PlainBody(self, variables, rngs)


class _Part:
    """A part of a tree that is a leaf of another tree."""

    def __init__(self, value: Collections) -> None:
        self.value = value


def _is_slot(x: object) -> bool:
    return isinstance(x, _Slot)


def _below(tree: PyTree, path: tuple[str, ...]) -> PyTree:
    for name in path:
        tree = tree.get(name, {})
    return tree


class Body:
    """One run of a lifted method: the lowered scopes, and clones of the modules on them.

    Attributes:
      frame: the frame of the run.
      main: the module or scope that the method runs on.
    """

    def __init__(
        self,
        lift: Lift,
        frame: Frame,
        scopes: Sequence[Scope],
        before: Sequence[Collections],
    ) -> None:
        self.frame = frame
        self._lift = lift
        self._scopes = scopes
        self._before = before
        clones = Clones(lift.roots, scopes, lift._cursors)
        self.givens = [clones.of(m) for m in lift.modules]
        for module in lift.modules:
            clones.reserve(module)
        self._handles = [clones.of(h) for h in lift.handles]
        self.main = self.fill(lift._main)

    def fill(self, tree: object) -> PyTree:
        """An argument with its modules, variables and scopes put back."""
        if adoption.is_plain(tree):
            return tree
        return jax.tree.map(self._put, tree, is_leaf=_is_slot)

    def _put(self, x: object) -> object:
        if not isinstance(x, _Slot):
            return x
        return (self.givens if x.kind is Module else self._handles)[x.index]

    def leave(self) -> tuple[list[Collections], list[Collections]]:
        """The mutable collections of each root after the run, and the changes in them."""
        lift = self._lift
        for original, clone in zip(lift.modules, self.givens, strict=True):
            if clone is not original:
                original._state.cursors = clone._state.cursors
        after = [
            {c: tree for c, tree in scope.collections.items() if tree and self.frame.is_mutable(c)}
            for scope in self._scopes
        ]
        changed = [_changes(b, a) for b, a in zip(self._before, after, strict=True)]
        lift._changed = merge(lift._changed, _names(changed))
        if lift._passage is not None:
            lift._passage.leave(self.frame, [scope.keys for scope in self._scopes], changed)
        return after, changed


def group(
    collections: Sequence[Collections], filters: Sequence[CollectionFilter]
) -> list[list[Collections]]:
    """Distributes the collections of each root among `filters`.

    Returns a list for each filter, with a dict for each root.
    """
    dealt = [group_collections(root, filters) for root in collections]
    return [[root[i] for root in dealt] for i in range(len(filters))]


def ungroup(groups: Sequence[Sequence[Collections]]) -> list[Collections]:
    """Reverses `group`."""
    return [
        {c: tree for part in parts for c, tree in part.items()}
        for parts in zip(*groups, strict=True)
    ]


class PlainBody:
    """A function (inputs, *args) -> (output, changed), where `inputs` is (collections, keys).

    Most transforms need just this: all lifted collections go in, and the changed ones come out.
    """

    def __init__(self, lift: Lift, variables: CollectionFilter, rngs: CollectionFilter) -> None:
        self._lift = lift
        self._mutable = lift.mutable(variables)
        self.inputs = (lift.collections(variables), lift.keys(rngs))

    def __call__(
        self,
        inputs: Inputs,
        *args: object,
        **options: Any,
    ) -> tuple[Any, list[Collections]]:
        collections, keys = inputs
        return self._lift.run(collections, keys, self._mutable, args, **options)


def _sorted_counts(snapshot: dict[tuple[str, ...], dict[str, int]]) -> object:
    return tuple(
        (path, tuple(sorted(streams.items())))
        for path, streams in sorted(snapshot.items())
        if streams
    )


def merge(old: Sequence[Collections], new: Sequence[Collections]) -> list[Collections]:
    """The collections of each root in `old`, updated with the values of `new`."""
    return [_put(a, b) for a, b in zip(old, new, strict=True)]


def _put(old: object, new: object) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {name: _put(old[name], v) if name in old else v for name, v in new.items()}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the nested dicts `after` that are not the same object in `before`."""
    changed: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            value = _changes(old, value)
            if value:
                changed[name] = value
        elif value is not old or name not in before:
            changed[name] = value
    return changed


def _names(collections: Any) -> Any:
    """The same dicts without their values, so that no traced value is kept."""
    if isinstance(collections, list):
        return [_names(tree) for tree in collections]
    if not isinstance(collections, dict):
        return None
    return {name: _names(tree) for name, tree in collections.items()}


def _pick(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the nested dicts `tree` that are in `changes`."""
    return {
        name: _pick(value, changes[name])
        if isinstance(value, dict) and isinstance(changes[name], dict)
        else value
        for name, value in tree.items()
        if name in changes
    }


def _copy(collections: Collections) -> Collections:
    return {name: _copy_dicts(tree) for name, tree in collections.items()}


def _copy_dicts(tree: T) -> T:
    if not isinstance(tree, dict) or type(tree) is not dict:
        return tree
    return {k: _copy_dicts(v) for k, v in tree.items()}  # type: ignore[return-value]


# The counts of automatic names belong to one run of a compact method. A body that is part of such a
# run continues them, and the rest of the method continues after it; any other body starts without
# counts and leaves none.


def _cursors_of(module: Module) -> tuple[tuple[str, int], ...]:
    return tuple(module._state.cursors.items()) if module._state.in_compact else ()


def _check_output(output: object, module: object) -> None:
    def bad(x: object) -> bool:
        return isinstance(x, Module | Variable | Scope)

    for leaf in jax.tree.leaves(output, is_leaf=bad):
        if bad(leaf):
            raise TransformedMethodReturnValueError(
                f"A transformed method of {type(module).__name__} returned a "
                f"{type(leaf).__name__}; expected arrays.",
                hint="Return arrays: what the module computes, or the variable's value.",
            )
