"""Runs qwix's documented uses on linen and nnx models, and prints the results as JSON.

    python tools/parity/qwix_programs.py flax|linnet PROGRAM

Each library needs its own process: qwix imports the package called `flax`, and patches functions.
"""

from __future__ import annotations

import json
import sys


def main(library, names):
    """Runs programs, and prints a line of JSON for each."""
    if library == "linnet":
        from linnet import flax

        flax.install()
    for name in names:
        print(json.dumps({"program": name, "shown": shown(globals()[name]())}))


def shown(tree):
    """Leaves by path, with dtype, shape and values."""
    import jax
    import numpy as np

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): [
            str(leaf.dtype),
            np.asarray(leaf.astype("float32")).tolist(),
        ]
        for path, leaf in leaves
    }


def linen_model():
    """A model with dense layers, a convolution and attention, and its input."""
    import jax
    from flax import linen as nn

    class MLP(nn.Module):
        hidden: int
        out: int

        @nn.compact
        def __call__(self, x):
            x = nn.Dense(self.hidden, use_bias=False)(x)
            x = nn.relu(x)
            x = nn.Conv(4, (3,))(x)
            x = nn.DenseGeneral(4, axis=-1)(x)
            x = nn.Einsum((4, 4), "abc,cd->abd")(x)
            return nn.Dense(self.out)(x)

    return MLP(8, 3), jax.random.uniform(jax.random.key(0), (2, 5, 4))


def nnx_model():
    """The same model in nnx."""
    import jax
    from flax import nnx

    class MLP(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(4, 8, use_bias=False, rngs=rngs)
            self.conv = nnx.Conv(8, 4, (3,), rngs=rngs)
            self.einsum = nnx.Einsum("abc,cd->abd", (4, 4), (4,), rngs=rngs)
            self.last = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.einsum(self.conv(nnx.relu(self.first(x)))))

    return MLP(nnx.Rngs(0)), jax.random.uniform(jax.random.key(0), (2, 5, 4))


def rules(**options):
    """One rule for all modules."""
    import qwix

    return [qwix.QuantizationRule(module_path=".*", **options)]


def linen_ptq():
    """Post-training quantization: abstract parameters, quantized ones, the output."""
    import jax
    import qwix

    model, x = linen_model()
    params = model.init(jax.random.key(0), x)["params"]
    quantized = qwix.quantize_model(
        model, qwix.PtqProvider(rules(weight_qtype="int8", act_qtype="int8"))
    )
    abstract = jax.eval_shape(quantized.init, jax.random.key(0), x)["params"]
    weights = qwix.quantize_params(params, abstract)
    again = model.apply({"params": params}, x)  # the model itself is unchanged
    jitted = jax.jit(model.apply)({"params": params}, x)
    return weights, quantized.apply({"params": weights}, x), again, jitted


def linen_qat():
    """Quantization-aware training: parameters, output, gradients, statistics of activations."""
    import jax
    import jax.numpy as jnp
    import qwix

    model, x = linen_model()
    options = {"weight_qtype": "int8", "act_qtype": "int8", "act_static_scale": True}
    trained = qwix.quantize_model(model, qwix.QtProvider(rules(**options)))
    variables = trained.init(jax.random.key(0), x)
    y, state = trained.apply(variables, x, mutable=["quant_stats"])

    def loss(params):
        return jnp.sin(trained.apply({**variables, **state, "params": params}, x)).sum()

    return variables, y, state, jax.jit(jax.grad(loss))(variables["params"])


def linen_lora():
    """LoRA: parameters and output."""
    import jax
    import qwix

    model, x = linen_model()
    provider = qwix.LoraProvider(module_path=".*Dense.*", rank=2, alpha=1.0)
    adapted = qwix.apply_lora_to_model(model, provider)
    variables = adapted.init({"params": jax.random.key(0)}, x)
    return variables, adapted.apply(variables, x)


def linen_qlora():
    """LoRA over quantized weights."""
    import jax
    import qwix

    model, x = linen_model()
    provider = qwix.LoraProvider(module_path=".*Dense.*", rank=2, alpha=1.0, weight_qtype="int8")
    adapted = qwix.apply_lora_to_model(model, provider)
    variables = adapted.init({"params": jax.random.key(0)}, x)
    return variables, adapted.apply(variables, x)


def linen_static():
    """Static ranges of activations, in a model with attention, a lifted class and a cell."""
    import jax
    import jax.numpy as jnp
    import qwix
    from flax import linen as nn

    class Tagger(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(7, 8)(tokens)
            x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
            x = nn.remat(nn.Dense)(8)(x)
            return nn.Dense(4)(nn.relu(nn.GRUCell(8)(x[:, 0], x[:, 0])[1]))

    tokens = jnp.arange(6).reshape(2, 3)
    options = {"weight_qtype": "int8", "act_qtype": "int8", "act_static_scale": True}
    quantized = qwix.quantize_model(Tagger(), qwix.PtqProvider(rules(**options)))
    variables = quantized.init(jax.random.key(0), tokens)
    jitted = jax.jit(quantized.apply)(variables, tokens)
    return variables, quantized.apply(variables, tokens), jitted


def nnx_ptq():
    """Post-training quantization of an nnx model, and of parameters into an abstract one."""
    import jax
    import qwix
    from flax import nnx

    model, x = nnx_model()
    provider = qwix.PtqProvider(rules(weight_qtype="int8", act_qtype="int8"))
    quantized = qwix.quantize_model(model, provider, x)
    abstract = nnx.eval_shape(lambda: qwix.quantize_model(nnx_model()[0], provider, x))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    weights = qwix.quantize_params(params, abstract)
    nnx.update(abstract, weights)
    jitted = nnx.jit(lambda model, x: model(x))(quantized, x)
    state = jax.tree.leaves(nnx.state(quantized))
    return state, quantized(x), jitted, abstract(x), model(x)


def nnx_qat():
    """Quantization-aware training of an nnx model: statistics, outputs, gradients."""
    import jax
    import jax.numpy as jnp
    import qwix
    from flax import nnx

    model, x = nnx_model()
    options = {"weight_qtype": "int8", "act_qtype": "int8"}
    trained = qwix.quantize_model(model, qwix.QtProvider(rules(**options)), x)
    first = trained(x)
    grads = nnx.jit(nnx.grad(lambda model, x: jnp.sin(model(x)).sum()))(trained, x)
    return first, jax.tree.leaves(grads), jax.tree.leaves(nnx.state(trained))


def nnx_lora():
    """LoRA on an nnx model: gradients of only the new parameters."""
    import jax
    import jax.numpy as jnp
    import qwix
    from flax import nnx

    model, x = nnx_model()
    provider = qwix.LoraProvider(module_path=".*(first|last)", rank=2, alpha=1.0)
    adapted = qwix.apply_lora_to_model(model, provider, x, rngs=nnx.Rngs(1))
    where = nnx.DiffState(0, nnx.LoRAParam)
    grads = nnx.grad(lambda model, x: jnp.sin(model(x)).sum(), argnums=where)(adapted, x)
    return adapted(x), jax.tree.leaves(grads), jax.tree.leaves(nnx.state(adapted))


def nnx_qlora():
    """LoRA over quantized weights of an nnx model."""
    import jax
    import qwix
    from flax import nnx

    model, x = nnx_model()
    provider = qwix.LoraProvider(
        module_path=".*(first|last)", rank=2, alpha=1.0, weight_qtype="int8"
    )
    adapted = qwix.apply_lora_to_model(model, provider, x, rngs=nnx.Rngs(1))
    return adapted(x), jax.tree.leaves(nnx.state(adapted))


PROGRAMS = (
    "linen_ptq",
    "linen_qat",
    "linen_lora",
    "linen_qlora",
    "linen_static",
    "nnx_ptq",
    "nnx_qat",
    "nnx_lora",
    "nnx_qlora",
)

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or list(PROGRAMS))
