"""`DynamicScale`: gradients in half precision that neither vanish nor overflow.

Small gradients are zero in float16. The loss is therefore multiplied by a scale before it is
differentiated, and the gradients are divided by it (Micikevicius et al. 2018, arXiv:1710.03740).
The scale shrinks after a step whose gradients are not finite, and grows after a number of finite
steps in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.struct import PyTreeNode, field

__all__ = ["DynamicScale", "DynamicScaleResult"]


class DynamicScaleResult(NamedTuple):
    """The result of a function from `DynamicScale.value_and_grad`.

    Attributes:
      dynamic_scale: the scale for the next step.
      finite: whether all gradients are finite; if not, the step should not be applied.
      aux: the function's value.
      grad: the gradients, divided by the scale.
    """

    dynamic_scale: DynamicScale
    finite: jax.Array
    aux: Any
    grad: Any


class DynamicScale(PyTreeNode):
    """Scales a loss before it is differentiated, and scales its gradients back.

    Attributes:
      growth_factor: the scale is multiplied by it after `growth_interval` finite steps in a row.
      backoff_factor: the scale is multiplied by it after a step that is not finite.
      growth_interval: the number of finite steps before the scale grows.
      fin_steps: the number of finite steps in a row so far.
      scale: the scale.
      minimum_scale: the scale doesn't fall below it; None for no limit.

    >>> import jax.numpy as jnp
    >>> dynamic_scale = DynamicScale(scale=8.0)
    >>> result = dynamic_scale.value_and_grad(lambda w: w**2)(jnp.float32(3))
    >>> bool(result.finite), float(result.aux), float(result.grad)
    (True, 9.0, 6.0)
    >>> result = dynamic_scale.value_and_grad(lambda w: w**2)(jnp.float32(jnp.inf))
    >>> bool(result.finite), float(result.dynamic_scale.scale)
    (False, 4.0)

    To keep the old parameters after a step that is not finite:
    `jax.tree.map(lambda new, old: jnp.where(result.finite, new, old), new_state, state)`.
    """

    growth_factor: float = field(pytree_node=False, default=2.0)
    backoff_factor: float = field(pytree_node=False, default=0.5)
    growth_interval: int = field(pytree_node=False, default=2000)
    fin_steps: int | jax.Array = 0
    scale: float | jax.Array = 65536.0
    minimum_scale: Any = field(pytree_node=False, default=np.finfo(np.float32).tiny)

    def value_and_grad(
        self,
        fun: Callable[..., Any],
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        axis_name: str | None = None,
    ) -> Callable[..., DynamicScaleResult]:
        """`jax.value_and_grad` of a function, at this scale.

        Args:
          fun: a function that returns a scalar, and a second value if `has_aux`.
          argnums: the arguments with respect to which to differentiate.
          has_aux: whether `fun` returns a pair.
          axis_name: gradients are averaged over this axis of `jax.pmap` or `jax.vmap`.

        Returns:
          A function with the arguments of `fun` that returns a `DynamicScaleResult`.
        """

        def scaled(*args: object, **kwargs: object) -> tuple[Any, Any]:
            value, aux = fun(*args, **kwargs) if has_aux else (fun(*args, **kwargs), None)
            value = jnp.asarray(value)
            return jnp.asarray(self.scale, value.dtype) * value, aux

        differentiated = jax.value_and_grad(scaled, argnums, has_aux=True)

        def value_and_grad(*args: object, **kwargs: object) -> DynamicScaleResult:
            (value, aux), grad = differentiated(*args, **kwargs)
            value = value / jnp.asarray(self.scale, value.dtype)
            grad = jax.tree.map(lambda g: jnp.asarray(g) / jnp.asarray(self.scale, g.dtype), grad)
            if axis_name is not None:
                grad = lax.pmean(grad, axis_name)  # type: ignore[no-untyped-call]
            finite = jnp.array(True)
            for g in jax.tree.leaves(grad):
                finite &= jnp.all(lax.is_finite(g))
            value = (value, aux) if has_aux else value
            return DynamicScaleResult(self._after(finite), finite, value, grad)

        return value_and_grad

    def _after(self, finite: jax.Array) -> DynamicScale:
        """The scale for the step after one whose gradients were `finite`."""
        full = self.fin_steps == self.growth_interval
        # The scale never becomes infinite: after that, no gradient would be finite.
        largest = np.finfo(np.float32).max
        grown = jnp.minimum(jnp.asarray(self.scale * self.growth_factor, jnp.float32), largest)
        kept = jnp.where(full & finite, grown, self.scale)
        shrunk = jnp.asarray(self.scale * self.backoff_factor, jnp.float32)
        if self.minimum_scale is not None:
            shrunk = jnp.maximum(shrunk, self.minimum_scale)
        return self.replace(
            fin_steps=jnp.where(full | ~finite, 0, self.fin_steps + 1),
            scale=jnp.where(finite, kept, shrunk),
        )
