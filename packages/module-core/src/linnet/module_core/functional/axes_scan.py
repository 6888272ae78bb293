"""`scan` along any axes, with values that all steps share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..linen.axes import as_prefix, axis_sizes, input_name, length_beside, one_size
from ..linen.axes import broadcast as broadcast
from ..linen.lazy import lazily
from ..linen.transforms.scan import (
    find_constants,
    from_front,
    join,
    map_axes,
    one_slice,
    partition,
    to_front,
)
from ..tracebacks import named_after
from ..typing import Carry, Output


def scan(
    fn: Callable[..., tuple[Any, Any, Any]],
    in_axes: object,
    out_axes: object,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Callable[..., tuple[Any, Any, Any]]:
    """`jax.lax.scan` with axes for the inputs and outputs, and with values shared by all steps.

    >>> import jax.numpy as jnp
    >>> def step(factor, total, x):
    ...     return factor, total + factor * x, total
    >>> factor, total, before = scan(step, in_axes=(0,), out_axes=0)(2.0, 0.0, jnp.arange(3.0))
    >>> float(total), before.tolist()
    (6.0, [0.0, 0.0, 2.0])

    Args:
      fn: (shared value, carry, *inputs of one step) -> (shared value, carry, output of one step).
      in_axes, out_axes: the axis to scan along for each input and output; `broadcast` for values
        that are the same in all steps.
      length: the number of steps, if it cannot be inferred from the inputs.
      reverse, unroll: as in `jax.lax.scan`.
      check_constancy_invariants: trace `fn` once more to find the values shared by all steps.

    Returns:
      A function (shared value, carry, *inputs) -> (shared value, last carry, outputs).

    Raises:
      ArgumentError: no length, or more than one, can be inferred; or a value shared by all steps
        depends on a step. Raised by the function.
    """
    enter, leave = as_prefix(in_axes), as_prefix(out_axes)
    loop: dict[str, Any] = {"reverse": reverse, "unroll": unroll}
    if _split_transpose:
        loop["_split_transpose"] = True

    def scanned(shared: object, init: Carry, *args: object) -> tuple[Any, Any, Any]:
        # The shared value is argument 0, and the carry 1.
        sizes = axis_sizes(enter, args, lambda path: input_name(path, after=1))
        steps = one_size([sizes], length, "scan lengths", "length")
        xs, constant = partition(enter, args)
        xs = map_axes(to_front, enter, xs)

        def body(carry: Carry, xs: object) -> tuple[Any, Any, Any]:
            new_shared, carry, y = fn(shared, carry, *join(enter, xs, constant))
            ys, constants = partition(leave, y)
            return carry, ys, (new_shared, constants)

        first: Any = None
        if check_constancy_invariants:
            slices = jax.tree.map(one_slice, xs)
            first = find_constants(lambda c, x: body(c, x)[2], fn, init, slices, _name)

        def step(carry: Carry, xs: object) -> tuple[Carry, Any]:
            carry, ys, same = body(carry, xs)
            return carry, (ys, None if check_constancy_invariants else same)

        carry, (ys, same) = jax.lax.scan(
            named_after(fn, step), init, xs, length=length_beside(xs, steps), **loop
        )
        if not check_constancy_invariants:
            first = jax.tree.map(lambda x: x[0], same)
        new_shared, constants = first
        return new_shared, carry, join(leave, map_axes(from_front, leave, ys), constants)

    return scanned


def _name(path: tuple[Any, ...]) -> str:
    _, part, *inner = path
    kind = "the output" if part.idx == 1 else "the shared value"
    return f"{kind}{jax.tree_util.keystr(tuple(inner))}"


def partial_eval(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes what `fn` returns, with some inputs known only by shape.

    >>> import jax, jax.numpy as jnp
    >>> make = partial_eval(lambda key, x: jnp.ones(x.shape))
    >>> make(jax.random.key(0), jax.ShapeDtypeStruct((2,), jnp.float32))
    Array([1., 1.], dtype=float32)

    Raises:
      LazyInitError: a result depends on the values of such an input; raised by the returned
        function.
    """

    def evaluated(*args: object, **kwargs: object) -> Output:
        def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Output:
            return fn(*args, **kwargs)

        return lazily(run, args, kwargs, unknown=(jax.ShapeDtypeStruct,))

    return evaluated
