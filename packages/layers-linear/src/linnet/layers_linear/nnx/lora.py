"""`LoRA` and `LoRALinear`: low-rank changes of a linear map, as modules.

Only the adapter's parameters are of type `LoRAParam`, so that filters select them:
`nnx.DiffState(0, nnx.LoRAParam)` takes gradients with respect to these alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from linnet.initializers import Initializer, he_uniform
from linnet.initializers.defaults import default_bias_init
from linnet.layers_linear import functional
from linnet.layers_linear._torch import LORA
from linnet.module_core.errors import ArgumentError, ShapeError, describe
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DTypeLike,
    Metadata,
    OutSharding,
    PromoteDtype,
    Sizes,
    integer,
    integers,
)
from linnet.module_core.layers.nnx import Layer, new_param, promote_dtype, value_of
from linnet.module_core.layout import like
from linnet.module_core.nnx import LoRAParam, Module, Rngs, Variable

from ._fields import require_features
from .dense import Linear

default_a_initializer: Initializer = he_uniform()
# With zeros, the adapter has no effect at first.
default_b_initializer: Initializer = default_bias_init


class LoRA(Layer):
    """A low-rank adapter, alone or around a module; see `functional.lora` for the equation.

    Args:
      in_features: number of features of the inputs, or several numbers for the last dimensions.
      lora_rank: rank of the product, the number of columns of `lora_a`.
      out_features: number of features of the output, or sizes of several dimensions, such as
        (heads, depth) around a projection of `MultiHeadAttention`.
      base_module: a module or function that is called with the same inputs, and whose output is
        added; None for the adapter alone.
      dtype: the computation dtype; None for the common type of input and parameters.
      param_dtype: dtype of the parameters.
      a_initializer: initializer of `lora_a`.
      b_initializer: initializer of `lora_b`.
      lora_param_type: the type of both parameters.
      promote_dtype: casts the tuple of input, `lora_a` and `lora_b` to the computation dtype,
        before `base_module` receives the input.
      rngs: draws the parameters: `lora_a`, then `lora_b`.
      a_metadata, b_metadata: metadata of the parameters.

    Attributes:
      lora_a: `LoRAParam` of shape [I, lora_rank], with I the product of `in_features`.
      lora_b: `LoRAParam` of shape [lora_rank, O], with O the product of `out_features`.
      merged: whether the adapter is in the kernel of `base_module`, after `merge(keep=True)`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> rngs = Rngs(0)
    >>> base = Linear(3, 4, rngs=rngs)
    >>> layer = LoRA(3, 2, 4, base_module=base, rngs=rngs)
    >>> layer.lora_a.shape, layer.lora_b.shape
    ((3, 2), (2, 4))
    >>> x = jnp.ones((5, 3))
    >>> bool((layer(x) == base(x)).all())  # until `lora_b` is trained
    True
    """

    __torch_layout__ = LORA
    merged: bool = False

    def __init__(
        self,
        in_features: Sizes,
        lora_rank: int,
        out_features: Sizes,
        *,
        base_module: Module | Callable[..., Any] | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        a_initializer: Initializer = default_a_initializer,
        b_initializer: Initializer = default_b_initializer,
        lora_param_type: type[Variable[Any]] = LoRAParam,
        promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
        a_metadata: Metadata = NO_METADATA,
        b_metadata: Metadata = NO_METADATA,
    ) -> None:
        if base_module is not None and not callable(base_module):
            raise ArgumentError(
                f"`base_module` must be callable, got {describe(base_module)}.",
                hint="Pass a module that maps the same inputs, such as nnx.Linear.",
            )
        inputs = integers(in_features, "in_features")
        outputs = integers(out_features, "out_features")
        self.in_features = in_features if isinstance(in_features, int) else inputs
        self.out_features = out_features if isinstance(out_features, int) else outputs
        rank = integer(lora_rank, "lora_rank", least=1)
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.lora_param_type = lora_param_type
        self.base_module = base_module
        self.promote_dtype = promote_dtype
        self.lora_a: Variable[Array] = new_param(
            self,
            a_initializer,
            (math.prod(inputs), rank),
            param_dtype,
            rngs,
            a_metadata,
            lora_param_type,
        )
        self.lora_b: Variable[Array] = new_param(
            self,
            b_initializer,
            (rank, math.prod(outputs)),
            param_dtype,
            rngs,
            b_metadata,
            lora_param_type,
        )

    def __call__(self, x: Array, **kwargs: object) -> Array:
        """Applies the adapter, and `base_module` if there is one.

        Args:
          x: [..., *in_features].
          **kwargs: for `base_module`.

        Returns:
          [..., *out_features].
        """
        a, b = value_of(self.lora_a), value_of(self.lora_b)
        inputs = integers(self.in_features, "in_features")
        if len(inputs) == 1:
            require_features(x, a.shape[0])
        elif jnp.shape(x)[-len(inputs) :] != inputs:
            raise ShapeError(
                f"{type(self).__name__} got inputs of shape {jnp.shape(x)}, expected their last"
                f" dimensions to be in_features={inputs}."
            )
        x, a, b = self.promote_dtype((x, a, b), dtype=self.dtype)
        if self.merged and self.base_module is not None:
            merged: Array = self.base_module(x, **kwargs)
            return merged
        flat = jnp.reshape(x, (*x.shape[: x.ndim - len(inputs)], -1)) if len(inputs) > 1 else x
        out = functional.lora(flat, a, b)  # [..., O]
        if not isinstance(self.out_features, int):
            out = jnp.reshape(out, (*out.shape[:-1], *self.out_features))
        if self.base_module is not None:
            out = out + self.base_module(x, **kwargs)
        return out

    def merge(self, *, keep: bool = False) -> None:
        """Adds the adapter to the kernel of `base_module`, and sets `lora_b` to zero.

        The output stays the same up to rounding, and the kernel may be saved alone. In
        `nnx.Repeat`, the adapters of all layers are merged.

        Args:
          keep: the adapter keeps its numbers, and has no effect until `unmerge` takes it out of the
            kernel.

        Raises:
          ArgumentError: `base_module` has no kernel of the adapter's size, or the adapter is
            already in it.

        >>> import jax.numpy as jnp
        >>> from linnet.module_core.nnx import Rngs
        >>> base = Linear(2, 3, kernel_init=he_uniform(), rngs=Rngs(0))
        >>> layer = LoRA(2, 1, 3, base_module=base, rngs=Rngs(1))
        >>> layer.lora_b[...] = jnp.ones((1, 3))
        >>> y = layer(jnp.ones((1, 2)))
        >>> layer.merge()
        >>> bool(jnp.allclose(base(jnp.ones((1, 2))), y))
        True
        """
        self._merge_into(self._kernel(), keep=keep)

    def unmerge(self) -> None:
        """Takes the adapter out of the kernel of `base_module`, after `merge(keep=True)`.

        The kernel is what it was, up to rounding. Between the two calls, the adapter must not be
        trained.

        Raises:
          ArgumentError: the adapter isn't in the kernel.

        >>> import jax.numpy as jnp
        >>> from linnet.module_core.nnx import Rngs
        >>> layer = LoRA(2, 1, 3, base_module=Linear(2, 3, rngs=Rngs(0)), rngs=Rngs(1))
        >>> layer.lora_b[...] = jnp.ones((1, 3))
        >>> y = layer(jnp.ones((1, 2)))
        >>> layer.merge(keep=True)
        >>> layer.unmerge()
        >>> bool(jnp.allclose(layer(jnp.ones((1, 2))), y))
        True
        """
        self._take_out_of(self._kernel())

    def _kernel(self) -> Variable[Array]:
        """The kernel of `base_module`, which has the adapter's size."""
        kernel = getattr(self.base_module, "kernel", None)
        inputs = integers(self.in_features, "in_features")
        outputs = integers(self.out_features, "out_features")
        size = math.prod((*self.lora_a.shape[:-2], *inputs, *outputs))  # in `Repeat`, of all layers
        if isinstance(kernel, Variable) and math.prod(kernel.shape) == size:
            return kernel
        got = "None" if self.base_module is None else describe(self.base_module)
        raise ArgumentError(
            f"An adapter from {self.in_features} to {self.out_features} can be merged into a"
            f" kernel of that size only; `base_module` is {got}.",
            hint="Pass a Linear or LinearGeneral as base_module.",
        )

    def _merge_into(self, kernel: Variable[Array], *, keep: bool) -> None:
        if self.merged:
            raise ArgumentError(
                "The adapter is already in the kernel, after merge(keep=True).",
                hint="Call unmerge() first.",
            )
        self._add_to(kernel, 1)
        if keep:
            self.merged = True
        else:
            self.lora_b.set_value(jnp.zeros_like(self.lora_b.get_value()))

    def _take_out_of(self, kernel: Variable[Array]) -> None:
        if not self.merged:
            raise ArgumentError(
                "The adapter isn't in the kernel, so it can't be taken out.",
                hint="Only merge(keep=True) can be undone; merge() sets the adapter to zero.",
            )
        self._add_to(kernel, -1)
        del self.merged  # as in a layer that was never merged

    def _add_to(self, kernel: Variable[Array], sign: int) -> None:
        """Adds the adapter to a kernel, or subtracts it."""
        a, b, old = self.lora_a.get_value(), self.lora_b.get_value(), kernel.get_value()
        change = sign * (a @ b)  # [..., I, O]; in `Repeat`, the first axis is that of the layers
        kernel.set_value(old + jnp.reshape(change, old.shape).astype(old.dtype))


class LoRALinear(Linear):
    """A linear transformation with a low-rank adapter: `Linear` plus `LoRA`.

    Args:
      in_features: number of features of the inputs.
      out_features: number of features of the output.
      lora_rank: rank of the adapter.
      lora_dtype: the adapter's computation dtype; None for the common type of input and parameters.
      lora_param_dtype: dtype of the adapter's parameters.
      a_initializer: initializer of `lora_a`.
      b_initializer: initializer of `lora_b`.
      lora_param_type: the type of the adapter's parameters.
      lora_promote_dtype: the adapter's `promote_dtype`.
      rngs: draws the parameters: kernel, bias, `lora_a`, `lora_b`.
      a_metadata, b_metadata: metadata of the adapter's parameters.
      **kwargs: for `Linear`.

    Attributes:
      kernel, bias: as in `Linear`.
      lora: the `LoRA`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = LoRALinear(3, 4, lora_rank=2, rngs=Rngs(0))
    >>> layer.kernel.shape, layer.lora.lora_a.shape, layer.lora.lora_b.shape
    ((3, 4), (3, 2), (2, 4))
    >>> layer(jnp.ones((5, 3))).shape
    (5, 4)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        lora_rank: int,
        lora_dtype: DTypeLike | None = None,
        lora_param_dtype: DTypeLike = jnp.float32,
        a_initializer: Initializer = default_a_initializer,
        b_initializer: Initializer = default_b_initializer,
        lora_param_type: type[Variable[Any]] = LoRAParam,
        lora_promote_dtype: PromoteDtype = promote_dtype,
        rngs: Rngs,
        a_metadata: Metadata = NO_METADATA,
        b_metadata: Metadata = NO_METADATA,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_features, out_features, rngs=rngs, **kwargs)
        self.lora = LoRA(
            in_features,
            lora_rank,
            out_features,
            dtype=lora_dtype,
            param_dtype=lora_param_dtype,
            a_initializer=a_initializer,
            b_initializer=b_initializer,
            lora_param_type=lora_param_type,
            promote_dtype=lora_promote_dtype,
            rngs=rngs,
            a_metadata=a_metadata,
            b_metadata=b_metadata,
        )

    def __call__(self, x: Array, out_sharding: OutSharding | None = None) -> Array:
        """Applies the transformation and the adapter.

        Args:
          x: [..., in_features].
          out_sharding: the output's sharding, on a mesh with explicit axes.

        Returns:
          [..., out_features].
        """
        y = super().__call__(x, out_sharding=out_sharding)  # [..., out_features]
        return y if self.lora.merged else y + like(self.lora(x), y)

    def merge(self, *, keep: bool = False) -> None:
        """Adds the adapter to the kernel, and sets `lora_b` to zero.

        The output stays the same up to rounding, and kernel and bias are those of a `Linear`. In
        `nnx.Repeat`, the adapters of all layers are merged.

        Args:
          keep: the adapter keeps its numbers, and has no effect until `unmerge` takes it out of the
            kernel.

        Raises:
          ArgumentError: the adapter is already in the kernel.

        >>> import jax.numpy as jnp
        >>> from linnet.module_core.nnx import Rngs
        >>> layer = LoRALinear(2, 3, lora_rank=1, rngs=Rngs(0))
        >>> layer.lora.lora_b[...] = jnp.ones((1, 3))
        >>> y = layer(jnp.ones((1, 2)))
        >>> layer.merge()
        >>> bool(jnp.allclose(jnp.ones((1, 2)) @ layer.kernel, y))
        True
        """
        self.lora._merge_into(self.kernel, keep=keep)

    def unmerge(self) -> None:
        """Takes the adapter out of the kernel, after `merge(keep=True)`; see `LoRA.unmerge`.

        Raises:
          ArgumentError: the adapter isn't in the kernel.

        >>> import jax.numpy as jnp
        >>> from linnet.module_core.nnx import Rngs
        >>> layer = LoRALinear(2, 3, lora_rank=1, rngs=Rngs(0))
        >>> layer.lora.lora_b[...] = jnp.ones((1, 3))
        >>> y = layer(jnp.ones((1, 2)))
        >>> layer.merge(keep=True)
        >>> layer.unmerge()
        >>> bool(jnp.allclose(layer(jnp.ones((1, 2))), y))
        True
        """
        self.lora._take_out_of(self.kernel)
