"""Decides which values a repeated layer keeps for its backward pass and which it recomputes.

In each step, a loop writes to memory whatever its backward pass needs from the forward pass.
Unrolled layers need less: XLA computes cheap values again when that is faster than reading them.
It can't do so for a loop, whose two passes are two loops. So the choice is made here: products,
convolutions, random bits and everything else that is costly are kept; elementwise functions,
reductions and copies are computed again. For a transformer block on a CPU, the backward pass takes
half of the time, and a quarter of the memory, that it takes when everything is kept.

Everything is kept if computing again could cost more than a write, which is the case if a layer has
a loop of its own (a recurrent layer), which would run again, or effects (callbacks,
`jax.debug.print`), which would happen again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax

from .errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, Jaxpr

Policy: TypeAlias = Callable[..., Any]

POLICIES: Mapping[str, str] = {
    "nothing": "nothing_saveable",
    "dots": "dots_saveable",
    "dots_no_batch": "dots_with_no_batch_dims_saveable",
    "everything": "everything_saveable",
}
"""Names for `remat`, each with the policy of `jax.checkpoint_policies` that it selects."""

_CHEAP = frozenset(
    (
        # elementwise
        *("abs", "add", "add_any", "and", "atan2", "cbrt", "ceil", "clamp", "conj", "cos", "cosh"),
        *("complex", "convert_element_type", "div", "eq", "erf", "erfc", "exp", "exp2", "expm1"),
        *("floor", "ge", "gt", "imag", "integer_pow", "is_finite", "le", "log", "log1p"),
        *("logistic", "lt", "max", "min", "mul", "name", "ne", "neg", "nextafter", "not", "or"),
        *("pow", "real", "reduce_precision", "rem", "round", "rsqrt", "select_n"),
        *("shift_left", "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh"),
        *("sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor"),
        # reductions
        *("argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or"),
        *("reduce_prod", "reduce_sum"),
        # copies
        *("bitcast_convert_type", "broadcast_in_dim", "concatenate", "copy", "copy_p"),
        *("dynamic_slice", "expand_dims", "gather", "iota", "mesh_cast", "pad", "reshape", "rev"),
        *("reshard", "sharding_constraint", "slice", "split", "squeeze", "transpose"),
    )
)
"""Primitives whose results are computed again by default."""

_LOOPS = frozenset(("scan", "while"))


def rematerialize(remat: bool | str | Policy | None) -> tuple[bool, Policy | None]:
    """Whether to rematerialize a layer, and with which policy.

    Raises:
      ArgumentError: `remat` is a string that names no policy.
      ArgumentTypeError: `remat` is something else.
    """
    if remat is None:
        return True, keeps_costly
    if isinstance(remat, bool):
        return remat, None
    if isinstance(remat, str):
        if remat not in POLICIES:
            raise ArgumentError(
                f"Repeat has no policy remat={remat!r}.",
                hint=f"Pass one of {', '.join(map(repr, POLICIES))}, True, or a policy of"
                " jax.checkpoint_policies.",
            )
        return True, getattr(jax.checkpoint_policies, POLICIES[remat])
    if callable(remat):
        return True, remat
    raise ArgumentTypeError(
        f"remat must be a bool, the name of a policy, or a policy; got {type(remat).__name__}.",
        hint=f"Pass one of {', '.join(map(repr, POLICIES))}, or a policy of"
        " jax.checkpoint_policies.",
    )


def keeps_costly(primitive: Any, *inputs: Any, **params: Any) -> bool:
    """The default policy: whether the result of an operation is kept."""
    if primitive.name != "dot_general":
        return primitive.name not in _CHEAP
    left, right = inputs
    (contracted, _), (batch, _) = params["dimension_numbers"]
    if not batch:
        return True  # a product with a layer's weights
    # Attention weights are larger than the queries and keys that they are computed from: each
    # weight takes few operations to compute, and there are many to write.
    terms, batches = (math.prod(left.shape[i] for i in axes) for axes in (contracted, batch))
    size = left.size * right.size // max(terms * terms * batches, 1)
    return bool(size <= left.size + right.size)


def recomputing(
    body: Callable[..., Any], remat: bool | str | Policy | None, *, looped: bool
) -> Callable[..., Any]:
    """The body of a loop, whose backward pass computes again what `remat` doesn't keep.

    Args:
      body: a function of arrays; traced once.
      remat: as in `Repeat`.
      looped: whether the loop is still a loop once compiled. If it is unrolled, XLA has to be
        kept from merging values that are computed twice.
    """
    again, policy = rematerialize(remat)
    if not again:
        return body

    def run(*args: Any) -> Any:
        from jax.extend.core import jaxpr_as_fun  # `import jax.extend` takes 35 ms

        program, shapes = jax.make_jaxpr(body, return_shape=True)(*args)
        call: Callable[..., list[Any]] = jaxpr_as_fun(program)
        inputs = jax.tree.leaves(args)
        if remat is not None or _is_cheap(program):
            outputs = jax.checkpoint(call, prevent_cse=not looped, policy=policy)(*inputs)
        else:
            outputs = call(*inputs)
        # Values that the body passes on unchanged stay the same objects: jax keeps one copy of
        # each.
        given = {id(v): x for v, x in zip(program.jaxpr.invars, inputs, strict=True)}
        ends = zip(program.jaxpr.outvars, outputs, strict=True)
        leaves = [given.get(id(v), x) for v, x in ends]
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    return run


def _is_cheap(program: ClosedJaxpr) -> bool:
    """Whether cheap operations may run twice: the function has neither loops nor effects."""
    if program.effects:
        return False
    return not any(equation.primitive.name in _LOOPS for equation in _equations(program.jaxpr))


def _equations(program: Jaxpr) -> Iterator[Any]:
    from jax.extend.core import Jaxpr

    for equation in program.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if isinstance(inner, Jaxpr):
                yield from _equations(inner)
