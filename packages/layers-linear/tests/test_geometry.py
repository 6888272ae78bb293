"""How many windows fit: ConvLocal must know before it computes anything."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.layers_linear import functional
from linnet.module_core.errors import ShapeError

named = st.sampled_from(["SAME", "VALID", "SAME_LOWER", "CIRCULAR", "REFLECT", "REPLICATE"])
amounts = st.integers(0, 4) | st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(
    spatial=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel_dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    input_dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=named | st.tuples(amounts, amounts),
)
@settings(deadline=None, max_examples=150)
def test_conv_local_has_as_many_positions_as_conv(
    spatial, window, strides, kernel_dilation, input_dilation, padding
):
    geometry = {
        "strides": strides,
        "padding": padding,
        "kernel_dilation": kernel_dilation,
        "input_dilation": 1 if isinstance(padding, str) else input_dilation,
    }
    x = jax.ShapeDtypeStruct((2, *spatial, 3), jnp.float32)
    kernel = jax.ShapeDtypeStruct((*window, 3, 4), jnp.float32)
    try:
        shared = jax.eval_shape(lambda x, k: functional.conv(x, k, **geometry), x, kernel)
    except ShapeError:
        with pytest.raises(ShapeError, match="does not fit"):
            functional.conv_local_shapes(x.shape, 4, window, **geometry)
        return
    shapes = functional.conv_local_shapes(x.shape, 4, window, **geometry)
    assert shapes.bias == shared.shape[1:]
    assert shapes.kernel == (*shared.shape[1:3], 3 * window[0] * window[1], 4)
    assert 0 not in shapes.kernel
    local = jax.ShapeDtypeStruct(shapes.kernel, jnp.float32)
    own = jax.eval_shape(
        lambda x, k: functional.conv_local(x, k, kernel_size=window, **geometry), x, local
    )
    assert own.shape == shared.shape


@given(
    size=st.integers(1, 7),
    window=st.integers(1, 9),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    transpose_kernel=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_circular_and_same_conv_transpose_multiply_the_size(
    size, window, stride, dilation, transpose_kernel
):
    x = jax.ShapeDtypeStruct((2, size, 3), jnp.float32)
    kernel = jax.ShapeDtypeStruct((window, 3, 3), jnp.float32)
    for padding in ("CIRCULAR", "SAME"):
        options = {
            "strides": stride,
            "kernel_dilation": dilation,
            "transpose_kernel": transpose_kernel,
            "padding": padding,
        }
        y = jax.eval_shape(partial(functional.conv_transpose, **options), x, kernel)
        assert y.shape == (2, size * stride, 3)
