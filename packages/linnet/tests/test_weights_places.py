"""Loaded values: their memory, dtype and devices, and the boxes around them."""

import jax
import jax.numpy as jnp
import numpy as np

from comparing import identical, near
from linnet import linen as nn
from linnet import nnx
from linnet.weights import from_torch, to_torch

from .torch_cases import case, linear, rngs, state_of


class FromTorch:
    """The part of a PyTorch tensor's interface that is used."""

    def __init__(self, array, dtype):
        self.array, self.dtype, self.shape = array, dtype, array.shape

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return FromTorch(self.array.astype(np.float32), "torch.float32")

    def numpy(self):
        assert self.dtype != "torch.bfloat16"
        return self.array


def test_tensors_of_pytorch():
    half = {k: v.astype(jnp.bfloat16) for k, v in state_of(weight=(7, 5), bias=(7,)).items()}
    tensors = {k: FromTorch(v, "torch.bfloat16") for k, v in half.items()}
    layer = from_torch(linear(param_dtype=jnp.bfloat16), tensors)
    identical(to_torch(layer), half)


def test_the_state_dict_may_change_later():
    state_dict = state_of(weight=(64, 64), bias=(64,))
    layer = from_torch(nnx.Linear(64, 64, rngs=rngs), state_dict)
    before = to_torch(layer)["bias"].copy()
    state_dict["bias"][:] = 0
    identical(to_torch(layer)["bias"], before)


def test_an_abstract_module():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    layer = nnx.eval_shape(linear)
    for variable in jax.tree.leaves(nnx.state(layer), is_leaf=lambda v: isinstance(v, nnx.Param)):
        value = variable.get_value()
        struct = jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)
        variable.set_value(struct)
    state_dict, [x], [expected] = case("linear")
    near(from_torch(layer, state_dict)(x), expected, 1e-5)


def test_boxes_stay():
    module = nn.Dense(7, kernel_init=nn.with_partitioning(nn.initializers.ones, (None, "x")))
    state_dict, [x], [expected] = case("linear")
    variables = module.init(jax.random.key(0), x)
    loaded = from_torch(module, state_dict, variables=variables)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    near(module.apply(nn.unbox(loaded), x), expected, 1e-5)
    identical(to_torch(module, variables=loaded), state_dict)


def test_places_and_dtypes_stay():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    state_dict, *_ = case("linear")
    layer = linear(param_dtype=jnp.bfloat16)
    layer.kernel[...] = jax.device_put(layer.kernel[...], sharding)
    from_torch(layer, state_dict)
    assert (layer.kernel[...].sharding, layer.kernel.dtype) == (sharding, jnp.bfloat16)
    identical(np.asarray(layer.kernel[...]), state_dict["weight"].T.astype(jnp.bfloat16))
    module = nn.Dense(7, param_dtype=jnp.bfloat16)
    place = jax.ShapeDtypeStruct((5, 7), jnp.float16, sharding=sharding)
    variables = {"params": {"kernel": place, "bias": jnp.zeros(7)}}
    kernel = from_torch(module, state_dict, variables=variables)["params"]["kernel"]
    assert (kernel.sharding, kernel.dtype) == (sharding, jnp.float16)
