"""Mistakes in programs: sizes, the order of axes, and windows that are too large."""

import jax
import jax.numpy as jnp
import pytest

from linnet.layers_linear import functional, nnx
from linnet.layers_linear import linen as nn
from linnet.module_core.errors import ArgumentTypeError, ScopeParamShapeError, ShapeError
from linnet.module_core.linen import with_partitioning
from linnet.module_core.nnx import Rngs

KEY = jax.random.key(0)
SMALL = jnp.ones((1, 2, 2, 3))


def test_several_sizes_for_one_layer():
    with pytest.raises(ArgumentTypeError, match="'features' must be an integer") as caught:
        nn.Dense([64, 64]).init(jax.random.key(0), jnp.ones((2, 3)))
    assert "create several layers one by one" in str(caught.value)


EMPTY = {
    "Conv": lambda x: nn.Conv(2, (5, 5), padding="VALID").init(KEY, x),
    "Conv, dilated": lambda x: nn.Conv(2, (2, 2), kernel_dilation=2, padding=0).init(KEY, x),
    "Conv, one dimension": lambda x: nn.Conv(2, (1, 3), padding="VALID").init(KEY, x),
    "ConvLocal": lambda x: nn.ConvLocal(2, (5, 5), padding="VALID").init(KEY, x),
    "ConvTranspose": lambda x: nn.ConvTranspose(2, (3, 3), padding=0).init(KEY, x),
    "Conv of nnx": lambda x: nnx.Conv(3, 2, (5, 5), padding="VALID", rngs=Rngs(0))(x),
    "ConvTranspose of nnx": lambda x: nnx.ConvTranspose(3, 2, (3, 3), padding=0, rngs=Rngs(0))(x),
    "max_pool": lambda x: nn.max_pool(x, (3, 3)),
    "min_pool": lambda x: nn.min_pool(x, (3, 1), (2, 2)),
    "avg_pool": lambda x: functional.avg_pool(x, (1, 3), count_include_pad=False),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_window_that_fits_nowhere(name):
    with pytest.raises(ShapeError) as info:
        EMPTY[name](SMALL)
    words = ["window of size", "does not fit into inputs of (2, 2)", "padding='SAME'"]
    words.append("pooling" if "pool" in name else name.split(",")[0].split(" of ")[0])
    assert all(word in str(info.value) for word in words), info.value


def test_inputs_without_positions_are_taken():
    x = jnp.ones((2, 0, 4, 3))
    assert nn.max_pool(x, (2, 2)).shape == (2, 0, 3, 3)
    y, _ = nn.Conv(5, (3, 3), padding="VALID").init_with_output(KEY, x)
    assert y.shape == (2, 0, 2, 5)
    assert nn.max_pool(jnp.ones((0, 4, 4, 3)), (2, 2)).shape == (0, 3, 3, 3)


CHANNELS_FIRST = {
    "Conv": nn.Conv(8, (3, 3)),
    "Conv in groups": nn.Conv(8, (3, 3), feature_group_count=2),
    "Conv with a boxed kernel": nn.Conv(
        8, (3, 3), kernel_init=with_partitioning(jax.nn.initializers.ones, (None,) * 4)
    ),
    "ConvTranspose": nn.ConvTranspose(8, (3, 3)),
    "ConvTranspose, transposed": nn.ConvTranspose(8, (3, 3), transpose_kernel=True),
}


@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_first(name):
    layer = CHANNELS_FIRST[name]
    x = jnp.ones((1, 6, 6, 4))
    variables = layer.init(KEY, x)
    with pytest.raises(ScopeParamShapeError) as info:
        layer.apply(variables, jnp.moveaxis(x, -1, -3))
    hint = str(info.value).splitlines()[-1]
    assert "Channels come last" in hint
    assert "4 channels in dimension 1" in hint
    moved = eval(hint.partition("Move them: ")[2][:-1], {"jnp": jnp, "x": jnp.moveaxis(x, -1, -3)})
    assert layer.apply(variables, moved).shape == (1, 6, 6, 8)
    with pytest.raises(ScopeParamShapeError, match="differently shaped input"):
        layer.apply(variables, jnp.ones((1, 6, 6, 2)))


@pytest.mark.parametrize("cls", [nnx.Conv, nnx.ConvTranspose])
def test_channels_first_of_nnx(cls):
    layer = cls(4, 8, (3, 3), rngs=Rngs(0))
    with pytest.raises(ShapeError, match="Channels come last.*jnp.moveaxis"):
        layer(jnp.ones((1, 4, 6, 6)))
    with pytest.raises(ShapeError, match="in_features=4"):
        layer(jnp.ones((1, 6, 6, 2)))


@pytest.mark.parametrize("layer", [nn.Conv, nn.ConvTranspose])
@pytest.mark.parametrize("name", ["same", "Valid", "circular"])
def test_paddings_are_read_in_any_case(layer, name):
    x = jnp.ones((1, 6, 2))
    found, expected = (
        layer(3, (3,), padding=padding).init_with_output(KEY, x)[0]
        for padding in (name, name.upper())
    )
    assert (found == expected).all()
