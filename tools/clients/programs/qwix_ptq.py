# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["qwix==0.1.8", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "qwix"
# ///
"""A linen and an nnx model, quantized by qwix after and during training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import qwix
from flax import nnx
from showing import show, step


class LinenModel(nn.Module):
    """Two dense layers."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="down")(nn.relu(nn.Dense(32, name="up")(x)))


class NnxModel(nnx.Module):
    """Two linear layers."""

    def __init__(self, rngs):
        self.up = nnx.Linear(16, 32, rngs=rngs)
        self.down = nnx.Linear(32, 4, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.relu(self.up(x)))


def rules(**settings):
    """8-bit integers for weights and activations."""
    return [qwix.QuantizationRule(weight_qtype=jnp.int8, act_qtype=jnp.int8, **settings)]


def main():
    """Quantizes both models in both ways."""
    x = jax.random.normal(jax.random.key(1), (8, 16))
    model = LinenModel()
    variables = model.init(jax.random.key(0), x)
    ptq = qwix.quantize_model(model, qwix.PtqProvider(rules()))
    abstract = jax.eval_shape(ptq.init, jax.random.key(0), x)["params"]
    quantized = qwix.quantize_params(variables["params"], abstract)
    y = jax.jit(ptq.apply)({"params": quantized}, x)
    step()
    show("linen params", quantized)
    show("linen outputs", y)

    trained = qwix.quantize_model(model, qwix.QtProvider(rules()))

    def loss_of(variables):
        return (trained.apply(variables, x) ** 2).mean()

    loss, gradients = jax.jit(jax.value_and_grad(loss_of))(variables)
    show("linen loss", loss)
    show("linen gradients", gradients)

    nnx_model = NnxModel(nnx.Rngs(0))
    show("nnx state", nnx.to_pure_dict(nnx.state(nnx_model)))
    nnx_ptq = qwix.quantize_model(nnx_model, qwix.PtqProvider(rules()), x)
    show("nnx outputs", nnx.jit(nnx_ptq)(x))
    lora = qwix.LoraProvider(module_path=".*up", rank=2, alpha=1.0)
    adapted = qwix.apply_lora_to_model(nnx_model, lora, x, rngs=nnx.Rngs(params=3))
    show("nnx adapted", nnx.to_pure_dict(nnx.state(adapted, nnx.LoRAParam)))
    show("nnx adapted outputs", adapted(x))


if __name__ == "__main__":
    main()
