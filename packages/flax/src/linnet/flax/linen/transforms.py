"""The names of `flax.linen.transforms`: linen's own transforms, and functions that create more.

A transform of `linnet.flax.core.lift`, or a function that is built from such transforms, takes a
function of a scope. `lift_transform` applies it to a module class, or to a function of a module:
the function then runs on a module, or on a tree of modules, instead of on scopes.

>>> import jax, jax.numpy as jnp
>>> from linnet.flax.core import lift
>>> from linnet.linen import Dense
>>> axes, keys = {"params": 0}, {"params": True}
>>> Many = lift_transform(lift.vmap, Dense, variable_axes=axes, split_rngs=keys)
>>> Many.__name__
'VmapDense'
>>> Many(3).init(jax.random.key(0), jnp.ones((5, 2)))["params"]["kernel"].shape
(5, 2, 3)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from linnet.flax.ids import FlaxId as FlaxId
from linnet.linen.transforms import *  # noqa: F403
from linnet.linen.transforms import Module
from linnet.module_core.accepted import accepted as _accepted
from linnet.module_core.linen.lift_targets import Methods, lift_target
from linnet.module_core.linen.lifting import Lift
from linnet.module_core.linen.methods import wrap_method_once as wrap_method_once
from linnet.module_core.linen.rng import LazyRng as LazyRng

Transform = Callable[..., Any]
TransformTarget = type[Module] | Callable[..., Any]
Target = TypeVar("Target", bound=TransformTarget)
M = TypeVar("M", bound=Module)
F = TypeVar("F", bound=Callable[..., Any])


def lift_transform(
    transform: Transform,
    target: Target,
    *trafo_args: object,
    methods: Methods = None,
    **trafo_kwargs: object,
) -> Target:
    """Applies a transform of functions of a scope to a module class, or a function of a module.

    Args:
      transform: takes a function (scope, *args), `trafo_args` and `trafo_kwargs`; returns one.
      target: a module class, or a function or method whose first argument is a module.
      trafo_args, trafo_kwargs: the transform's options.
      methods: for a class, which methods are transformed; `__call__` by default.

    Raises:
      TransformTargetError: the target is neither.
    """

    def run(lift: Lift, **options: object) -> object:
        return transform(lift.call, *trafo_args, **options)(
            lift.given, *lift.arguments, **lift.named
        )

    name = getattr(transform, "__name__", "transformed")
    return lift_target(run, target, name.capitalize(), methods, trafo_kwargs)


def module_class_lift_transform(
    transform: Transform,
    module_class: type[M],
    *trafo_args: object,
    methods: Methods = None,
    **trafo_kwargs: object,
) -> type[M]:
    """`lift_transform` of a class."""
    return lift_transform(transform, module_class, *trafo_args, methods=methods, **trafo_kwargs)


def decorator_lift_transform(
    transform: Transform,
    class_fn: F,
    *trafo_args: object,
    multi_scope: bool = True,
    **trafo_kwargs: object,
) -> F:
    """`lift_transform` of a function or method."""
    _accepted(multi_scope=multi_scope)
    return lift_transform(transform, class_fn, *trafo_args, methods=None, **trafo_kwargs)


def lift_direct_transform(
    transform: Transform,
    targets: tuple[Callable[..., Any], ...],
    mdl: Module,
    *args: object,
    multi_scope: bool = True,
    **kwargs: object,
) -> Any:
    """Runs a transform that takes the scope as an argument, such as `lift.vjp` or `lift.cond`.

    Args:
      transform: takes the targets, the scope and the other arguments.
      targets: functions of a module.
      mdl: the module.
      args, kwargs: the other arguments.
      multi_scope: accepted for Flax programs: any number of scopes works.
    """
    _accepted(multi_scope=multi_scope)
    return transform(*targets, mdl, *args, **kwargs)


# jax caches compiled programs by function, and a class keeps the same function while it exists.
lift_transform_cached = lift_transform
module_class_lift_transform_cached = module_class_lift_transform
decorator_lift_transform_cached = decorator_lift_transform
