"""`State`: the leaves of a structure, by path.

A state is a nested mapping from names to variables (or raw arrays, or whatever was put in), read as
`state["encoder"]["kernel"]` or `state.encoder.kernel`. A state holds the module's variables
themselves, not copies. It is a jax pytree.

`FlatState` is a state as a sorted sequence of (path, leaf) pairs. All functions go through it: they
flatten, select, and nest again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, overload

import jax
import numpy as np

from ...arrays import check_is_here
from ...errors import ArgumentError
from ...notebook import as_html
from ..filters import Filter, PathIn, filters_to_predicates, first_passing
from ..nodes.representation import Entries, represent, treescope_of
from ..variable.layout import in_place_of
from ..variable.variable import Variable

Path = tuple[Any, ...]
V = TypeVar("V")
S = TypeVar("S", bound="State")

FlatPairs: TypeAlias = "FlatState[Any] | Mapping[Path, Any] | Iterable[tuple[Path, Any]]"
"""A state given as paths and leaves."""


class State(MutableMapping[Any, Any]):
    """A nested mapping of leaves; inner mappings read as states, too.

    Args:
      mapping: nested mappings, or (key, mapping) pairs. Mappings are copied, leaves are not.

    >>> state = State({"a": {"b": 1}, "c": 2})
    >>> state["a"]["b"], state.c
    (1, 2)
    >>> to_flat_state(state).paths
    (('a', 'b'), ('c',))
    """

    __slots__ = ("_mapping",)

    _mapping: dict[Any, Any]
    _serialization_hint = (  # of linnet.struct.serialization
        "Serialize the values alone, to_bytes(nnx.to_pure_dict(state)), and restore them with "
        "nnx.replace_by_pure_dict(state, msgpack_restore(encoded))."
    )

    def __init__(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (),
        /,
        *,
        _copy: bool = True,
    ) -> None:
        if isinstance(mapping, State):
            mapping = mapping._mapping
        if _copy or type(mapping) is not dict:
            mapping = _copied(mapping if isinstance(mapping, Mapping) else dict(mapping))
        object.__setattr__(self, "_mapping", mapping)

    @property
    def raw_mapping(self) -> dict[Any, Any]:
        """The nested dict itself."""
        return self._mapping

    def __getitem__(self, key: object) -> Any:
        try:
            value = self._mapping[key]
        except KeyError:
            known = ", ".join(map(repr, self._mapping))
            raise KeyError(
                f"{key!r} is not in this State, which has {known or 'nothing'}"
            ) from None
        return State(value, _copy=False) if type(value) is dict else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._mapping:
            known = ", ".join(map(str, self._mapping))
            raise AttributeError(f"This State has no {name!r}; it has {known or 'nothing'}.")
        return self[name]

    def __setitem__(self, key: object, value: object) -> None:
        if isinstance(value, State):
            value = value._mapping
        elif isinstance(value, Mapping):
            value = _copied(value)
        self._mapping[key] = value

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __delitem__(self, key: object) -> None:
        del self._mapping[key]

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __eq__(self, other: object) -> bool:
        """Whether another state or mapping has equal leaves at the same paths."""
        return isinstance(other, Mapping) and _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: State) -> State:
        merged: State = merge_state(self, other)
        return merged

    def __sub__(self, other: State) -> State:
        return diff(self, other)

    def __copy__(self) -> State:
        return State(self._mapping)

    def __deepcopy__(self, memo: dict[int, Any]) -> State:
        import copy

        return State(copy.deepcopy(self._mapping, memo), _copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        for path, leaf in to_flat_state(self):
            for x in jax.tree.leaves(leaf):
                check_is_here(x, f"{path_text(path)!r}", "pickled")
        return State, (self._mapping,)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # Only a pickle that Flax wrote has a state; ours calls `State`.
        object.__setattr__(self, "_mapping", _copied(state["_mapping"]))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(k for k in self._mapping if isinstance(k, str))]

    def flat_state(self) -> FlatState[Any]:
        """See `to_flat_state`."""
        return to_flat_state(self)

    @classmethod
    def from_flat_path(cls, flat_state: FlatPairs, /) -> State:
        """See `from_flat_state`."""
        made: State = from_flat_state(flat_state)
        return made

    def map(self, f: Callable[[Path, Any], Any]) -> State:
        """See `map_state`."""
        return map_state(f, self)

    @overload
    def filter(self, first: Filter, /) -> State: ...
    @overload
    def filter(self, first: Filter, second: Filter, /, *filters: Filter) -> tuple[State, ...]: ...
    def filter(self, first: Filter, /, *filters: Filter) -> State | tuple[State, ...]:
        """See `filter_state`."""
        return filter_state(self, first, *filters)

    @overload
    def split(self, first: Filter, /) -> State: ...
    @overload
    def split(self, first: Filter, second: Filter, /, *filters: Filter) -> tuple[State, ...]: ...
    def split(self, first: Filter, /, *filters: Filter) -> State | tuple[State, ...]:
        """See `split_state`."""
        return split_state(self, first, *filters)

    @classmethod
    def merge(cls, state: Mapping[Any, Any], /, *states: Mapping[Any, Any]) -> State:
        """See `merge_state`."""
        merged: State = merge_state(state, *states)
        return merged

    def to_pure_dict(self, extract_fn: Callable[[Any], Any] | None = None) -> dict[Any, Any]:
        """See `to_pure_dict`."""
        return to_pure_dict(self, extract_fn)

    def replace_by_pure_dict(
        self, pure_dict: dict[Any, Any], replace_fn: Callable[[Any, Any], Any] | None = None
    ) -> None:
        """See `replace_by_pure_dict`."""
        replace_by_pure_dict(self, pure_dict, replace_fn)

    def _nnx_entries(self) -> Entries:
        return Entries("State({", "})", list(self._mapping.items()), ": ")

    def __repr__(self) -> str:
        return represent(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __treescope_repr__(self, path: object, subtree_renderer: object) -> object:
        return treescope_of(self, self._mapping, path, subtree_renderer)


def _equal(x: Any, y: Any) -> bool:
    if x is y:
        return True
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        return x.keys() == y.keys() and all(_equal(x[k], y[k]) for k in x)
    if isinstance(x, Variable) or isinstance(y, Variable):
        return type(x) is type(y) and _equal(x.raw_value, y.raw_value)
    if isinstance(x, (jax.Array, np.ndarray)) or isinstance(y, (jax.Array, np.ndarray)):
        return np.shape(x) == np.shape(y) and bool((x == y).all())
    return bool(x == y)


def _copied(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    return {
        k: _copied(v._mapping if isinstance(v, State) else v) if isinstance(v, Mapping) else v
        for k, v in mapping.items()
    }


class FlatState(Sequence[tuple[Path, V]], Generic[V]):
    """Pairs of path and leaf, sorted by path.

    Args:
      items: the pairs.
      sort: whether to sort them; False if they are already sorted.
    """

    __slots__ = ("_paths", "_values")

    def __init__(self, items: Iterable[tuple[Path, V]], /, *, sort: bool) -> None:
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        if sort:
            pairs.sort(key=lambda pair: path_order(pair[0]))
        self._paths = tuple(p for p, _ in pairs)
        self._values = [v for _, v in pairs]

    def __reduce__(self) -> tuple[Any, ...]:
        return FlatState.from_sorted_keys_values, (self._paths, self._values)

    def __setstate__(self, state: tuple[object, Mapping[str, Any]]) -> None:
        # Only a pickle that Flax wrote has a state.
        self._paths, self._values = state[1]["_keys"], state[1]["_values"]

    @staticmethod
    def from_sorted_keys_values(keys: tuple[Path, ...], values: list[Any], /) -> FlatState[Any]:
        """A flat state of sorted paths and their leaves."""
        new: FlatState[Any] = FlatState((), sort=False)
        new._paths, new._values = tuple(keys), list(values)
        return new

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths."""
        return self._paths

    @property
    def leaves(self) -> list[V]:
        """The leaves."""
        return self._values

    @overload
    def __getitem__(self, index: int) -> tuple[Path, V]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Path, V]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Path, V] | list[tuple[Path, V]]:
        if isinstance(index, slice):
            return list(zip(self._paths[index], self._values[index], strict=True))
        return self._paths[index], self._values[index]

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[tuple[Path, V]]:
        return iter(zip(self._paths, self._values, strict=True))

    def to_nested_state(self) -> State:
        """The nested state of these pairs."""
        made: State = from_flat_state(self)
        return made

    @overload
    def filter(self, first: Filter, /) -> FlatState[V]: ...
    @overload
    def filter(
        self, first: Filter, second: Filter, /, *filters: Filter
    ) -> tuple[FlatState[V], ...]: ...
    def filter(self, first: Filter, /, *filters: Filter) -> FlatState[V] | tuple[FlatState[V], ...]:
        """The parts that filters select; drops the rest."""
        *parts, _ = _divide(self, (first, *filters))
        return parts[0] if not filters else tuple(parts)

    @overload
    def split(self, first: Filter, /) -> FlatState[V]: ...
    @overload
    def split(
        self, first: Filter, second: Filter, /, *filters: Filter
    ) -> tuple[FlatState[V], ...]: ...
    def split(self, first: Filter, /, *filters: Filter) -> FlatState[V] | tuple[FlatState[V], ...]:
        """The parts that filters select.

        Raises:
          ArgumentError: a leaf passes no filter.
        """
        *parts, rest = _divide(self, (first, *filters))
        _refuse_remainder(rest)
        return parts[0] if not filters else tuple(parts)

    @staticmethod
    def merge(
        flat_state: Iterable[tuple[Path, Any]], /, *flat_states: Iterable[tuple[Path, Any]]
    ) -> FlatState[Any]:
        """The pairs of all flat states; if paths are equal, the last one wins."""
        merged: dict[Path, Any] = {}
        for part in (flat_state, *flat_states):
            merged.update(part)
        return FlatState(merged.items(), sort=True)

    def _nnx_entries(self) -> Entries:
        return Entries("FlatState([", "])", list(self), ": ")

    def __repr__(self) -> str:
        return represent(self)


def path_text(path: Path) -> str:
    """A path as text for error messages."""
    return "/".join(map(str, path)) or "the root"


def path_order(path: Path) -> tuple[tuple[int, Any], ...]:
    """The sort key of a path: numbers before names at each level."""
    return tuple((0, k) if isinstance(k, int) else (1, str(k)) for k in path)


def _sorted(keys: Iterable[Any]) -> list[Any]:
    """Keys of one level, in the order of paths."""
    keys = list(keys)
    if len(keys) > 1:
        types = set(map(type, keys))
        # Names alone, or numbers alone, are in Python's order.
        keys.sort(key=None if types in (_NAMES, _NUMBERS) else lambda k: path_order((k,)))
    return keys


_NAMES, _NUMBERS = {str}, {int}


def _flatten_state(state: State) -> tuple[list[Any], tuple[Any, ...]]:
    keys = _sorted(state._mapping)
    return [_child(state._mapping[k]) for k in keys], tuple(keys)


def _flatten_state_with_keys(state: State) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    children, keys = _flatten_state(state)
    named = [(jax.tree_util.DictKey(k), c) for k, c in zip(keys, children, strict=True)]
    return named, keys


def _child(value: object) -> object:
    return State(value, _copy=False) if type(value) is dict else value


def _unflatten_state(keys: tuple[Any, ...], children: Iterable[Any]) -> State:
    return State(
        {k: c._mapping if isinstance(c, State) else c for k, c in zip(keys, children, strict=True)},
        _copy=False,
    )


jax.tree_util.register_pytree_with_keys(
    State, _flatten_state_with_keys, _unflatten_state, _flatten_state
)
jax.tree_util.register_pytree_node(
    FlatState,
    lambda flat: (flat._values, flat._paths),
    lambda paths, values: FlatState.from_sorted_keys_values(paths, list(values)),
)


def leaves_by_path(state: Mapping[Any, Any]) -> list[tuple[Path, Any]]:
    """Pairs of path and leaf, in arbitrary order."""
    pairs: list[tuple[Path, Any]] = []
    _collect(state._mapping if isinstance(state, State) else state, (), pairs)
    return pairs


def _collect(mapping: Mapping[Any, Any], path: Path, pairs: list[tuple[Path, Any]]) -> None:
    for key, value in mapping.items():
        if type(value) is dict:
            _collect(value, (*path, key), pairs)
        elif isinstance(value, Variable):  # first, as isinstance is slow for `State` (an ABC)
            pairs.append(((*path, key), value))
        elif isinstance(value, (dict, State)):
            inner = value._mapping if isinstance(value, State) else value
            _collect(inner, (*path, key), pairs)
        else:
            pairs.append(((*path, key), value))


def to_flat_state(state: Mapping[Any, Any]) -> FlatState[Any]:
    """Pairs of path and leaf, sorted by path."""
    return FlatState(leaves_by_path(state), sort=True)


@overload
def from_flat_state(flat_state: FlatPairs) -> State: ...
@overload
def from_flat_state(flat_state: FlatPairs, *, cls: Callable[..., S]) -> S: ...
def from_flat_state(flat_state: FlatPairs, *, cls: Callable[..., Any] = State) -> object:
    """The nested state of (path, leaf) pairs, or of a mapping from paths to leaves.

    Raises:
      ArgumentError: a path goes through a leaf.
    """
    nested: dict[Any, Any] = {}
    for path, value in flat_state.items() if isinstance(flat_state, Mapping) else flat_state:
        level = nested
        for key in path[:-1]:
            level = level.setdefault(key, {})
            if type(level) is not dict:
                raise ArgumentError(f"The path {path} goes through a leaf at {key!r}.")
        level[path[-1]] = value
    return State(nested, _copy=False) if cls is State else cls(nested)


def _divide(flat: FlatState[Any], filters: Sequence[Filter]) -> list[FlatState[Any]]:
    predicates = filters_to_predicates(filters)
    parts: list[tuple[list[Path], list[Any]]] = [([], []) for _ in range(len(filters) + 1)]
    for path, value in flat:
        i = first_passing(predicates, path, value)
        parts[i][0].append(path)
        parts[i][1].append(value)
    return [FlatState.from_sorted_keys_values(tuple(p), v) for p, v in parts]


def _refuse_remainder(rest: FlatState[Any]) -> None:
    if len(rest):
        what = ", ".join(f"{path_text(p)} ({type(v).__name__})" for p, v in list(rest)[:6])
        more = f" and {len(rest) - 6} more" if len(rest) > 6 else ""
        raise ArgumentError(
            f"Non-exhaustive filters: no filter takes {what}{more}.",
            hint="Add a filter for these, or `...` as the last one for everything else.",
        )


@overload
def filter_state(state: Mapping[Any, Any], first: Filter, /) -> State: ...
@overload
def filter_state(
    state: Mapping[Any, Any], first: Filter, second: Filter, /, *filters: Filter
) -> tuple[State, ...]: ...
def filter_state(
    state: Mapping[Any, Any], first: Filter, /, *filters: Filter
) -> State | tuple[State, ...]:
    """The parts of a state that filters select, one state per filter; drops the rest."""
    *parts, _ = _divide(to_flat_state(state), (first, *filters))
    found = tuple(map(from_flat_state, parts))
    return found if filters else found[0]


@overload
def split_state(state: Mapping[Any, Any], first: Filter, /) -> State: ...
@overload
def split_state(
    state: Mapping[Any, Any], first: Filter, second: Filter, /, *filters: Filter
) -> tuple[State, ...]: ...
def split_state(
    state: Mapping[Any, Any], first: Filter, /, *filters: Filter
) -> State | tuple[State, ...]:
    """The parts of a state that filters select, one state per filter.

    Raises:
      ArgumentError: a leaf passes no filter.
    """
    *parts, rest = _divide(to_flat_state(state), (first, *filters))
    _refuse_remainder(rest)
    found = tuple(map(from_flat_state, parts))
    return found if filters else found[0]


@overload
def merge_state(state: Mapping[Any, Any], /, *states: Mapping[Any, Any]) -> State: ...
@overload
def merge_state(
    state: Mapping[Any, Any], /, *states: Mapping[Any, Any], cls: Callable[..., S]
) -> S: ...
def merge_state(
    state: Mapping[Any, Any], /, *states: Mapping[Any, Any], cls: Any = State
) -> object:
    """The leaves of several states; where paths are equal or one extends another, the last wins."""
    if not states:
        return state if isinstance(state, cls) else cls(state)
    merged: dict[Path, Any] = {}
    for one in (state, *states):
        part = dict(to_flat_state(one))
        above = {path[:n] for path in part for n in range(1, len(path))}
        merged = {
            path: value
            for path, value in merged.items()
            if path not in above and not any(path[:n] in part for n in range(1, len(path)))
        }
        merged.update(part)
    return from_flat_state(FlatState(merged.items(), sort=True), cls=cls)


def map_state(f: Callable[[Path, Any], Any], state: Mapping[Any, Any]) -> State:
    """A state with `f(path, leaf)` in place of each leaf."""
    made: State = from_flat_state((p, f(p, v)) for p, v in to_flat_state(state))
    return made


def diff(state: Mapping[Any, Any], other: Mapping[Any, Any]) -> State:
    """The leaves of a state whose paths have no leaf in the other state."""
    there = set(to_flat_state(other).paths)
    made: State = from_flat_state((p, v) for p, v in to_flat_state(state) if p not in there)
    return made


def to_pure_dict(
    state: Mapping[Any, Any], extract_fn: Callable[[Any], Any] | None = None
) -> dict[Any, Any]:
    """A state as nested dicts of bare values, ready for a checkpoint.

    Args:
      state: the state.
      extract_fn: maps a leaf to what to store; by default, a variable to its value.
    """
    extract = extract_fn or (lambda x: x.get_value() if isinstance(x, Variable) else x)
    nested: State = from_flat_state((p, extract(v)) for p, v in to_flat_state(state))
    return nested.raw_mapping


def restore_int_paths(pure_dict: dict[Any, Any]) -> dict[Any, Any]:
    """Nested dicts with keys that look like integers converted to integers, as in paths of lists.

    >>> restore_int_paths({"layers": {"0": {"kernel": 1}}})
    {'layers': {0: {'kernel': 1}}}
    """

    def key(k: object) -> object:
        return int(k) if isinstance(k, str) and k.isdigit() else k

    return {
        key(k): restore_int_paths(v) if isinstance(v, dict) else v for k, v in pure_dict.items()
    }


def replace_by_pure_dict(
    state: State,
    pure_dict: dict[Any, Any],
    replace_fn: Callable[[Any, Any], Any] | None = None,
) -> None:
    """Puts bare values into a state, in place.

    Args:
      state: the state to change.
      pure_dict: nested dicts of values; string keys of digits match integer keys.
      replace_fn: maps `(leaf, value)` to the new leaf; by default, a variable is replaced by a copy
        with the value, laid out over devices like the old one, as `nnx.update` does.

    Raises:
      ArgumentError: the state lacks some of the paths; nothing changes then.
    """

    def replaced(leaf: object, value: object) -> object:
        if isinstance(leaf, Variable):
            return leaf.copy(in_place_of(leaf.raw_value, value))
        return in_place_of(leaf, value)

    present = dict(to_flat_state(state))
    given = dict(to_flat_state(pure_dict))
    if not set(given) <= set(present):
        given = dict(to_flat_state(restore_int_paths(pure_dict)))
    unknown = [p for p in given if p not in present]
    if unknown:
        raise ArgumentError(f"The state has no {', '.join(map(path_text, unknown[:6]))}.")
    for path, value in given.items():
        level = state.raw_mapping
        for key in path[:-1]:
            level = level[key]
        level[path[-1]] = (replace_fn or replaced)(present[path], value)


def create_path_filters(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """A filter for each distinct leaf of a state, made of the leaf's paths."""
    by_value: dict[Any, list[Path]] = {}
    for path, value in to_flat_state(state):
        by_value.setdefault(value, []).append(path)
    return {PathIn(*paths): value for value, paths in by_value.items()}
