"""The table of layers: one row per layer, from which every contract test follows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from contracts import Input, Layer
from linnet.layers_norm import linen
from linnet.module_core.linen import Module, compact


class Linear(Module):
    """A layer to wrap: kernel, bias, and a convolution-like kernel of more dimensions."""

    features: int
    param_dtype: Any = jnp.float32

    @compact
    def __call__(self, x):
        init = jax.nn.initializers.normal()
        kernel = self.param("kernel", init, (x.shape[-1], self.features), self.param_dtype)
        cube = self.param("kernel_2", init, (2, x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", init, (self.features,), self.param_dtype)
        x, kernel, cube, bias = (
            jnp.asarray(a, jnp.promote_types(x.dtype, kernel.dtype))
            for a in (x, kernel, cube, bias)
        )
        return x @ kernel + jnp.einsum("bi,cio->bo", x, cube) + bias


def linear(fields):
    return Linear(5, param_dtype=fields.get("param_dtype", jnp.float32))


LINEAR = {"kernel": (4, 5), "kernel_2": (2, 4, 5), "bias": (5,)}
VECTORS = (Input((3, 4)),)
SEQUENCE = (Input((3, 6, 4)),)
IMAGES = (Input((2, 5, 4, 6)),)
MASK = np.tril(np.ones((6, 4))) > 0


LAYERS = [
    Layer(
        "BatchNorm",
        lambda **fields: linen.BatchNorm(**fields),
        SEQUENCE,
        {"scale": (4,), "bias": (4,)},
        state={"batch_stats": {"mean": (4,), "var": (4,)}},
        call={"use_running_average": False},
        sums_batch=True,
    ),
    Layer(
        "BatchNorm with running averages",
        lambda **fields: linen.BatchNorm(use_running_average=True, axis=(1, -1), **fields),
        SEQUENCE,
        {"scale": (6, 4), "bias": (6, 4)},
        state={"batch_stats": {"mean": (6, 4), "var": (6, 4)}},
    ),
    Layer(
        "BatchNorm masked, slow variance",
        lambda **fields: linen.BatchNorm(
            use_running_average=False, use_fast_variance=False, use_bias=False, **fields
        ),
        SEQUENCE,
        {"scale": (4,)},
        state={"batch_stats": {"mean": (4,), "var": (4,)}},
        call={"mask": MASK},
        sums_batch=True,
    ),
    Layer(
        "LayerNorm",
        lambda **fields: linen.LayerNorm(**fields),
        SEQUENCE,
        {"scale": (4,), "bias": (4,)},
    ),
    Layer(
        "LayerNorm masked, other axes, slow variance",
        lambda **fields: linen.LayerNorm(
            reduction_axes=(1, 2), feature_axes=(1, 2), use_fast_variance=False, **fields
        ),
        SEQUENCE,
        {"scale": (6, 4), "bias": (6, 4)},
        call={"mask": MASK},
    ),
    Layer(
        "RMSNorm",
        lambda **fields: linen.RMSNorm(**fields),
        VECTORS,
        {"scale": (4,)},
    ),
    Layer(
        "RMSNorm, zero-centered",
        lambda **fields: linen.RMSNorm(zero_centered=True, **fields),
        VECTORS,
        {"scale": (4,)},
    ),
    Layer(
        "GroupNorm",
        lambda **fields: linen.GroupNorm(num_groups=3, **fields),
        IMAGES,
        {"scale": (6,), "bias": (6,)},
    ),
    Layer(
        "GroupNorm by size, masked",
        lambda **fields: linen.GroupNorm(num_groups=None, group_size=2, **fields),
        SEQUENCE,
        {"scale": (4,), "bias": (4,)},
        call={"mask": MASK},
    ),
    Layer(
        "InstanceNorm",
        lambda **fields: linen.InstanceNorm(**fields),
        IMAGES,
        {"scale": (6,), "bias": (6,)},
    ),
    Layer(
        "SpectralNorm",
        # Enough steps to find the singular vectors. The gradient treats the vectors as constants,
        # so it equals the slope only after these steps.
        lambda **fields: linen.SpectralNorm(linear(fields), n_steps=7, **fields),
        VECTORS,
        {"layer_instance": LINEAR},
        state={
            "batch_stats": {
                "layer_instance/kernel/u": (1, 5),
                "layer_instance/kernel/sigma": (),
                "layer_instance/kernel_2/u": (1, 5),
                "layer_instance/kernel_2/sigma": (),
            }
        },
        call={"update_stats": True},
        wraps=True,
    ),
    Layer(
        "WeightNorm",
        lambda **fields: linen.WeightNorm(linear(fields), **fields),
        VECTORS,
        {
            "layer_instance": LINEAR,
            "layer_instance/kernel/scale": (5,),
            "layer_instance/kernel_2/scale": (5,),
        },
        wraps=True,
    ),
]
