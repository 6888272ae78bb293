"""Products in 8-bit floating point as modules, for layers' `dot_general_cls`.

Their scales and histories are in a collection of their own, whose gradients are the new values:
take gradients with respect to all variables, and let `linnet.training.TrainState` replace the
collection.

A layer that is called several times in one step (with shared parameters, or in a loop) adds the
new values up, as it does gradients; in that case, give each call its own state.
"""

from __future__ import annotations

import warnings
from functools import partial

import jax.numpy as jnp

from linnet.layers_linear.functional import fp8_rounded_dot_general, fp8_scaled_dot_general
from linnet.layers_linear.functional.einsum import two_operand_einsum
from linnet.layers_linear.functional.fp8 import DotDimensions, Fp8Scales
from linnet.module_core.accepted import accepted
from linnet.module_core.layers import Array, DTypeLike, OutSharding, PrecisionLike, integer
from linnet.module_core.linen import Module, nowrap
from linnet.module_core.training.train_state import OVERWRITE_WITH_GRADIENT


class Fp8DotGeneralBase(Module):
    """The state of an 8-bit product: a scale and a history for inputs, kernel and gradient.

    Args:
      amax_history_length: the number of steps whose magnitudes determine the scales.
      e4m3_dtype: the 8-bit dtype of inputs and kernels.
      e5m2_dtype: the 8-bit dtype of gradients.

    >>> Fp8DotGeneralBase().amax_history_length
    1024
    """

    amax_history_length: int = 1024
    e4m3_dtype: DTypeLike = jnp.float8_e4m3fn
    e5m2_dtype: DTypeLike = jnp.float8_e5m2

    def setup(self) -> None:
        """Declares the variables."""
        length = integer(self.amax_history_length, "amax_history_length")
        variable = partial(self.variable, OVERWRITE_WITH_GRADIENT)
        for name in ("input", "kernel", "output_grad"):
            setattr(
                self,
                f"{name}_amax_history",
                variable(f"{name}_amax_history", jnp.zeros, (length,), jnp.float32),
            )
        for name in ("input", "kernel", "output_grad"):
            setattr(self, f"{name}_scale", variable(f"{name}_scale", jnp.ones, (1,), jnp.float32))

    def _scales(self) -> Fp8Scales:
        def value(name: str) -> Array:
            array: Array = getattr(self, name).value
            return array

        return {
            "lhs_scale": value("input_scale"),
            "rhs_scale": value("kernel_scale"),
            "grad_scale": value("output_grad_scale"),
            "lhs_amax_history": value("input_amax_history"),
            "rhs_amax_history": value("kernel_amax_history"),
            "grad_amax_history": value("output_grad_amax_history"),
        }


class _DotGeneral(Fp8DotGeneralBase):
    """Called like `jax.lax.dot_general`; subclasses define the product of operands of one dtype."""

    def __call__(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: DotDimensions,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
        out_sharding: OutSharding | None = None,
    ) -> Array:
        """The product, in the dtype of `rhs`.

        Args:
          lhs, rhs: the operands.
          dimension_numbers: see `jax.lax.dot_general`.
          precision: accepted because layers pass it; not used.
          preferred_element_type: accepted likewise; not used.
          out_sharding: the result's sharding, on a mesh with explicit axes.
        """
        accepted(precision=precision, preferred_element_type=preferred_element_type)
        return self._product(lhs.astype(rhs.dtype), rhs, dimension_numbers, out_sharding)

    @nowrap
    def _product(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: DotDimensions,
        out_sharding: OutSharding | None,
    ) -> Array:
        """The product of operands of one dtype; each subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} does not define _product.")


class Fp8DotGeneralOp(_DotGeneral):
    """Deprecated: a product of rounded operands; see `functional.fp8_rounded_dot_general`.

    Args:
      amax_history_length: the number of steps whose magnitudes determine the scales.
      e4m3_dtype: the 8-bit dtype of inputs and kernels.
      e5m2_dtype: the 8-bit dtype of gradients.

    >>> import jax, jax.numpy as jnp, warnings
    >>> from linnet.layers_linear.linen import Dense
    >>> dense = Dense(8, dot_general_cls=NANOOFp8DotGeneralOp)
    >>> dense.init_with_output(jax.random.key(0), jnp.ones((5, 2)))[0].shape
    (5, 8)
    """

    def setup(self) -> None:
        """Declares the variables."""
        # Only this class has a successor, so its subclasses don't warn.
        if type(self) is Fp8DotGeneralOp:
            warnings.warn(
                "Fp8DotGeneralOp is deprecated. Use Fp8DirectDotGeneralOp or Fp8Einsum, which"
                " multiply the 8-bit numbers themselves.",
                DeprecationWarning,
                stacklevel=2,
            )
        super().setup()

    @nowrap
    def _product(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: DotDimensions,
        out_sharding: OutSharding | None,
    ) -> Array:
        return fp8_rounded_dot_general(
            lhs,
            rhs,
            dimension_numbers,
            input_dtype=self.e4m3_dtype,
            grad_dtype=self.e5m2_dtype,
            out_sharding=out_sharding,
            **self._scales(),
        )


class Fp8DirectDotGeneralOp(_DotGeneral):
    """A product of 8-bit numbers; see `functional.fp8_scaled_dot_general`.

    Args:
      amax_history_length: the number of steps whose magnitudes determine the scales.
      e4m3_dtype: the 8-bit dtype of inputs and kernels.
      e5m2_dtype: the 8-bit dtype of gradients.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_linear.linen import Dense
    >>> dense = Dense(8, dot_general_cls=Fp8DirectDotGeneralOp)
    >>> y, variables = dense.init_with_output(jax.random.key(0), jnp.ones((5, 2)))
    >>> sorted(variables)
    ['_overwrite_with_gradient', 'params']
    """

    @nowrap
    def _product(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: DotDimensions,
        out_sharding: OutSharding | None,
    ) -> Array:
        return fp8_scaled_dot_general(
            lhs,
            rhs,
            dimension_numbers,
            preferred_element_type=rhs.dtype,
            quantize_compute_type=rhs.dtype,
            input_dtype=self.e4m3_dtype,
            grad_dtype=self.e5m2_dtype,
            out_sharding=out_sharding,
            **self._scales(),
        )


Fp8DotGeneral = Fp8DirectDotGeneralOp
"""Another name for `Fp8DirectDotGeneralOp`."""


class NANOOFp8DotGeneralOp(Fp8DotGeneralOp):
    """A product of rounded operands in the formats of AMD's MI300 series.

    These have no negative zero and no infinity ("NANOO": NaN on overflow); see
    `functional.fp8_rounded_dot_general`.

    Args:
      amax_history_length: the number of steps whose magnitudes determine the scales.
      e4m3_dtype: the 8-bit dtype of inputs and kernels.
      e5m2_dtype: the 8-bit dtype of gradients.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_linear.linen import Dense
    >>> dense = Dense(8, dot_general_cls=NANOOFp8DotGeneralOp)
    >>> dense.init_with_output(jax.random.key(0), jnp.ones((5, 2)))[0].shape
    (5, 8)
    """

    e4m3_dtype: DTypeLike = jnp.float8_e4m3fnuz
    e5m2_dtype: DTypeLike = jnp.float8_e5m2fnuz


class Fp8Einsum(Fp8DotGeneralBase):
    """An einsum of two operands as 8-bit numbers; see `functional.fp8_scaled_dot_general`.

    Args:
      amax_history_length: the number of steps whose magnitudes determine the scales.
      e4m3_dtype: the 8-bit dtype of inputs and kernels.
      e5m2_dtype: the 8-bit dtype of gradients.

    >>> import jax, jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
    >>> y, variables = Fp8Einsum().init_with_output(jax.random.key(0), "ab,bc->ac", x, kernel)
    >>> y.shape
    (2, 4)
    """

    def __call__(
        self,
        eqn: str,
        lhs: Array,
        rhs: Array,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
    ) -> Array:
        """The einsum.

        Args:
          eqn: the equation.
          lhs, rhs: the operands.
          precision: accepted because layers pass it; not used.
          preferred_element_type: dtype of the accumulation and of the result; None for the
            operands' common type.
        """
        accepted(precision=precision)
        dtype = jnp.result_type(lhs, rhs)
        product = partial(
            fp8_scaled_dot_general,
            preferred_element_type=preferred_element_type or dtype,
            quantize_compute_type=dtype,
            input_dtype=self.e4m3_dtype,
            grad_dtype=self.e5m2_dtype,
            **self._scales(),
        )
        return two_operand_einsum(eqn, lhs.astype(dtype), rhs.astype(dtype), product)
