"""States and modules of nnx as bytes: the errors' remedies, followed."""

import jax
import numpy as np
import pytest

from linnet import nnx
from linnet.struct.serialization import NotSerializableError, msgpack_restore, to_bytes


def test_a_state_and_a_module_say_how_they_become_bytes():
    model, other = (nnx.Linear(3, 2, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    state = nnx.state(model)
    for value in (state, model, {"a": state}, {"a": [model]}):
        with pytest.raises(NotSerializableError, match=r"nnx\.to_pure_dict"):
            to_bytes(value)
    encoded = to_bytes(nnx.to_pure_dict(nnx.state(model)))
    state = nnx.state(other)
    nnx.replace_by_pure_dict(state, msgpack_restore(encoded))
    nnx.update(other, state)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), nnx.state(other))
