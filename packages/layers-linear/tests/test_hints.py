"""Every hint of this package, followed to the letter."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import hints
from hints import Remedy
from linnet.layers_linear import functional, linen, nnx
from linnet.layers_linear.functional import _fp8_rounding as rounding
from linnet.module_core.nnx import Rngs

SOURCES = Path(functional.__file__).parents[1]
KEY = jax.random.key(0)
X = jnp.ones((2, 3))
IMAGE = jnp.ones((1, 4, 4, 3))
KERNEL = jnp.ones((3, 4))


def init(module, x=X):
    return jax.eval_shape(lambda: module.init(KEY, x))  # checks it all, and compiles nothing


def conv(x=IMAGE, kernel_size=(3, 3), **options):
    return init(linen.Conv(2, kernel_size, **options), x)


def general(x=X, features=4, **options):
    return init(linen.DenseGeneral(features, **options), x)


def einsum(equation, shape=(3, 4), x=X):
    return init(linen.Einsum(shape, equation, use_bias=False), x)


def local(shape, bias=None):
    kernel = jnp.ones(shape)
    return functional.conv_local(jnp.ones((1, 4, 3)), kernel, bias, kernel_size=(2,))


def evaluated(layer):
    layer.eval()
    return layer(X)


def adapted():
    return nnx.LoRALinear(3, 4, lora_rank=2, rngs=Rngs(0))


def merged_twice(between):
    layer = adapted()
    layer.merge(keep=True)
    if between:
        layer.unmerge()
    layer.merge()


def unmerged(keep):
    layer = adapted()
    layer.merge(keep=keep)
    layer.unmerge()


def quantized(dtype):
    return rounding.quantize(X, dtype, jnp.ones(1), jnp.float32)


def mesh_of(kind):
    return Mesh(jax.devices()[:1], ("data",), axis_types=(kind,))


WINDOW = jnp.ones((2, 2, 3, 4))
EXPLICIT, BATCH = mesh_of(AxisType.Explicit), PartitionSpec("data")


def on_mesh(kind, call):
    set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
    with set_mesh(mesh_of(kind)):
        return call()


def fp8_einsum(equation, x):
    return linen.Fp8Einsum().init(KEY, equation, x, KERNEL)


REMEDIES = [
    Remedy(
        "Inputs and kernels take jnp.float8_e4m3fn, gradients jnp.float8_e5m2 (on AMD GPUs of the",
        lambda: quantized(jnp.float16),
        lambda: [
            quantized(dtype)
            for dtype in (
                jnp.float8_e4m3fn,
                jnp.float8_e5m2,
                jnp.float8_e4m3fnuz,
                jnp.float8_e5m2fnuz,
            )
        ],
    ),
    Remedy(
        "Take the diagonal of that operand first, with jnp.diagonal.",
        lambda: fp8_einsum("aa,ab->b", jnp.ones((3, 3))),
        lambda: fp8_einsum("a,ab->b", jnp.diagonal(jnp.ones((3, 3)))),
    ),
    Remedy(
        "It has one number for each number of the gate.",
        lambda: functional.gated(X, X[:, :2]),
        lambda: functional.gated(X, X),
    ),
    Remedy(
        "Its first half is the gate, and its second half is what the gate multiplies.",
        lambda: functional.gated_halves(X),
        lambda: functional.gated_halves(jnp.concatenate([X, X], -1)),
    ),
    *(
        Remedy(
            "Pass a function such as jax.nn.silu.",
            lambda layer=layer: init(layer(4, activation="silu")),
            lambda layer=layer: init(layer(4, activation=jax.nn.silu)),
        )
        for layer in (linen.GLU, linen.MLP)
    ),
    Remedy(
        "Channels come last; the batch dimension is optional.",
        lambda: conv(jnp.ones(3)),
        lambda: conv(jnp.ones((4, 4, 3))),
    ),
    Remedy(
        "Use a smaller window or dilation, more padding (padding='SAME'), or larger inputs",
        lambda: conv(kernel_size=(5, 5), padding="VALID"),
        lambda: [
            conv(padding="VALID"),
            conv(kernel_size=(5, 5), padding="SAME"),
            conv(jnp.ones((1, 8, 8, 3)), kernel_size=(5, 5), padding="VALID"),
        ],
    ),
    *(
        Remedy(
            "Channels come last: inputs are (*batch, *spatial, channels), but these have their "
            "{} in dimension {}. Move them: jnp.moveaxis(x, {}, -1).",
            lambda convolve=convolve: convolve(jnp.ones((1, 3, 4, 4))),
            lambda convolve=convolve: convolve(jnp.moveaxis(jnp.ones((1, 3, 4, 4)), -3, -1)),
            filled=("3 channels", "1", "-3"),
        )
        for convolve in (
            lambda x: functional.conv(x, jnp.ones((3, 3, 3, 2))),
            lambda x: functional.conv_transpose(x, jnp.ones((3, 3, 3, 2))),
            lambda x: nnx.Conv(3, 2, (3, 3), rngs=Rngs(0))(x),
            lambda x: nnx.ConvTranspose(3, 2, (3, 3), rngs=Rngs(0))(x),
        )
    ),
    Remedy(
        "Inputs of shape {} in {} feature group(s) need this shape.",
        lambda: functional.conv(IMAGE, jnp.ones((3, 3, 1, 6))),
        lambda: [
            functional.conv(IMAGE, jnp.ones((3, 3, 3, 6))),
            functional.conv(IMAGE, jnp.ones((3, 3, 1, 6)), feature_group_count=3),
        ],
        filled=("(1, 4, 4, 3)", "1"),
    ),
    Remedy(
        "Inputs of shape {} need this shape with transpose_kernel={}.",
        lambda: functional.conv_transpose(IMAGE, jnp.ones((3, 3, 2, 3))),
        lambda: [
            functional.conv_transpose(IMAGE, jnp.ones((3, 3, 3, 2))),
            functional.conv_transpose(IMAGE, jnp.ones((3, 3, 2, 3)), transpose_kernel=True),
        ],
        filled=("(1, 4, 4, 3)", "False"),
    ),
    Remedy(
        "Inputs of shape {} need this shape: positions, then the entries of the {} window.",
        lambda: local((2, 6, 5)),
        lambda: local((4, 6, 5)),
        filled=("(1, 4, 3)", "(2,)"),
    ),
    Remedy(
        "There is one bias for each position and feature.",
        lambda: local((4, 6, 5), jnp.ones(5)),
        lambda: local((4, 6, 5), jnp.ones((4, 5))),
    ),
    *(
        Remedy(
            "There is one bias for each feature of the output.",
            lambda convolve=convolve: convolve(IMAGE, jnp.ones((3, 3, 3, 2)), jnp.ones(3)),
            lambda convolve=convolve: convolve(IMAGE, jnp.ones((3, 3, 3, 2)), jnp.ones(2)),
        )
        for convolve in (functional.conv, functional.conv_transpose)
    ),
    Remedy(
        "Pass one int for all dimensions, or",
        lambda: conv(strides=(1, 2, 3)),
        lambda: [conv(strides=2), conv(strides=(1, 2))],
    ),
    Remedy(
        "; the names are",
        lambda: conv(padding=((1, 2, 3), 0)),
        lambda: [conv(padding=((1, 2), 0)), conv(padding="SAME")],
    ),
    Remedy(
        "To be causal in one of them, pass (low, high) pairs, e.g. ((k - 1, 0), (1, 1)).",
        lambda: conv(padding="CAUSAL"),
        lambda: conv(padding=((3 - 1, 0), (1, 1))),
    ),
    Remedy(
        "Pass the padding as ints or (low, high) pairs, or use ConvTranspose.",
        lambda: conv(padding="SAME", input_dilation=2),
        lambda: [
            conv(padding=1, input_dilation=2),
            conv(padding=((1, 1), (0, 1)), input_dilation=2),
            init(linen.ConvTranspose(2, (3, 3), strides=(2, 2)), IMAGE),
        ],
    ),
    Remedy(
        "The features of inputs and output are split into groups of the same size.",
        lambda: conv(feature_group_count=2),
        lambda: conv(jnp.ones((1, 4, 4, 6)), feature_group_count=2),
    ),
    Remedy(
        "Broadcast it, e.g. `jnp.broadcast_to(mask,",
        lambda: conv(mask=jnp.ones((3, 3, 1, 1))),
        lambda: conv(mask=jnp.broadcast_to(jnp.ones((3, 3, 1, 1)), (3, 3, 3, 2))),
    ),
    Remedy(
        "The kernel's first dimension must equal the inputs' last.",
        lambda: functional.dense(X, KERNEL.T),
        lambda: functional.dense(X, KERNEL),
    ),
    Remedy(
        "There is one bias for each column of the kernel.",
        lambda: functional.dense(X, KERNEL, jnp.ones(3)),
        lambda: functional.dense(X, KERNEL, jnp.ones(4)),
    ),
    Remedy(
        "need this shape with axis={} and batch_dims={}: batch, contracted and feature "
        "dimensions in this",
        lambda: functional.dense_general(
            jnp.ones((2, 3, 5)), jnp.ones((5, 2, 4)), axis=-1, batch_dims=0
        ),
        lambda: functional.dense_general(
            jnp.ones((2, 3, 5)), jnp.ones((2, 5, 4)), axis=-1, batch_dims=0
        ),
        filled=("-1", "0"),
    ),
    Remedy(
        "It must have the kernel's batch and feature dimensions.",
        lambda: functional.dense_general(
            jnp.ones((2, 3, 5)), jnp.ones((2, 5, 4)), jnp.ones(4), axis=-1, batch_dims=0
        ),
        lambda: functional.dense_general(
            jnp.ones((2, 3, 5)), jnp.ones((2, 5, 4)), jnp.ones((2, 4)), axis=-1, batch_dims=0
        ),
    ),
    Remedy(
        "These are the kernel's letters in {}.",
        lambda: functional.einsum("ab,bc->ac", X, KERNEL, jnp.ones(3)),
        lambda: functional.einsum("ab,bc->ac", X, KERNEL, jnp.ones(4)),
        filled=("'ab,bc->ac'",),
    ),
    Remedy(
        "Transpose the inputs so that these dimensions come first.",
        lambda: general(jnp.ones((2, 3, 5)), batch_dims=1),
        lambda: general(jnp.ones((2, 3, 5)).transpose(1, 0, 2), batch_dims=0),
    ),
    Remedy(
        "A dimension is either contracted, or a batch dimension with a separate kernel for each "
        "index.",
        lambda: general(axis=0, batch_dims=0),
        lambda: [general(axis=0), general(axis=1, batch_dims=0)],
    ),
    Remedy(
        "Pass one, e.g. `jax.random.key(0)`, and a new one at each step.",
        lambda: functional.dropout(X, None, 0.5),
        lambda: [functional.dropout(X, jax.random.key(step), 0.5) for step in (0, 1)],
    ),
    Remedy(
        "Dimensions with the same letter must have the same size.",
        lambda: einsum("ab,bc->ac", shape=(2, 4)),
        lambda: einsum("ab,bc->ac", shape=(3, 4)),
    ),
    Remedy(
        "Each letter of the result must come from the inputs or the kernel.",
        lambda: einsum("ab,bc->ad"),
        lambda: einsum("ab,bc->ac"),
    ),
    Remedy('For example "...a,ab->...b".', lambda: einsum(3), lambda: einsum("...a,ab->...b")),
    Remedy('For example "...a,ab->...b".', lambda: einsum("ab"), lambda: einsum("...a,ab->...b")),
    Remedy(
        "The first operand is the inputs, and the second is the kernel.",
        lambda: einsum("ab->ab"),
        lambda: einsum("ab,bc->ac"),
    ),
    Remedy(
        "Write one letter for each dimension; '...' matches any number of them.",
        lambda: einsum("a,ac->c"),
        lambda: [einsum("ba,ac->bc"), einsum("...a,ac->...c")],
    ),
    Remedy(
        "convert them with `.astype(jax.numpy.int32)`.",
        lambda: init(linen.Embed(4, 3), X),
        lambda: init(linen.Embed(4, 3), X.astype(jax.numpy.int32)),
    ),
    Remedy(
        "The product sums over the features.",
        lambda: functional.attend(X, jnp.ones((4, 5))),
        lambda: functional.attend(X, jnp.ones((4, 3))),
    ),
    Remedy(
        "The first dimension of lora_a must equal the inputs' last.",
        lambda: functional.lora(X, KERNEL.T, KERNEL),
        lambda: functional.lora(X, KERNEL, KERNEL.T),
    ),
    Remedy(
        "Pass one stride for each dimension of the window.",
        lambda: functional.max_pool(IMAGE, (2, 2), strides=(2,)),
        lambda: functional.max_pool(IMAGE, (2, 2), strides=(2, 2)),
    ),
    Remedy(
        "Pass one entry for each spatial dimension, e.g. (2, 2) for images.",
        lambda: functional.max_pool(IMAGE, 2),
        lambda: functional.max_pool(IMAGE, (2, 2)),
    ),
    Remedy(
        "Split the inputs' features and apply one ConvLocal to each part.",
        lambda: init(linen.ConvLocal(2, (3, 3), feature_group_count=3), IMAGE),
        lambda: [init(linen.ConvLocal(1, (3, 3)), part) for part in jnp.split(IMAGE, 3, axis=-1)],
    ),
    Remedy(
        "Leave conv_general_dilated and conv_general_dilated_cls out.",
        lambda: init(
            linen.ConvLocal(2, (3, 3), conv_general_dilated=jax.lax.conv_general_dilated), IMAGE
        ),
        lambda: init(linen.ConvLocal(2, (3, 3)), IMAGE),
    ),
    Remedy(
        "The layer was made with",
        lambda: nnx.Linear(4, 2, rngs=Rngs(0))(X),
        lambda: nnx.Linear(3, 2, rngs=Rngs(0))(X),
    ),
    Remedy(
        "The layer was made with in_features=",
        lambda: nnx.LinearGeneral(4, 2, rngs=Rngs(0))(X),
        lambda: nnx.LinearGeneral(3, 2, rngs=Rngs(0))(X),
    ),
    Remedy(
        "Pass one size for each contracted dimension.",
        lambda: nnx.LinearGeneral((2, 3), 2, axis=-1, rngs=Rngs(0)),
        lambda: nnx.LinearGeneral((2, 3), 2, axis=(-2, -1), rngs=Rngs(0))(X),
    ),
    Remedy(
        "pass rngs to the call, or turn dropout off with `model.eval()`.",
        lambda: nnx.Dropout(0.5)(X),
        lambda: [
            nnx.Dropout(0.5, rngs=Rngs(0))(X),
            nnx.Dropout(0.5)(X, rngs=Rngs(0)),
            evaluated(nnx.Dropout(0.5)),
        ],
    ),
    Remedy(
        "Write rngs=nnx.Rngs(0). Calls accept a bare key; the constructor does not.",
        lambda: nnx.Dropout(0.5, rngs=KEY),
        lambda: [nnx.Dropout(0.5, rngs=Rngs(0))(X), nnx.Dropout(0.5)(X, rngs=KEY)],
    ),
    Remedy(
        "Pass a module that maps the same inputs, such as nnx.Linear.",
        lambda: nnx.LoRA(3, 2, 4, base_module=KERNEL, rngs=Rngs(0)),
        lambda: nnx.LoRA(3, 2, 4, base_module=nnx.Linear(3, 4, rngs=Rngs(0)), rngs=Rngs(0))(X),
    ),
    Remedy(
        "Pass a Linear or LinearGeneral as base_module.",
        lambda: nnx.LoRA(3, 2, 4, rngs=Rngs(0)).merge(),
        lambda: nnx.LoRA(3, 2, 4, base_module=nnx.Linear(3, 4, rngs=Rngs(0)), rngs=Rngs(0)).merge(),
    ),
    Remedy(
        "Call unmerge() first.",
        lambda: merged_twice(False),
        lambda: merged_twice(True),
    ),
    Remedy(
        "Only merge(keep=True) can be undone; merge() sets the adapter to zero.",
        lambda: unmerged(False),
        lambda: unmerged(True),
    ),
    Remedy(
        "Call the layer within `with jax.set_mesh(mesh)`, or pass a NamedSharding.",
        lambda: functional.dense(X, KERNEL, out_sharding=BATCH),
        lambda: [
            on_mesh(AxisType.Explicit, lambda: functional.dense(X, KERNEL, out_sharding=BATCH)),
            functional.dense(X, KERNEL, out_sharding=NamedSharding(EXPLICIT, BATCH)),
        ],
    ),
    Remedy(
        "Make the mesh with axes of AxisType.Explicit, or constrain the output: "
        "jax.lax.with_sharding_constraint(y, sharding).",
        lambda: on_mesh(AxisType.Auto, lambda: functional.conv(IMAGE, WINDOW, out_sharding=BATCH)),
        lambda: [
            on_mesh(AxisType.Explicit, lambda: functional.conv(IMAGE, WINDOW, out_sharding=BATCH)),
            on_mesh(
                AxisType.Auto,
                lambda: jax.lax.with_sharding_constraint(functional.dense(X, KERNEL), BATCH),
            ),
        ],
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
