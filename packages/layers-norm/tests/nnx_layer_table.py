"""The table of nnx layers: one row per layer, from which every contract test follows."""

import jax
import jax.numpy as jnp
import numpy as np

from contracts import Input
from linnet.layers_norm import linen, nnx
from linnet.module_core.nnx import Module, Param
from nnx_contracts import Layer


class Linear(Module):
    """A layer to wrap: kernel, bias, and a convolution-like kernel of more dimensions."""

    def __init__(self, rngs, param_dtype=jnp.float32):
        init = jax.nn.initializers.normal()
        self.kernel = Param(init(rngs.params(), (4, 5), param_dtype))
        self.kernel_2 = Param(init(rngs.params(), (2, 4, 5), param_dtype))
        self.bias = Param(init(rngs.params(), (5,), param_dtype))

    def __call__(self, x):
        common = jnp.promote_types(x.dtype, self.kernel.dtype)
        x, kernel, cube, bias = (
            jnp.asarray(a, common)
            for a in (
                x,
                self.kernel.get_value(),
                self.kernel_2.get_value(),
                self.bias.get_value(),
            )
        )
        return x @ kernel + jnp.einsum("bi,cio->bo", x, cube) + bias


def linear(rngs, options):
    return Linear(rngs, options.get("param_dtype", jnp.float32))


def twin(module, **call):
    """Linen's layer with the parameters of nnx's, which have the same names."""

    def output(values, *inputs):
        stats = {k: v for k, v in values.items() if k in ("mean", "var")}
        params = {k: v for k, v in values.items() if k not in stats}
        variables = {"params": params, "batch_stats": stats}
        return module.apply(variables, *inputs, mutable=["batch_stats"], **call)[0]

    return output


LINEAR = {
    "layer_instance/kernel": (4, 5),
    "layer_instance/kernel_2": (2, 4, 5),
    "layer_instance/bias": (5,),
}
VECTORS = (Input((3, 4)),)
SEQUENCE = (Input((3, 6, 4)),)
IMAGES = (Input((2, 5, 4, 6)),)
MASK = np.tril(np.ones((6, 4))) > 0

LAYERS = [
    Layer(
        "BatchNorm",
        lambda rngs, **options: nnx.BatchNorm(4, rngs=rngs, **options),
        SEQUENCE,
        {"scale": (4,), "bias": (4,)},
        {"mean": (4,), "var": (4,)},
        twin=twin(linen.BatchNorm(use_running_average=False)),
    ),
    Layer(
        "BatchNorm with running averages",
        lambda rngs, **options: nnx.BatchNorm(
            (6, 4), use_running_average=True, axis=(1, -1), rngs=rngs, **options
        ),
        SEQUENCE,
        {"scale": (6, 4), "bias": (6, 4)},
        {"mean": (6, 4), "var": (6, 4)},
        twin=twin(linen.BatchNorm(use_running_average=True, axis=(1, -1))),
    ),
    Layer(
        "BatchNorm masked, slow variance",
        lambda rngs, **options: nnx.BatchNorm(
            4, use_fast_variance=False, use_bias=False, rngs=rngs, **options
        ),
        SEQUENCE,
        {"scale": (4,)},
        {"mean": (4,), "var": (4,)},
        call={"mask": MASK},
        twin=twin(
            linen.BatchNorm(use_running_average=False, use_fast_variance=False, use_bias=False),
            mask=MASK,
        ),
    ),
    Layer(
        "LayerNorm",
        lambda rngs, **options: nnx.LayerNorm(4, rngs=rngs, **options),
        SEQUENCE,
        {"scale": (4,), "bias": (4,)},
        twin=twin(linen.LayerNorm()),
    ),
    Layer(
        "LayerNorm masked, other axes, slow variance",
        lambda rngs, **options: nnx.LayerNorm(
            (6, 4),
            reduction_axes=(1, 2),
            feature_axes=(1, 2),
            use_fast_variance=False,
            rngs=rngs,
            **options,
        ),
        SEQUENCE,
        {"scale": (6, 4), "bias": (6, 4)},
        call={"mask": MASK},
        twin=twin(
            linen.LayerNorm(reduction_axes=(1, 2), feature_axes=(1, 2), use_fast_variance=False),
            mask=MASK,
        ),
    ),
    Layer(
        "RMSNorm",
        lambda rngs, **options: nnx.RMSNorm(4, rngs=rngs, **options),
        VECTORS,
        {"scale": (4,)},
        twin=twin(linen.RMSNorm()),
    ),
    Layer(
        "RMSNorm, zero-centered",
        lambda rngs, **options: nnx.RMSNorm(4, zero_centered=True, rngs=rngs, **options),
        VECTORS,
        {"scale": (4,)},
        twin=twin(linen.RMSNorm(zero_centered=True)),
    ),
    Layer(
        "GroupNorm",
        lambda rngs, **options: nnx.GroupNorm(6, num_groups=3, rngs=rngs, **options),
        IMAGES,
        {"scale": (6,), "bias": (6,)},
        twin=twin(linen.GroupNorm(num_groups=3)),
    ),
    Layer(
        "GroupNorm by size, masked",
        lambda rngs, **options: nnx.GroupNorm(
            4, num_groups=None, group_size=2, rngs=rngs, **options
        ),
        SEQUENCE,
        {"scale": (4,), "bias": (4,)},
        call={"mask": MASK},
        twin=twin(linen.GroupNorm(num_groups=None, group_size=2), mask=MASK),
    ),
    Layer(
        "InstanceNorm",
        lambda rngs, **options: nnx.InstanceNorm(6, rngs=rngs, **options),
        IMAGES,
        {"scale": (6,), "bias": (6,)},
        twin=twin(linen.InstanceNorm()),
    ),
    Layer(
        "SpectralNorm",
        lambda rngs, **options: nnx.SpectralNorm(linear(rngs, options), rngs=rngs, **options),
        VECTORS,
        LINEAR,
        {
            "batch_stats/kernel/u": (1, 5),
            "batch_stats/kernel/sigma": (),
            "batch_stats/kernel_2/u": (1, 5),
            "batch_stats/kernel_2/sigma": (),
        },
        wraps=True,
        inexact=True,  # the singular vectors are constants for the gradient
    ),
    Layer(
        "WeightNorm",
        lambda rngs, **options: nnx.WeightNorm(linear(rngs, options), rngs=rngs, **options),
        VECTORS,
        LINEAR,
        {"scales/kernel": (5,)},
        wraps=True,
    ),
]
