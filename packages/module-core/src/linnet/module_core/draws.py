"""Equal draws of a traced program, compiled once.

A program that makes a model draws each kernel separately: for 24 transformer layers, that is 144
draws of three kinds. XLA compiles each draw, with its key, in 0.1 s of processor time, which adds
up to nearly all of the time that `jax.jit(model.init)` takes. Here, all draws of one kind become
one loop over their keys, whose body is compiled once.

**What is recorded.** A draw is (initializer, its arguments, root key, number folded into it). Linen
records it in `Scope.param`, nnx where a layer makes a parameter. Nothing else changes while the
model runs: a parameter is the value that its initializer returned, traced as always. When the
program's results are known, `Recorder.grouped` replaces those of them that *are* recorded values
(by identity) with elements of groups. The draws that were replaced, and all computations that only
unrequested outputs need, are dead code, which `jax.jit` drops.
A value that was cast, constrained or otherwise changed is not replaced.

**Which draws are recorded.** Those of initializers whose result depends on key, shape and dtype
alone, and which may be called again: ours (their attribute `draws` is a hashable kind; a box around
one passes it on) and those of `jax.nn.initializers`. Any other function runs once, as before. Draws
under an inner transform belong to another trace and are left alone, except those inside
`linen.remat`, which returns them as they are (`linen.passages`).

**Why the bits are equal.** A group runs the initializer on one key at a time, in a `scan`: the
equations are those of a single draw, with the same constants, and no generator, factorization or
rounding depends on the other draws. The bits are therefore equal for every initializer, dtype, kind
of key and generator, including those (rbg, threefry that is not partitionable) whose bits would
depend on a batch.

**Why memory does not rise.** The loop carries one buffer for each parameter, and in each step a
conditional writes one of them: XLA does that in place, and no stacked array has to be split.
The temporary memory is that of one draw; the single draws of one program need more, because
XLA works on several at a time. Each step evaluates all conditionals, so a loop has at most
`_LONGEST` parameters.

**Several devices.** Here, only draws that are constrained to the same sharding are grouped: each
device computes its part of each step, and nothing is gathered. nnx notes the constraint
(`laid_out`) where it lays out a parameter on a mesh or according to `out_shardings`. A draw whose
sharding isn't known in the trace, as under `jax.jit(model.init, out_shardings=...)`, is left alone:
in a group with differently sharded ones, it would be computed in one layout and moved to the other.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from .arrays import strong

_LONGEST = 128  # parameters of one loop


class _Source(NamedTuple):
    """The origin of a key, which is `fold_in(root, number)`."""

    root: Any
    number: Any


class _Kind(NamedTuple):
    """The properties that equal draws share."""

    draws: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    root: int  # id of the root key
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Sharding | None = None  # a sharding that the value is constrained to


class _Draw(NamedTuple):
    value: Any
    source: _Source


class Recorder:
    """The draws of one traced program, by kind."""

    def __init__(self) -> None:
        self._sources: dict[int, tuple[Any, _Source]] = {}  # by id(key), with the key
        self._kinds: dict[_Kind, list[_Draw]] = {}
        self._where: dict[int, tuple[_Kind, _Draw]] = {}  # by id(value)

    def _add(self, kind: _Kind, draw: _Draw) -> None:
        self._kinds.setdefault(kind, []).append(draw)
        self._where[id(draw.value)] = kind, draw

    def derived(self, key: object, root: object, number: object) -> None:
        """Notes that `key` is `fold_in(root, number)`."""
        self._sources[id(key)] = key, _Source(root, number)

    def drawn(
        self,
        value: object,
        init: Any,
        key: object,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] = {},
    ) -> None:
        """Notes that `value` is `init(key, *args, **kwargs)`, if that may be computed again."""
        draws = draws_of(init)
        known = self._sources.get(id(key))
        if draws is None or known is None:
            return
        leaves = jax.tree.leaves(value)
        if len(leaves) != 1 or not is_staged(leaves[0]):
            return
        source, leaf = known[1], leaves[0]
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return
        named = tuple(sorted(kwargs.items()))
        kind = _Kind(draws, args, named, id(source.root), leaf.shape, leaf.dtype)
        with contextlib.suppress(TypeError):  # an argument that cannot be compared
            self._add(kind, _Draw(leaf, source))

    def laid_out(self, value: object, laid: object, layout: Sharding | None) -> None:
        """Notes that `laid` is `value`, constrained to a sharding."""
        known = self._where.get(id(value))
        if known is not None and is_staged(laid):
            kind, draw = known
            self._add(kind._replace(layout=layout), _Draw(laid, draw.source))

    # In the body of a transform that returns parameters as they are; see `linen.passages`.

    def inner(self) -> Recorder:
        """A recorder for the body."""
        return Recorder()

    def find(self, value: object) -> tuple[object, Any] | None:
        """The root key of the draw that made `value`, and the draw's kind and number, or None."""
        known = self._where.get(id(value))
        if known is None:
            return None
        kind, draw = known
        return draw.source.root, (kind, draw.source.number)

    def passed(self, value: Any, root: object, rest: Any, loops: object) -> None:
        """Notes that `value`, which a body returned, was drawn inside the body."""
        kind, number = rest
        if is_staged(value):
            self._add(kind._replace(root=id(root)), _Draw(value, _Source(root, number)))

    def values(self) -> list[Any]:
        """The drawn values, in order, each of them once."""
        return [draw.value for _, draw in self._where.values()]

    def grouped(self, values: Sequence[Any]) -> list[Any]:
        """The results of a program, with recorded values drawn in groups."""
        wanted = {id(value) for value in values}
        drawn: dict[int, Any] = {}
        alone = is_for_one_device()
        for kind, group in self._kinds.items():
            if kind.layout is None and not alone:
                continue
            used = [draw for draw in group if id(draw.value) in wanted]
            for start in range(0, len(used), _LONGEST):
                part = used[start : start + _LONGEST]
                if len(part) > 1:
                    ids = [id(draw.value) for draw in part]
                    drawn.update(zip(ids, _draw_group(kind, part), strict=True))
        return [drawn.get(id(value), value) for value in values]


def draws_of(init: Any) -> Any:
    """The function that draws the array that `init` returns or puts into a box; None if unknown.

    Its result depends on its arguments alone. It may be called again, and compares equal to any
    other function that draws the same values.
    """
    if inspect.isfunction(init) and init.__module__ == _module_of_jax():
        held = [cell.cell_contents for cell in init.__closure__ or ()]
        return None if any(isinstance(x, jax.core.Tracer) for x in held) else init
    return getattr(init, "draws", None)


def fills_of(init: Any) -> Any:
    """The function that makes the array of given values that `init` returns or boxes; or None.

    Its result depends on shape and dtype alone. It may be called again, and compares equal to any
    other function that makes the same values.
    """
    return getattr(init, "fills", None)


@functools.cache
def _module_of_jax() -> str:
    """The module in which jax defines the functions that its factories return."""
    return jax.nn.initializers.normal().__module__


def _draw_group(kind: _Kind, group: Sequence[_Draw]) -> tuple[Any, ...]:
    numbers = [draw.source.number for draw in group]
    known = all(isinstance(n, np.generic) for n in numbers)
    arrays: tuple[Any, ...] = _draw_all(
        group[0].source.root,
        np.stack(numbers) if known else jnp.stack(numbers),
        draws=kind.draws,
        args=kind.args,
        kwargs=kind.kwargs,
        count=len(group),
        shape=kind.shape,
        dtype=kind.dtype,
        layout=kind.layout,
    )
    return arrays


_STATIC = ("draws", "args", "kwargs", "count", "shape", "dtype", "layout")


@functools.partial(jax.jit, static_argnames=_STATIC)
def _draw_all(
    root: Any,
    numbers: Any,
    *,
    draws: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: tuple[tuple[str, Any], ...],
    count: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    layout: Sharding | None,
) -> tuple[Any, ...]:
    """Draws of one kind, in a loop over their keys. Jitted: a second trace reuses the first.

    Args:
      root: the root key.
      numbers: uint32 [count], folded into it.
      draws, args, kwargs: an array is `draws(key, *args, **dict(kwargs))`.
      count, shape, dtype: the number of arrays, and the shape and dtype of each.
      layout: the sharding of each; None for one device.
    """

    def laid_out(array: jax.Array) -> jax.Array:
        constrain: Callable[..., jax.Array] = jax.lax.with_sharding_constraint
        return array if layout is None else constrain(array, layout)

    def step(arrays: tuple[Any, ...], at: tuple[Any, Any]) -> tuple[tuple[Any, ...], None]:
        i, number = at
        value = laid_out(strong(draws(jax.random.fold_in(root, number), *args, **dict(kwargs))))
        # One conditional for each: with a `switch`, XLA would copy all arrays in each step.
        written = (jax.lax.cond(i == j, _new, _old, value, old) for j, old in enumerate(arrays))
        return tuple(written), None

    empty = tuple(laid_out(jnp.zeros(shape, dtype)) for _ in range(count))
    arrays, _ = jax.lax.scan(step, empty, (np.arange(count, dtype=np.int32), numbers))
    return arrays


def _new(new: Any, old: Any) -> Any:
    return new


def _old(new: Any, old: Any) -> Any:
    return old


def is_groupable(key: object) -> bool:
    """Whether to record draws from this root key: if it is traced in a program for one device."""
    return is_staged(key) and is_for_one_device()


def is_for_one_device() -> bool:
    """Whether the program that is being traced will run on one device."""
    return jax.device_count() == 1 and not jax.sharding.get_abstract_mesh().axis_names


def is_staged(value: object) -> bool:
    """Whether `value` is a tracer of a program that jax records, not of `vmap` or `grad`."""
    return type(value) is _staged()


@functools.cache
def _staged() -> type:
    types: list[type] = []
    jax.eval_shape(lambda x: types.append(type(x)), 0.0)
    return types[0]


class _Current(threading.local):
    recorder: Recorder | None = None


_current = _Current()


def current() -> Recorder | None:
    """The recorder of the program that is being traced on this thread, or None."""
    return _current.recorder


@contextlib.contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Makes `recorder` the current one."""
    before = _current.recorder
    _current.recorder = recorder
    try:
        yield
    finally:
        _current.recorder = before
