"""jax's transforms for functions of a scope.

Each is linen's transform of the same name, without a module: the function gets a scope with the
lifted variables and random streams. `vmap`, `scan`, `jit`, … return a function (scope, *args);
`vjp`, `jvp`, `cond`, `switch` and `while_loop` take the scope as an argument and run directly.
Instead of a scope there may be a tree of scopes.

>>> import jax, jax.numpy as jnp
>>> from linnet.module_core.functional import init, lift
>>> def dense(scope, x):
...     return x @ scope.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], 2))
>>> many = lift.vmap(dense, variable_axes={"params": 0}, split_rngs={"params": True})
>>> _, variables = init(many)(jax.random.key(0), jnp.ones((5, 3)))
>>> variables["params"]["kernel"].shape
(5, 3, 2)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

import jax
import numpy as np
from jax.typing import ArrayLike

from linnet.struct import FrozenDict

from ..accepted import accepted
from ..errors import ArgumentError
from ..linen.axes import Axes
from ..linen.filters import CollectionFilter
from ..linen.frame import Collections
from ..linen.lift_targets import function_call
from ..linen.lifting import Lift
from ..linen.scope import Scope
from ..linen.transforms import autodiff, control_flow
from ..linen.transforms.jit import Compiled, run_fold_rngs, run_jit
from ..linen.transforms.map_variables import run_map_variables
from ..linen.transforms.remat import refuse_concrete, run_checkpoint, run_remat_scan
from ..linen.transforms.scan import run_scan
from ..linen.transforms.static_arguments import StaticArguments
from ..linen.transforms.vmap import run_vmap
from ..typing import PyTree
from .packing import pack as pack
from .packing import tree_map_rngs as tree_map_rngs

R = TypeVar("R")
C = TypeVar("C")  # a carry
A = TypeVar("A")  # auxiliary output of a function

Function = Callable[..., R]  # (scope, *args) -> output


def _lifted(
    transform: Callable[..., Any], fn: Function[R], options: Mapping[str, Any], name: str = "inner"
) -> Function[R]:
    """A function (scope, *args) that runs `fn` under a transform.

    The name is Flax's: `scope.child` derives names from it, on which the random keys depend.
    """
    call = function_call(fn)

    def inner(scope: object, *args: object, **kwargs: object) -> R:
        return transform(Lift(call, scope, args, kwargs), **options)  # type: ignore[no-any-return]

    return _named(inner, fn, name)


def _named(inner: Function[R], fn: Callable[..., Any], name: str) -> Function[R]:
    functools.update_wrapper(inner, fn, assigned=("__doc__", "__module__"))
    inner.__name__ = inner.__qualname__ = name
    return inner


def vmap(
    fn: Function[R],
    variable_axes: Axes,
    split_rngs: Mapping[Any, bool],
    in_axes: object = 0,
    out_axes: object = 0,
    axis_size: int | None = None,
    axis_name: str | None = None,
    spmd_axis_name: str | None = None,
    metadata_params: Mapping[Any, Any] = FrozenDict({}),
) -> Function[R]:
    """Lifted `jax.vmap`; collections and random streams that are not listed do not exist inside.

    Args:
      fn: (scope, *args) -> output.
      variable_axes: the axis of each collection (a filter); None if all examples share it;
        `In(axis)` and `Out(axis)` for a collection that is only an input or only an output.
      split_rngs: for each random stream (a filter), whether each example gets a different key.
      in_axes, out_axes: axes of the arguments and the output, as in `jax.vmap`.
      axis_size: the number of examples, if it cannot be inferred from the arguments.
      axis_name, spmd_axis_name: as in `jax.vmap`.
      metadata_params: parameters of the new axis for the boxes around variables.

    Raises:
      ArgumentError: no size, or more than one, can be inferred; raised by the returned function.
    """
    options = {
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "axis_size": axis_size,
        "axis_name": axis_name,
        "spmd_axis_name": spmd_axis_name,
        "metadata_params": metadata_params,
    }
    return _lifted(run_vmap, fn, options)


def scan(
    fn: Function[R],
    variable_axes: Axes = FrozenDict({}),
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
    in_axes: object = 0,
    out_axes: object = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    data_transform: Callable[..., Any] | None = None,
    metadata_params: Mapping[Any, Any] = FrozenDict({}),
    check_constancy_invariants: bool = True,
) -> Function[R]:
    """Lifted `jax.lax.scan`; collections and streams that are not listed do not exist inside.

    Args:
      fn: (scope, carry, *inputs of one step) -> (carry, output of one step).
      variable_axes: the axis to scan along for each collection (a filter).
      variable_broadcast: collections that all steps share; they may be made, but not changed.
      variable_carry: collections that each step passes to the next.
      split_rngs: for each random stream (a filter), whether each step gets a different key.
      in_axes, out_axes: the axis to scan along for each input and output; `broadcast` for values
        that are the same in all steps.
      length: the number of steps, if it cannot be inferred from the inputs.
      reverse, unroll: as in `jax.lax.scan`.
      data_transform: (variable groups, keys) -> the same, applied inside the loop.
      metadata_params: parameters of the step axis for the boxes around variables.
      check_constancy_invariants: trace `fn` once more to find the values shared by all steps.

    Raises:
      ArgumentError: no length, or more than one, can be inferred; or a value shared by all steps
        depends on a step. Raised by the returned function.
    """
    options = {
        "variable_axes": variable_axes,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "length": length,
        "loop": {"reverse": reverse, "unroll": unroll}
        | ({"_split_transpose": True} if _split_transpose else {}),
        "data_transform": data_transform,
        "metadata_params": metadata_params,
        "check_constancy": check_constancy_invariants,
    }
    return _lifted(run_scan, fn, options)


def jit(
    fn: Function[R],
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    donate_argnums: int | Iterable[int] = (),
    device: object = None,
    backend: str | None = None,
) -> Function[R]:
    """Lifted `jax.jit`: one program for all calls whose scopes have the same variables.

    As in Flax, the first argument after the scope is static if it can be hashed: calls with
    different values of it get different programs. An array in its place is traced. The names of the
    path are not folded into the keys inside.

    Args:
      fn: (scope, *args) -> output.
      variables, rngs: the collections and random streams that exist inside.
      static_argnums, static_argnames: the numbers (0 is the first argument after the scope) or
        names of arguments that are not traced.
      donate_argnums: numbers of arguments whose memory the program may reuse.
      device, backend: as in `jax.jit`; best left to jax.
    """
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    static = {
        first: StaticArguments.of(
            sorted({*numbers, 0} if first else {*numbers}), static_argnames, first=0
        )
        for first in (False, True)
    }
    options: dict[str, Any] = {
        "folded": False,
        "variables": variables,
        "rngs": rngs,
        "donated": StaticArguments.of(donate_argnums, first=0, option="donate_argnums"),
        "compiled": Compiled(
            ({} if device is None else {"device": device})
            | ({} if backend is None else {"backend": backend})
        ),
    }
    call = function_call(fn)

    def inner(scope: object, *args: object, **kwargs: object) -> R:
        lift = Lift(call, scope, args, kwargs)
        first = bool(args) and _is_static(args[0])
        return run_jit(lift, static=static[first], **options)  # type: ignore[no-any-return]

    return _named(inner, fn, "inner")


def _is_static(value: object) -> bool:
    if isinstance(value, jax.Array | np.ndarray):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return not isinstance(value, Scope)


def fold_rngs(
    fn: Function[R], variables: CollectionFilter = True, rngs: CollectionFilter = True
) -> Function[R]:
    """Derives the keys inside a function as `jit` does, but without compiling.

    The names of the path are not folded into the keys inside.

    Args:
      fn: (scope, *args) -> output.
      variables, rngs: the collections and random streams that exist inside.
    """
    options = {"variables": variables, "rngs": rngs, "folded": False}
    return _lifted(run_fold_rngs, fn, options, "inner_fold_rngs")


def checkpoint(
    fn: Function[R],
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Sequence[int] = (),
    policy: Callable[..., bool] | None = None,
) -> Function[R]:
    """Lifted `jax.checkpoint`: intermediate results are recomputed in the backward pass.

    Args:
      fn: (scope, *args) -> output.
      variables, rngs: the collections and random streams that exist inside.
      concrete: kept for older programs; use `static_argnums` instead.
      prevent_cse: as in `jax.checkpoint`; False inside a `scan`.
      static_argnums: the numbers (0 is the first argument after the scope) of arguments that are
        not traced.
      policy: which intermediate results to keep; see `jax.checkpoint_policies`.

    Raises:
      ArgumentError: `concrete` is set.
    """
    refuse_concrete(concrete)
    options = {
        "variables": variables,
        "rngs": rngs,
        "prevent_cse": prevent_cse,
        "static": StaticArguments.of(static_argnums, first=0),
        "policy": policy,
    }
    return _lifted(run_checkpoint, fn, options)


remat = checkpoint


def remat_scan(
    body_fn: Function[R],
    lengths: Sequence[int],
    policy: Callable[..., bool] | None = None,
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    variable_axes: Axes = FrozenDict({True: 0}),
    split_rngs: Mapping[Any, bool] = FrozenDict({True: True}),
) -> Function[R]:
    """Applies a function many times, in nested scans with the inner ones rematerialized.

    With `lengths=(a, b)`, it is applied a · b times in sequence; memory for intermediate results
    grows with a + b (Chen et al. 2016, arXiv:1604.06174).

    Args:
      body_fn: (scope, input) -> an output like the input.
      lengths: the number of steps at each level of nesting.
      policy: which intermediate results to keep; see `jax.checkpoint_policies`.
      variable_broadcast, variable_carry, variable_axes, split_rngs: as in `scan`.

    Raises:
      ArgumentError: `lengths` is empty.
    """
    if not lengths:
        raise ArgumentError(
            "remat_scan needs lengths, one for each level of nesting.",
            hint="lengths=(10, 10) applies the function 100 times.",
        )
    options = {
        "lengths": tuple(lengths),
        "policy": policy,
        "scan_options": {
            "variable_broadcast": variable_broadcast,
            "variable_carry": variable_carry,
            "variable_axes": variable_axes,
            "split_rngs": split_rngs,
        },
    }
    return _lifted(run_remat_scan, body_fn, options, "<lambda>")


def _identity(tree: PyTree) -> PyTree:
    return tree


def map_variables(
    fn: Function[R],
    mapped_collections: CollectionFilter,
    map_in_fn: Callable[[Any], Any] = _identity,
    map_out_fn: Callable[[Any], Any] = _identity,
    init: bool = False,
    mutable: bool = False,
    rngs: CollectionFilter = True,
    variables: CollectionFilter = True,
) -> Function[R]:
    """Maps the variables that a function reads, and those that it writes.

    Args:
      fn: (scope, *args) -> output.
      mapped_collections: the collections that are mapped.
      map_in_fn: dict of the mapped collections as stored -> as `fn` sees them.
      map_out_fn: the reverse, for the variables that `fn` has changed.
      init: if the collections are mutable (as in `init`), first run `fn` on the unmapped
        collections, so that it can make its variables; these go through `map_out_fn`, and the
        result through `map_in_fn` into the actual run.
      mutable: whether `fn` may change the mapped collections.
      rngs, variables: the random streams, and the other collections, that exist inside.
    """
    options = {
        "mapped": mapped_collections,
        "trans_in": map_in_fn,
        "trans_out": map_out_fn,
        "init": init,
        "mutable": mutable,
        "rngs": rngs,
        "variables": variables,
    }
    return _lifted(run_map_variables, fn, options, "wrapper")


def swap_collection(fn: Function[R], col_a: str, col_b: str) -> Function[R]:
    """Runs a function with two collections exchanged.

    Args:
      fn: (scope, *args) -> output.
      col_a, col_b: inside `fn`, each of these collections has the variables of the other one.
    """
    names = {col_a: col_b, col_b: col_a}

    def swap(collections: Collections) -> Collections:
        return {names.get(c, c): tree for c, tree in collections.items()}

    return map_variables(fn, [col_a, col_b], swap, swap, mutable=True)


@overload
def vjp(
    fn: Function[R],
    scope: object,
    *primals: object,
    has_aux: Literal[False] = False,
    reduce_axes: object = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[R, Callable[[R], tuple[Any, ...]]]: ...
@overload
def vjp(
    fn: Function[tuple[R, A]],
    scope: object,
    *primals: object,
    has_aux: Literal[True],
    reduce_axes: object = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[R, Callable[[R], tuple[Any, ...]], A]: ...
def vjp(
    fn: Function[Any],
    scope: object,
    *primals: object,
    has_aux: bool = False,
    reduce_axes: object = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, ...]:
    """Lifted `jax.vjp`.

    Args:
      fn: (scope, *primals) -> output, or (output, aux) with `has_aux`.
      scope: a scope, or a tree of scopes.
      *primals: arrays to differentiate with respect to.
      has_aux: whether `fn` also returns auxiliary output.
      reduce_axes: kept for older programs; jax no longer has it.
      vjp_variables: collections to differentiate with respect to.
      variables, rngs: the collections and random streams that exist inside.

    Returns:
      (output, bwd), or (output, bwd, aux); `bwd(cotangent)` returns the gradients of the variables
      (a dict of collections for each scope) and of each primal.
    """
    accepted(reduce_axes=reduce_axes)
    lift = Lift(function_call(fn), scope, primals)
    shape = lift.as_tree
    found: tuple[Any, ...]
    found = autodiff.run_vjp(lift, has_aux, vjp_variables, variables, rngs, shape)
    return found


def value_and_grad(
    fn: Function[Any],
    scope: object,
    *primals: object,
    has_aux: bool = False,
    reduce_axes: object = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, ...]:
    """Lifted `jax.value_and_grad` with respect to the primals; for variables, see `vjp`.

    Args:
      fn: (scope, *primals) -> a scalar, or (scalar, aux) with `has_aux`.
      scope: a scope, or a tree of scopes.
      *primals: arrays to differentiate with respect to.
      has_aux: whether `fn` also returns auxiliary output.
      reduce_axes: kept for older programs; jax no longer has it.
      variables, rngs: the collections and random streams that exist inside.

    Returns:
      (value, gradients), or (value, aux, gradients); the gradients are a tuple, one per primal.
    """
    value, gradients = autodiff.value_and_grad(
        fn,
        scope,
        *primals,
        has_aux=has_aux,
        reduce_axes=reduce_axes,
        variables=variables,
        rngs=rngs,
    )
    return (*value, gradients) if has_aux else (value, gradients)


def jvp(
    fn: Function[R],
    scope: object,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    variable_tangents: Collections,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[R, R]:
    """Lifted `jax.jvp`.

    Args:
      fn: (scope, *primals) -> output.
      scope: a scope.
      primals, tangents: arrays, and the direction to differentiate in, of the same structure.
      variable_tangents: the direction for variables: a dict of collections, which may be empty.
      variables, rngs: the collections and random streams that exist inside.

    Returns:
      (output, its derivative in that direction).
    """
    return autodiff.jvp(fn, scope, primals, tangents, variable_tangents, variables, rngs)


def custom_vjp(
    fn: Function[R],
    forward_fn: Callable[..., Any],
    backward_fn: Callable[..., Any],
    grad_vars: CollectionFilter = "params",
    nondiff_argnums: int | Sequence[int] = (),
) -> Function[R]:
    """Lifted `jax.custom_vjp`: a function of a scope with a custom gradient.

    Args:
      fn: (scope, *args) -> output.
      forward_fn: (scope, *args) -> (output, residuals).
      backward_fn: (*nondifferentiable args, residuals, cotangent of the output) -> (gradients of
        the variables, as a dict of collections, *gradients of the differentiable args).
      grad_vars: collections to differentiate with respect to.
      nondiff_argnums: positions of arguments (0 is the scope) that are not differentiated.
    """
    numbers = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else nondiff_argnums
    lifted: Any = autodiff.custom_vjp(fn, forward_fn, backward_fn, grad_vars, numbers)
    return _named(lambda scope, *args: lifted(scope, *args), fn, "inner")


def cond(
    pred: ArrayLike,
    true_fun: Function[C],
    false_fun: Function[C],
    scope: object,
    *operands: object,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> C:
    """Lifted `jax.lax.cond`; both branches must end with the same variables.

    Args:
      pred: which branch to take: scalar, bool.
      true_fun, false_fun: (scope, *operands) -> output.
      scope: a scope, or a tree of scopes.
      *operands: arrays for the branches.
      variables, rngs: the collections and random streams that exist in the branches.
    """
    return control_flow.cond(
        pred, true_fun, false_fun, scope, *operands, variables=variables, rngs=rngs
    )


def switch(
    index: ArrayLike,
    branches: Sequence[Function[C]],
    scope: object,
    *operands: object,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> C:
    """Lifted `jax.lax.switch`; all branches must end with the same variables.

    Args:
      index: which branch to take: scalar, integer; clamped to the valid range.
      branches: functions (scope, *operands) -> output.
      scope: a scope, or a tree of scopes.
      *operands: arrays for the branches.
      variables, rngs: the collections and random streams that exist in the branches.
    """
    return control_flow.switch(index, branches, scope, *operands, variables=variables, rngs=rngs)


def while_loop(
    cond_fn: Callable[[Any, C], ArrayLike],
    body_fn: Callable[[Any, C], C],
    scope: object,
    init: C,
    carry_variables: CollectionFilter = False,
    broadcast_variables: CollectionFilter = True,
    split_rngs: Mapping[Any, bool] = FrozenDict({}),
) -> C:
    """Lifted `jax.lax.while_loop`.

    Args:
      cond_fn: (scope, carry) -> whether to continue; may not change variables.
      body_fn: (scope, carry) -> carry.
      scope: a scope, or a tree of scopes.
      init: the first carry.
      carry_variables: collections that each step passes to the next; they must exist before the
        loop.
      broadcast_variables: collections that all steps read.
      split_rngs: for each random stream (a filter), whether each step gets a different key.

    Returns:
      The last carry.
    """
    return control_flow.while_loop(
        cond_fn, body_fn, scope, init, carry_variables, broadcast_variables, split_rngs
    )
