"""Changes an object in place: `update` sets leaves, `pop` removes leaves.

Both plan all changes, and raise their errors, before they change anything: an object changes
completely or not at all.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any, overload

import jax

from ...errors import ArgumentError, describe, did_you_mean
from ..filters import Filter, filters_to_predicates, first_passing
from ..nodes import edits
from ..nodes.contents import one_level
from ..nodes.kinds import ARRAY, DICT, LIST, OBJECT, STATIC, TREE, VARIABLE, kind_of
from ..nodes.pytree import Pytree, marks_of
from ..variable.layout import in_place_of
from ..variable.variable import Variable, store, take_over
from .iteration import items_of
from .states import FlatState, Path, State, from_flat_state, path_text


def update(node: object, state: object, /, *states: object) -> None:
    """Updates the leaves of an object from states, in place.

    Existing variables keep their identity and take the value and metadata of the state's variables;
    a bare value only sets the value. Leaves at new paths are added, variables as copies, since the
    state's variables belong to another object.

    An array that is spread over devices keeps its layout: a NumPy array, or one that jax has
    put on its default device, is cut into the same parts. An array that was placed somewhere
    (`jax.device_put` with a device or sharding) stays there.

    Args:
      node: the object, or a variable.
      state: a state or nested mappings; for a variable, a variable or a value.
      *states: more states; if paths are equal, the last one wins. For a variable, empty states are
        ignored: they come from filters that the variable didn't pass.

    Raises:
      ArgumentError: the state has a leaf where the object has an object, or the reverse, or a dict
        of bare arrays where a module has no attribute; nothing changes then.

    Warns:
      UserWarning: a value's shape differs from the previous one's: does it belong to a different
        layer?
    """
    plan = _Plan()
    for one in (state, *states):
        if isinstance(one, FlatState):
            one = from_flat_state(one)
        if isinstance(node, Variable):
            if isinstance(one, State):
                if one:
                    raise ArgumentError(
                        f"Expected a value for the {type(node).__name__}, but got a State of"
                        f" {', '.join([repr(name) for name in one])}.",
                        hint=(
                            "The state of a variable is the variable itself: update it with "
                            "another one."
                        ),
                    )
            else:
                plan.leaf(node, one, ())
        elif isinstance(one, Mapping):
            plan.inner(node, one._mapping if isinstance(one, State) else one, ())
        else:
            raise ArgumentError(f"update takes states, got {type(one).__name__}.")
    plan.carry_out()


class _Plan:
    """The steps of an update; all are planned and checked before any is taken."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._other_shapes: list[str] = []
        self._now = edits.stamp()

    def carry_out(self) -> None:
        if self._other_shapes:
            more = len(self._other_shapes) - 6
            warnings.warn(
                "nnx.update changes the shapes of variables: "
                f"{', '.join(self._other_shapes[:6])}{f' and {more} more' if more > 0 else ''}. "
                "Is this the state of a model of a different size?",
                stacklevel=3,
            )
        for step, arguments in self._steps:
            step(*arguments)

    def leaf(self, variable: Variable[Any], new: object, path: Path) -> None:
        is_variable = isinstance(new, Variable)
        value = new.raw_value if isinstance(new, Variable) else new
        old_shape = getattr(variable.raw_value, "shape", None)
        new_shape = getattr(value, "shape", None)
        if old_shape != new_shape and not _fits(old_shape, new_shape):
            self._other_shapes.append(f"{path_text(path)} {old_shape}, now {new_shape}")
        if variable._nnx_stamp is not self._now:
            edits.check_trace(variable._nnx_stamp, variable._nnx_description)
        if new is not variable:
            self._steps.append((take_over if is_variable else store, (variable, new)))

    def inner(self, node: object, new: Mapping[Any, Any], path: Path) -> None:
        for key, value in new.items():
            present = _child(node, key)
            if isinstance(present, Variable) and (
                isinstance(value, Variable) or not isinstance(value, Mapping)
            ):
                self.leaf(present, value, (*path, key))
            else:
                self._child(node, key, present, value, (*path, key))

    def _child(self, node: object, key: object, present: object, value: object, path: Path) -> None:
        if present is _ABSENT:
            _require_place(node, key, value, path)
            self._set(node, key, _own(value))
            return
        if isinstance(present, Variable):
            raise ArgumentError(f"Expected a leaf for {path_text(path)}, but got several.")
        kind = kind_of(present)
        if isinstance(value, Mapping):
            if kind in (STATIC, ARRAY):
                self._set(node, key, _own(value))
            elif kind == TREE:
                self._tree(node, key, present, value, path)
            else:
                self.inner(present, value, path)
        elif kind in (OBJECT, LIST, DICT):
            raise ArgumentError(
                f"Expected a subgraph for {path_text(path)!r}, but got: {value!r}",
                hint="The object has another object there; pass a nested state.",
            )
        else:
            self._set(node, key, in_place_of(present, _own(value)))

    def _tree(
        self, node: object, key: object, present: object, new: Mapping[Any, Any], path: Path
    ) -> None:
        children, structure, keys = one_level(present)
        holder = dict(zip(keys, children, strict=True))
        self.inner(holder, new, path)

        def replace() -> None:
            tree = jax.tree_util.tree_unflatten(structure, [holder[k] for k in keys])
            _set_child(node, key, tree)

        self._steps.append((replace, ()))

    def _set(self, node: object, key: object, value: object) -> None:
        self._steps.append((_set_child, (node, key, value)))


def _require_place(node: object, key: object, value: object, path: Path) -> None:
    # A module's own state has variables. Bare arrays come from a file, or from linen.
    if not isinstance(value, Mapping) or not isinstance(node, Pytree):
        return
    leaves = jax.tree.leaves(value, is_leaf=lambda x: isinstance(x, Variable))
    if any(isinstance(x, Variable) for x in leaves) or not any(hasattr(x, "shape") for x in leaves):
        return
    if hasattr(type(node), "__setitem__"):  # nnx.Dict
        return
    known = [name for name in vars(node) if kind_of(vars(node)[name]) != STATIC]
    raise ArgumentError(
        f"The state has values for {path_text(path)}, but {type(node).__name__} has no {key!r}.",
        hint=(
            "Linen's variables begin with collections: pass variables['params']."
            if key == "params"
            else f"{did_you_mean(str(key), known)} To add it, assign it to the object."
        ),
    )


def _fits(old: tuple[int, ...] | None, new: tuple[int, ...] | None) -> bool:
    """Whether shapes are equal up to leading axes, such as those of copies; None matches any."""
    if old is None or new is None:
        return True
    n = min(len(old), len(new))
    return old[len(old) - n :] == new[len(new) - n :]


def _own(value: object) -> object:
    """A value as it is added to an object: mappings become dicts, variables are copied."""
    if isinstance(value, Variable):
        return value.copy()
    if isinstance(value, Mapping):
        return {k: _own(v) for k, v in value.items()}
    return value


_ABSENT = object()


def _child(node: Any, key: object) -> object:
    if isinstance(node, Pytree):
        return node.__dict__.get(_attribute(key), _ABSENT)
    try:
        return node[key]
    except (KeyError, IndexError):
        return _ABSENT


def _attribute(key: object) -> str:
    """The attribute name for a key of a path."""
    return str(key)


def _set_child(node: Any, key: object, value: object) -> None:
    if isinstance(node, MutableSequence) and isinstance(key, int):
        if key == len(node):
            node.append(value)
        else:
            node[key] = value
    elif isinstance(node, Pytree):
        setattr(node, _attribute(key), value)
    else:
        node[key] = value


@overload
def pop(node: object, filter: Filter, /) -> State: ...
@overload
def pop(node: object, filter: Filter, second: Filter, /, *filters: Filter) -> tuple[State, ...]: ...
def pop(node: object, *filters: Filter) -> State | tuple[State, ...]:
    """Removes the variables and arrays that pass filters from an object, and returns them.

    In lists and tuples, None replaces removed leaves, so that the others keep their places and
    `nnx.update` with the returned states puts the leaves back.

    Args:
      node: the object.
      *filters: one state is returned for each, with the leaves that pass it but no earlier one.

    Raises:
      ArgumentError: no filter is given, or the object is itself a variable or an array.
    """
    if not filters:
        raise ArgumentError("Expected at least one filter.")
    if kind_of(node) in (VARIABLE, ARRAY, STATIC):
        raise ArgumentError(
            f"pop takes an object that holds variables, got {describe(node)}.",
            hint="Pop from the module or the container that holds it.",
        )
    removal = _Removal(filters)
    if removal.left_of(node, ()) is not node:
        raise ArgumentError(
            f"pop removes variables in place, but a {type(node).__name__} can't be changed.",
            hint="Pop from a list, a dict or a module that holds it.",
        )
    for step in removal.steps:
        step()
    states = tuple([from_flat_state(part) for part in removal.found])
    return states if len(states) > 1 else states[0]


_POPPED = object()


class _Removal:
    """The leaves that a `pop` removes, and the steps that remove them.

    Attributes:
      found: the paths and values for each filter.
      steps: the steps, taken once all leaves are found.
    """

    def __init__(self, filters: Sequence[Filter]) -> None:
        self.found: list[list[tuple[Path, Any]]] = [[] for _ in filters]
        self.steps: list[Callable[[], Any]] = []
        self._predicates = filters_to_predicates(filters)
        self._seen: dict[int, Any] = {}  # with the objects, so that ids aren't reused

    def left_of(self, value: object, path: Path) -> object:
        """The rest of a value: itself, `_POPPED`, or a tree without the removed parts."""
        kind = kind_of(value)
        if kind in (VARIABLE, ARRAY):
            return self._left_of_leaf(value, kind, path)
        if kind == TREE:
            left = [(x, self.left_of(x, (*path, name))) for name, _, x in items_of(value)]
            if all(x is y for x, y in left):
                return value
            children = [None if y is _POPPED else y for _, y in left]
            return jax.tree_util.tree_unflatten(one_level(value)[1], children)
        if kind != STATIC and id(value) not in self._seen:
            self._seen[id(value)] = value
            for name, key, child in items_of(value):
                if _is_static(value, key):
                    continue
                new = self.left_of(child, (*path, name))
                if new is _POPPED:
                    self.steps.append(functools.partial(_remove, value, name, key))
                elif new is not child:
                    self.steps.append(functools.partial(_set_child, value, name, new))
        return value

    def _left_of_leaf(self, value: object, kind: int, path: Path) -> object:
        i = first_passing(self._predicates, path, value)
        if i == len(self._predicates):
            return value
        if kind == ARRAY or id(value) not in self._seen:
            self.found[i].append((path, value))
            self._seen[id(value)] = value
        return _POPPED


def _is_static(owner: object, key: str) -> bool:
    return isinstance(owner, Pytree) and marks_of(owner).get(key) is False


def _remove(owner: Any, name: object, key: Any) -> None:
    if isinstance(owner, MutableSequence) and isinstance(name, int):
        owner[name] = None  # so that the others keep their places
    elif isinstance(owner, Pytree):
        delattr(owner, key)
    else:
        del owner[key]
