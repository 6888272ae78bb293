"""Replacements for attributes that modules of PyTorch, Keras or the other style have.

A ported program writes `model.parameters()` or `model.apply(variables, x)`. The error about the
missing attribute then says what replaces it here. The tables are read only when an attribute is
missing.
"""

from __future__ import annotations

from collections.abc import Mapping

_NO_RESET = "Remove the call: each call to {}.grad returns new gradients."


def _table(hints: Mapping[str, str]) -> dict[str, str]:
    """A table with one name in each key, from a table with several names in each key."""
    return {name: hint for names, hint in hints.items() for name in names.split()}


NNX = _table(
    {
        "apply forward": "A module holds its variables: write y = module(x), which calls __call__.",
        "init": "A module has its variables as soon as it is made: write y = module(x).",
        "params parameters weights get_weights trainable_variables trainable_weights": "Write"
        " nnx.state(module, nnx.Param).",
        "named_parameters": "Write nnx.to_flat_state(nnx.state(module, nnx.Param)), which has pairs"
        " of path and variable.",
        "variables buffers": "Write nnx.state(module).",
        "state_dict": "Write nnx.to_pure_dict(nnx.state(module)).",
        "load_state_dict set_weights": "Write nnx.update(module, state); linnet.weights reads"
        " PyTorch's files.",
        "to cuda cpu": "jax uses an accelerator if there is one. Elsewhere: nnx.update(module,"
        " jax.device_put(nnx.state(module), device)).",
        "half bfloat16 float double": "Pass dtype=jnp.bfloat16 to the layers for the computation,"
        " and param_dtype=jnp.bfloat16 for the parameters.",
        "zero_grad": _NO_RESET.format("nnx"),
        "requires_grad_": "Choose what to differentiate: nnx.grad(loss,"
        " argnums=nnx.DiffState(0, nnx.PathContains('head'))).",
        "children": "Write [child for _, child in module.iter_children()].",
        "named_children": "Write module.iter_children().",
        "modules named_modules": "Write module.iter_modules(), which has pairs of path and module.",
        "weight": "A layer's weight is module.kernel; that of a normalization is module.scale, and"
        " that of an embedding module.embedding.",
        "summary": "Write print(nnx.tabulate(module, x)).",
        "param": "Write self.kernel = nnx.Param(array) in __init__.",
        "variable register_buffer": "Write self.count = nnx.Variable(array) in __init__.",
        "make_rng": "Store streams in __init__, self.rngs = rngs, and write key ="
        " self.rngs.dropout().",
    }
)

LINEN = _table(
    {
        "params parameters named_parameters weights get_weights trainable_variables"
        " trainable_weights state_dict buffers": "A module holds no arrays: variables ="
        " module.init(key, x), and variables['params'] are the parameters.",
        "load_state_dict set_weights": "Pass the variables to each call: module.apply(variables,"
        " x); linnet.weights reads PyTorch's files.",
        "forward": "Outside other modules, write y = module.apply(variables, x), which calls"
        " __call__.",
        "to cuda cpu": "A module holds no arrays: move the variables, jax.device_put(variables,"
        " device).",
        "half bfloat16 float double": "Pass dtype=jnp.bfloat16 to the layers for the computation,"
        " and param_dtype=jnp.bfloat16 for the parameters.",
        "zero_grad": _NO_RESET.format("jax"),
        "train eval": "A module has no mode: give __call__ an argument, such as train, and write"
        " module.apply(variables, x, train=False).",
        "weight": "A module holds no arrays: a layer's weight is variables['params']['kernel'].",
        "summary": "Write print(module.tabulate(key, x)).",
    }
)
