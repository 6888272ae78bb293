"""`vjp`, `jvp`, `grad`, `value_and_grad`, `custom_vjp`: derivatives inside a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, overload

import jax

from ...accepted import accepted
from ...typing import Output, PyTree
from ..filters import CollectionFilter, subtract_filters
from ..frame import Collections
from ..lift_targets import function_call
from ..lifting import Call, Inputs, Lift, ungroup

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")  # auxiliary output of a function


@overload
def vjp(
    fn: Callable[..., R],
    mdl: object,
    *primals: object,
    has_aux: Literal[False] = False,
    reduce_axes: object = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    multi_scope: bool = False,
) -> tuple[R, Callable[[R], tuple[Any, ...]]]: ...
@overload
def vjp(
    fn: Callable[..., tuple[R, A]],
    mdl: object,
    *primals: object,
    has_aux: Literal[True],
    reduce_axes: object = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    multi_scope: bool = False,
) -> tuple[R, Callable[[R], tuple[Any, ...]], A]: ...
def vjp(
    fn: Callable[..., Any],
    mdl: object,
    *primals: object,
    has_aux: bool = False,
    reduce_axes: object = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    multi_scope: bool = False,
) -> tuple[Any, ...]:
    """Lifted `jax.vjp`.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return x * self.param("s", jax.nn.initializers.ones, ())
    >>> class Gradient(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         y, bwd = nn.vjp(lambda scale, x: scale(x), Scale(name="scale"), x)
    ...         return bwd(jnp.ones_like(y))
    >>> model = Gradient()
    >>> variables_t, x_t = model.apply({"params": {"scale": {"s": 1.0}}}, jnp.full(3, 2.0))
    >>> float(variables_t["params"]["s"]), x_t.tolist()
    (6.0, [1.0, 1.0, 1.0])

    Args:
      fn: (module, *primals) -> output, or (output, aux) with `has_aux`.
      mdl: a module, or a tree of modules.
      *primals: arrays to differentiate with respect to.
      has_aux: whether `fn` also returns auxiliary output.
      reduce_axes: kept for older programs; jax no longer has it.
      vjp_variables: collections to differentiate with respect to.
      variables, rngs: the collections and random streams that exist inside.
      multi_scope: return the gradients of each lifted scope, if `mdl` is a tree of modules.

    Returns:
      (output, bwd), or (output, bwd, aux); `bwd(cotangent)` returns the gradients of the variables
      (a dict of collections) and of each primal.
    """
    accepted(reduce_axes=reduce_axes)
    lift = Lift(function_call(fn), mdl, primals)
    shape = _all_scopes if multi_scope else _one_scope
    result: tuple[Any, ...] = run_vjp(lift, has_aux, vjp_variables, variables, rngs, shape)
    return result


def run_vjp(
    lift: Lift,
    has_aux: bool,
    vjp_variables: CollectionFilter,
    variables: CollectionFilter,
    rngs: CollectionFilter,
    arrange: Callable[[list[Collections]], object],
) -> Output:
    """The transform itself; `arrange` converts the gradients of all roots to the user's form."""
    by = lift.collections(vjp_variables)
    rest = lift.collections(subtract_filters(variables, vjp_variables))
    keys, mutable = lift.keys(rngs), lift.mutable(variables)

    def differentiated(
        by: list[Collections], *primals: object
    ) -> tuple[Any, tuple[Any, list[Collections]]]:
        output, changed = lift.run(ungroup([by, rest]), keys, mutable, primals)
        output, aux = output if has_aux else (output, None)
        return output, (aux, changed)

    output, backward, (aux, changed) = jax.vjp(differentiated, by, *lift.args, has_aux=True)
    lift.store(changed)
    # A Partial is a pytree: it can be the residual of a custom_vjp.
    bwd = jax.tree_util.Partial(functools.partial(_arranged, arrange), backward)  # type: ignore[no-untyped-call]
    return (output, bwd, aux) if has_aux else (output, bwd)


def _arranged(
    arrange: Callable[[list[Collections]], object],
    backward: Callable[[Any], Any],
    cotangent: object,
) -> object:
    variables, *primals = backward(cotangent)
    return arrange(variables), *primals


def _one_scope(gradients: list[Collections]) -> Collections:
    return gradients[0]


def _all_scopes(gradients: list[Collections]) -> tuple[Collections, ...]:
    return tuple(gradients)


def value_and_grad(
    fn: Callable[..., R],
    mdl: object,
    *primals: object,
    has_aux: bool = False,
    reduce_axes: object = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[R, tuple[Any, ...]]:
    """Lifted `jax.value_and_grad` with respect to the primals; for variables, see `vjp`.

    Args:
      fn: (module, *primals) -> a scalar, or (scalar, aux) with `has_aux`.
      mdl: a module, or a tree of modules.
      *primals: arrays to differentiate with respect to.
      has_aux: whether `fn` also returns auxiliary output.
      reduce_axes: kept for older programs; jax no longer has it.
      variables, rngs: the collections and random streams that exist inside.

    Returns:
      (value, gradients), or ((value, aux), gradients); the gradients are a tuple, one per primal.
    """
    accepted(reduce_axes=reduce_axes)
    lift = Lift(function_call(fn), mdl, primals)
    body = lift.plain(variables, rngs)

    def differentiated(primals: Sequence[Any]) -> object:
        output, changed = body(body.inputs, *primals)
        value, aux = output if has_aux else (output, None)
        return value, (aux, changed)

    (value, (aux, changed)), gradients = jax.value_and_grad(differentiated, has_aux=True)(lift.args)
    lift.store(changed)
    output: Any = (value, aux) if has_aux else value
    return output, gradients


@overload
def grad(
    fn: Callable[..., Any],
    mdl: object,
    *primals: object,
    has_aux: Literal[False] = False,
    reduce_axes: object = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, ...]: ...
@overload
def grad(
    fn: Callable[..., tuple[Any, A]],
    mdl: object,
    *primals: object,
    has_aux: Literal[True],
    reduce_axes: object = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[tuple[Any, ...], A]: ...
def grad(
    fn: Callable[..., Any],
    mdl: object,
    *primals: object,
    has_aux: bool = False,
    reduce_axes: object = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, ...]:
    """Lifted `jax.grad`: `value_and_grad` without the value.

    Args:
      fn, mdl, primals, has_aux, reduce_axes, variables, rngs: as in `value_and_grad`.

    Returns:
      A tuple with one gradient per primal; or (gradients, aux) with `has_aux`.
    """
    value, gradients = value_and_grad(
        fn,
        mdl,
        *primals,
        has_aux=has_aux,
        reduce_axes=reduce_axes,
        variables=variables,
        rngs=rngs,
    )
    return (gradients, value[1]) if has_aux else gradients


def jvp(
    fn: Callable[..., R],
    mdl: object,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    variable_tangents: Collections,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[R, R]:
    """Lifted `jax.jvp`.

    Args:
      fn: (module, *primals) -> output.
      mdl: a module.
      primals, tangents: arrays, and the direction to differentiate in, of the same structure.
      variable_tangents: the direction for variables: a dict of collections, which may be empty.
      variables, rngs: the collections and random streams that exist inside.

    Returns:
      (output, its derivative in that direction).
    """
    lift = Lift(function_call(fn), mdl, tuple(primals))
    directions = set(variable_tangents)
    by = [
        {c: t for c, t in root.items() if c in directions} for root in lift.collections(variables)
    ]
    rest = lift.collections(subtract_filters(variables, directions))
    keys, mutable = lift.keys(rngs), lift.mutable(variables)

    def differentiated(by: list[Collections], primals: Sequence[Any]) -> object:
        return lift.run(ungroup([by, rest]), keys, mutable, primals)

    along = [{c: variable_tangents[c] for c in root} for root in by]
    (output, changed), (derivative, _) = jax.jvp(
        differentiated, (by, lift.args), (along, tuple(tangents))
    )
    lift.store(changed)
    return output, derivative


def custom_vjp(
    fn: Callable[P, R],
    forward_fn: Callable[..., Any],
    backward_fn: Callable[..., Any],
    grad_vars: CollectionFilter = "params",
    nondiff_argnums: Sequence[int] = (),
) -> Callable[P, R]:
    """Lifted `jax.custom_vjp`: a function of a module with a custom gradient.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return x * self.param("s", jax.nn.initializers.ones, ())
    >>> def sign_of_gradient(scale, x):
    ...     def f(scale, x):
    ...         return scale(x)
    ...
    ...     def forward(scale, x):
    ...         return nn.vjp(f, scale, x)
    ...
    ...     def backward(bwd, y_t):
    ...         params_t, *inputs_t = bwd(y_t)
    ...         return jax.tree.map(jnp.sign, params_t), *inputs_t
    ...
    ...     return nn.custom_vjp(f, forward, backward)(scale, x)
    >>> f = nn.apply(sign_of_gradient, Scale())
    >>> jax.grad(lambda v: f(v, jnp.full(2, 5.0)).sum())({"params": {"s": 1.0}})
    {'params': {'s': Array(1., dtype=float32, weak_type=True)}}

    Args:
      fn: (module, *args) -> output.
      forward_fn: (module, *args) -> (output, residuals).
      backward_fn: (*nondifferentiable args, residuals, cotangent of the output) -> (gradients of
        the variables, as a dict of collections, *gradients of the differentiable args).
      grad_vars: collections to differentiate with respect to.
      nondiff_argnums: positions of arguments (0 is the module) that are not differentiated.

    Returns:
      A function (module, *args) -> output.
    """
    numbers = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
    fixed = tuple(i - 1 for i in numbers)
    call_forward = function_call(forward_fn)

    def lifted(mdl: object, *args: object) -> object:
        lift = Lift(function_call(fn), mdl, args)
        by = lift.collections(grad_vars)
        rest = lift.collections(subtract_filters(True, grad_vars))
        keys, mutable = lift.keys(True), lift.mutable(True)
        moving = [i for i in range(len(args)) if i not in fixed]
        constants = {i: lift.args[i] for i in fixed}

        def run(
            by: list[Collections],
            others: Inputs,
            moving_args: Sequence[Any],
            call: Call | None = None,
        ) -> tuple[Any, list[Collections]]:
            rest, keys = others
            filled = {**constants, **dict(zip(moving, moving_args, strict=True))}
            arguments = [filled[i] for i in range(len(args))]
            return lift.run(ungroup([by, rest]), keys, mutable, arguments, whole=True, call=call)

        @jax.custom_vjp
        def f(by: list[Collections], others: Inputs, *moving_args: object) -> tuple[Any, Any]:
            return run(by, others, moving_args)

        def forward(
            by: list[Collections], others: Inputs, *moving_args: object
        ) -> tuple[tuple[Any, list[Collections]], Any]:
            (output, residuals), changed = run(by, others, moving_args, call=call_forward)
            return (output, changed), residuals

        def backward(residuals: PyTree, cotangents: PyTree) -> tuple[Any, ...]:
            output_t, _ = cotangents
            variables_t, *args_t = backward_fn(*constants.values(), residuals, output_t)
            return lift.from_tree(variables_t), None, *args_t

        f.defvjp(forward, backward)
        output, changed = f(by, (rest, keys), *[lift.args[i] for i in moving])
        lift.store(changed, whole=True)
        return output

    return lifted  # type: ignore[return-value]  # called as `fn` is
