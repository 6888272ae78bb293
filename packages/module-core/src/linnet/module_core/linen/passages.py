"""Draws inside lifted transforms, and where their values come out.

While a model is made, the draw of a parameter is known by the value that represents it (see
`eager_init` and `draws`). A transform returns different values, which belong to the trace outside
and have an axis for its steps. A `Passage` follows the draws:

1. when the body is entered, its frame gets its own ledger, for the draws inside;
2. when it ends, the changed variables that are draws are noted, by path;
3. when the results of the transform are stored, the value at each of these paths is recorded
   outside, as the same draw from the key outside, in one more `Loop`.

The notes hold no value of the body, which ends with its trace.

A draw in loops (`drawn`) is compiled as it is inside the body: in an eager loop, to which
constants are arguments, or under an eager `vmap`. Its bits are therefore those that the transform
itself would return.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..arrays import strong
from ..boxes import changes_value
from ..typing import PyTree
from .frame import Collections, Frame


class Loop(NamedTuple):
    """The axis that a transform adds to a parameter.

    Attributes:
      length: the number of steps.
      axis: the parameter's axis of steps.
      splits: whether each step has its own key, split from the key outside.
      numbered: whether each step folds its own number into the key.
      mapped: whether the steps run under `vmap`, not in a compiled loop.
    """

    length: int
    axis: int
    splits: bool
    numbered: bool = False
    mapped: bool = False


Loops = tuple[Loop, ...]  # the outermost first


class Ledger(Protocol):
    """Draws of one trace."""

    def inner(self) -> Ledger:
        """A ledger for the body of a transform."""

    def find(self, value: object) -> tuple[object, PyTree] | None:
        """The root key of the draw that `value` is (None if it has none), and the rest of it."""

    def passed(self, value: object, root: object, rest: PyTree, loops: Loops) -> None:
        """Notes that `value` is the draw `rest` from the key `root`, in additional loops."""


class _Note(NamedTuple):
    """A changed variable that is a draw."""

    root: int | None  # the number of the root scope whose key it is drawn from
    rest: Any


class Passage:
    """Follows the draws inside one lifted transform.

    Args:
      frame: the frame outside.
      keys: the root keys of each root scope outside.
      loops_of: what the transform adds to the variables of a collection: an axis, or () for
        nothing; None if it is not known.
    """

    def __init__(
        self,
        frame: Frame,
        keys: Sequence[Mapping[str, Any]],
        loops_of: Callable[[str], Loops | None],
    ) -> None:
        self._frame = frame
        self._keys = keys
        self._loops_of = loops_of
        self._notes: list[Any] = []

    def enter(self, frame: Frame) -> None:
        """Gives the frame of a body its ledgers."""
        self._notes = []
        if self._frame.deferred is not None:
            frame.deferred = self._frame.deferred.inner()
        elif self._frame.recorder is not None and self._loops_of is unchanged:
            frame.recorder = self._frame.recorder.inner()

    def leave(
        self, frame: Frame, keys: Sequence[Mapping[str, Any]], changed: Sequence[Collections]
    ) -> None:
        """Notes the draws among the changed variables of a body.

        Args:
          frame: the body's frame.
          keys: the root keys of each root scope in the body.
          changed: the changes of the body in each of these scopes.
        """
        ledger: Ledger | None = frame.deferred or frame.recorder
        if ledger is not None:
            roots = {id(found["params"]): i for i, found in enumerate(keys) if "params" in found}
            self._notes = [_noted(tree, ledger, roots) for tree in changed]

    def arrive(self, changed: Sequence[Collections]) -> None:
        """Records the draws outside, where their values have been stored."""
        ledger: Ledger | None = self._frame.deferred or self._frame.recorder
        notes, self._notes = self._notes, []
        if ledger is None:
            return
        for noted, collections in zip(notes, changed, strict=False):
            for collection, tree in collections.items():
                loops = self._loops_of(collection)
                if loops is not None and collection in noted:
                    self._record(noted[collection], tree, loops, ledger)

    def _record(self, notes: Any, tree: Any, loops: Loops, ledger: Ledger) -> None:
        if isinstance(notes, dict):
            for name in notes.keys() & tree.keys():
                self._record(notes[name], tree[name], loops, ledger)
            return
        for note, leaf in zip(notes, jax.tree.leaves(tree), strict=False):
            if note is not None:
                root = None if note.root is None else self._keys[note.root].get("params")
                ledger.passed(leaf, root, note.rest, loops)


def unchanged(collection: str) -> Loops:
    """What a transform adds to the variables of each collection that it returns as they are."""
    return ()


def _noted(tree: Any, ledger: Ledger, roots: Mapping[int, int]) -> PyTree:
    """The draws in nested dicts: a list for each variable, with a note or None for each leaf."""
    if type(tree) is dict:
        return {name: _noted(item, ledger, roots) for name, item in tree.items()}
    notes: list[_Note | None] = []
    if changes_value(tree):
        return notes
    for leaf in jax.tree.leaves(tree):
        found = ledger.find(leaf)
        if found is None:
            notes.append(None)
            continue
        root, rest = found
        i = roots.get(id(root))
        notes.append(None if i is None and root is not None else _Note(i, rest))
    return notes


def drawn(
    draws: Callable[..., Any],
    root: Any,
    numbers: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    loops: Loops,
) -> jax.Array:
    """An array that is drawn in loops.

    Args:
      draws: the function that draws a step's array, `draws(key, *args, **kwargs)`; hashable.
      root: the key outside the loops.
      numbers: the numbers that are folded into the key, uint32 [length of each numbered loop].
      args, kwargs: hashable, like `draws`.
      loops: the loops.
    """
    if not loops:
        array: jax.Array = strong(draws(jax.random.fold_in(root, numbers), *args, **kwargs))
        return array
    loop, inner = loops[0], loops[1:]
    roots = jax.random.split(root, loop.length) if loop.splits else None
    if not loop.mapped:
        slices = roots, numbers if loop.numbered else None
        body = _body(draws, args, tuple(kwargs.items()), inner)
        _, stacked = jax.lax.scan(body, (root, numbers), slices, length=loop.length)
        return jnp.moveaxis(stacked, 0, loop.axis) if loop.axis else stacked
    if roots is None:
        return along(drawn(draws, root, numbers, args, kwargs, inner), loop)
    return jax.vmap(
        lambda own_root: drawn(draws, own_root, numbers, args, kwargs, inner), 0, loop.axis
    )(roots)


@functools.lru_cache(maxsize=512)
def _body(
    draws: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: tuple[tuple[str, Any], ...],
    inner: Loops,
) -> Callable[..., Any]:
    """The body of a loop: the same function for equal draws, which jax compiles once."""

    def body(shared: tuple[Any, Any], of_step: tuple[Any, Any]) -> tuple[object, jax.Array]:
        root, numbers = (
            all_have if own is None else own for all_have, own in zip(shared, of_step, strict=True)
        )
        return shared, drawn(draws, root, numbers, args, dict(kwargs), inner)

    return body


def along(value: jax.Array, loop: Loop) -> jax.Array:
    """An array that is the same in each step of a loop."""
    axis = loop.axis if loop.axis >= 0 else loop.axis + value.ndim + 1
    shape = (*value.shape[:axis], loop.length, *value.shape[axis:])
    others = [i for i in range(len(shape)) if i != axis]
    return jax.lax.broadcast_in_dim(value, shape, others)  # a single operation to compile
