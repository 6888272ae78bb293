"""`split_rngs` and `fork_rngs`: temporarily replace the keys in a module's streams.

Before a function is mapped over copies of a module, each stream needs one key for each copy;
afterwards the stream continues where it was, one draw later. The streams are therefore changed in
place, and `StreamBackups` keeps their old state and restores it: by a call, at the end of a `with`
block, or when the decorated function returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, overload

import jax
import jax.numpy as jnp

from ...errors import ArgumentError, describe
from ..filters import Filter, Predicate, to_predicate
from ..nodes.pytree import Pytree
from ..structure.iteration import iter_graph, recursive_map
from ..structure.states import Path
from .rngs import RngStream

Array = jax.Array
Shape = int | tuple[int, ...]
N = TypeVar("N")
F = TypeVar("F", bound=Callable[..., Any])
_MISSING: Any = object()


class StreamBackups:
    """The saved state of streams: iterates over `(stream, key, count)`; a context restores them.

    Args:
      backups: each stream with its key, and its count if that is restored too.
    """

    def __init__(self, backups: Iterable[tuple[Any, ...]]) -> None:
        self._backups = list(backups)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._backups)

    def __len__(self) -> int:
        return len(self._backups)

    def __enter__(self) -> StreamBackups:
        return self

    def __exit__(self, *_: object) -> None:
        restore_rngs(self)

    def __repr__(self) -> str:
        return f"StreamBackups({[stream.tag for stream, *_ in self._backups]})"


def backup_keys(node: object, /, *, graph: bool | None = None) -> list[tuple[RngStream, Array]]:
    """The streams in an object with their keys, for `restore_rngs`; counts are not restored."""
    return [(stream, stream.key.get_value()) for _, stream in iter_streams(node, graph=graph)]


def restore_rngs(backups: Iterable[tuple[Any, ...]], /) -> None:
    """Restores the keys of streams, and their counts if those were saved.

    Args:
      backups: the result of `split_rngs`, `fork_rngs` or `backup_keys`.
    """
    for stream, key, *count in backups:
        stream.key.set_value(key)
        if count:
            stream.count.set_value(count[0])


def iter_streams(node: object, *, graph: bool | None = None) -> Iterator[tuple[Path, RngStream]]:
    """All streams in an object with their paths, each once."""
    for path, value in iter_graph(node, graph=graph):
        if isinstance(value, RngStream):
            yield path, value


@overload
def split_rngs(
    node: Pytree,
    /,
    *,
    splits: Shape,
    only: Filter = ...,
    squeeze: bool = False,
    graph: Literal[True] | None = None,
    graph_updates: Literal[True] | None = None,
) -> StreamBackups: ...
@overload
def split_rngs(
    node: N,
    /,
    *,
    splits: Shape,
    only: Filter = ...,
    squeeze: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> N: ...
@overload
def split_rngs(
    *,
    splits: Shape,
    only: Filter = ...,
    squeeze: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[F], F]: ...
def split_rngs(
    node: object = _MISSING,
    /,
    *,
    splits: Shape,
    only: Filter = ...,
    squeeze: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> object:
    """Splits the next key of each stream into several, until the streams are restored.

    Args:
      node: an object with streams. If omitted, or a function, the result is a decorator, which
        splits all streams in the arguments of each call.
      splits: number of keys, or shape of the array of keys.
      only: which streams to split, by tag, path or variable; all by default.
      squeeze: drops the new axis again; for `splits=1`.
      graph: if False, draws only one key from each stream, and returns a copy of `node` whose
        streams are split.
      graph_updates: False does the same.

    Returns:
      Backups that restore the streams, also usable as a context manager; or the decorated function.

    >>> from linnet.module_core import nnx
    >>> rngs = nnx.Rngs(params=0, dropout=1)
    >>> with nnx.split_rngs(rngs, splits=5, only="params"):
    ...     rngs.params.key.shape, rngs.dropout.key.shape
    ((5,), ())
    >>> rngs.params.key.shape, int(rngs.params.count.value)
    ((), 1)

    >>> @nnx.split_rngs(splits=3)
    ... def keys(rngs):
    ...     return rngs.params.key.shape
    >>> keys(rngs)
    (3,)
    """
    shape = as_shape(splits)
    if squeeze and shape != (1,):
        raise ArgumentError(
            f"squeeze=True drops an axis of length 1, got splits={splits}.",
            hint="Pass splits=1, or leave squeeze out.",
        )

    def make_key(key: Array) -> Array:
        keys = jax.random.split(key, shape)
        return keys[0] if squeeze else keys

    return _replace(node, [(to_predicate(only), make_key)], graph, graph_updates)


@overload
def fork_rngs(
    node: Pytree,
    /,
    *,
    split: Mapping[Filter, Shape | None] | Shape | None = None,
    graph: Literal[True] | None = None,
    graph_updates: Literal[True] | None = None,
) -> StreamBackups: ...
@overload
def fork_rngs(
    node: N,
    /,
    *,
    split: Mapping[Filter, Shape | None] | Shape | None = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> N: ...
@overload
def fork_rngs(
    *,
    split: Mapping[Filter, Shape | None] | Shape | None = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Callable[[F], F]: ...
def fork_rngs(
    node: object = _MISSING,
    /,
    *,
    split: Mapping[Filter, Shape | None] | Shape | None = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> object:
    """Restarts each stream from its next key, until the streams are restored.

    Args:
      node: an object with streams. If omitted, or a function, the result is a decorator, which
        restarts all streams in the arguments of each call.
      split: number of keys (or shape of the array of keys) to split the next key into; None doesn't
        split it. A mapping of filters sets this by stream; streams that pass no filter are
        unchanged.
      graph: if False, draws only one key from each stream, and returns a copy of `node` whose
        streams are forked.
      graph_updates: False does the same.

    Returns:
      Backups that restore the streams, also usable as a context manager; or the decorated function.

    >>> from linnet.module_core import nnx
    >>> rngs = nnx.Rngs(0)
    >>> with nnx.fork_rngs(rngs):
    ...     keys = [rngs() for _ in range(3)]
    >>> int(rngs.default.count.value)
    1
    """
    rules = split.items() if isinstance(split, Mapping) else [(..., split)]
    return _replace(
        node,
        [(to_predicate(only), split_to(None if s is None else as_shape(s))) for only, s in rules],
        graph,
        graph_updates,
    )


def split_to(shape: tuple[int, ...] | None) -> Callable[[Array], Array]:
    """A function that splits a key into an array of a shape; for None, it returns the key."""
    return (lambda key: key) if shape is None else (lambda key: jax.random.split(key, shape))


def as_shape(splits: object) -> tuple[int, ...]:
    """Converts a number or shape of keys to a shape.

    Raises:
      ArgumentError: the value is neither, or the array would have no keys.
    """
    shape = splits if isinstance(splits, tuple) else (splits,)
    if not shape or not all(type(n) is not bool and isinstance(n, int) and n > 0 for n in shape):
        raise ArgumentError(
            "splits must be a positive number of keys, or a shape made of such numbers; got "
            f"{describe(splits)}.",
            hint="Write splits=4, or splits=(2, 4).",
        )
    return shape


def passes(predicate: Predicate, path: Path, stream: RngStream) -> bool:
    """Whether a filter selects a stream: both of its variables must pass."""
    return predicate((*path, "key"), stream.key) and predicate((*path, "count"), stream.count)


Rule = tuple[Predicate, Callable[[Array], Array]]


def replace_key(stream: RngStream, key: Array) -> None:
    """Replaces the key of a stream with a key or array of keys, and resets its count."""
    stream.key.set_value(key)
    stream.count.set_value(jnp.zeros(key.shape, jnp.uint32))


def draw_from(path: Path, stream: RngStream) -> Array:
    """The next key of a stream.

    Raises:
      ArgumentError: the stream is already split.
    """
    if stream.key.shape != ():
        where = f"at {'/'.join(map(str, path))} " if path else ""
        raise ArgumentError(
            f"The stream {stream.tag!r} {where}holds an array of keys of shape"
            f" {stream.key.shape}; only a single key can be split or forked.",
            hint=(
                "Is it already split? Restore it first (nnx.restore_rngs), or exclude it with "
                "a filter."
            ),
        )
    key: Array = stream()
    return key


def copy_with(node: N, rules: list[Rule], graph: bool | None) -> N:
    """Copies an object, and replaces each stream according to the first rule that it matches."""

    def replaced(path: Path, value: object) -> object:
        if not isinstance(value, RngStream):
            return value
        # `value` is already a copy, but shares its variables with the original.
        for predicate, make in rules:
            if passes(predicate, path, value):
                return type(value)(make(draw_from(path, value)), tag=value.tag)
        new = type(value)(value.key.get_value(), tag=value.tag)
        new.count.set_value(value.count.get_value())
        return new

    return recursive_map(replaced, node, graph=graph)


def _replace(
    node: object, rules: list[Rule], graph: bool | None, graph_updates: bool | None
) -> object:
    in_place = graph is not False and graph_updates is not False

    def on(target: object) -> Any:
        if not in_place:
            return copy_with(target, rules, graph)
        chosen: list[tuple[RngStream, Array]] = []
        for path, stream in iter_streams(target):
            for predicate, make in rules:
                if passes(predicate, path, stream):
                    chosen.append((stream, make(draw_from(path, stream))))
                    break
        # All keys are drawn before any stream is changed, so an error leaves no stream split.
        backups = StreamBackups([(s, s.key.get_value(), s.count.get_value()) for s, _ in chosen])
        for stream, key in chosen:
            replace_key(stream, key)
        return backups

    def decorate(f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def run(*args: object, **kwargs: object) -> object:
            made = on((args, kwargs))
            if not in_place:
                args, kwargs = made
                return f(*args, **kwargs)
            with made:
                return f(*args, **kwargs)

        return run

    if node is _MISSING:
        return decorate
    if callable(node) and not isinstance(node, Pytree):
        return decorate(node)
    return on(node)
