"""A list of sizes where one size belongs."""

import jax
import jax.numpy as jnp
import pytest

from linnet.layers_linear import linen as nn
from linnet.module_core.errors import ArgumentTypeError


def test_several_sizes_for_one_layer():
    with pytest.raises(ArgumentTypeError, match="'features' must be an integer") as caught:
        nn.Dense([64, 64]).init(jax.random.key(0), jnp.ones((2, 3)))
    assert "several layers are made one by one" in str(caught.value)
