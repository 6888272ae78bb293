"""What to write in nnx for names of linen, PyTorch and Keras.

A ported program, or a user of such a library, asks for `nnx.Dense` or `nnx.ReLU`. The error about
the missing name then says what replaces it here.
"""

from __future__ import annotations

_ACTIVATIONS = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "CELU": "celu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Swish": "swish",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "log_sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Softplus": "softplus",
    "Hardtanh": "hard_tanh",
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_swish",
}

NAMES: dict[str, str] = {
    "Dense": "Write nnx.Linear(in_features, out_features, rngs=rngs).",
    "Embedding": "Write nnx.Embed(num_embeddings, features, rngs=rngs).",
    "DenseGeneral": "Write nnx.LinearGeneral(in_features, out_features, rngs=rngs).",
    "Parameter": "Write nnx.Param(array).",
    "Buffer": "Write nnx.Variable(array), or a subclass of it such as nnx.BatchStat.",
    "compact": "Make layers in __init__, with rngs=rngs. Compact methods are those of linen, and "
    "of nnx.bridge.Module.",
    "ModuleList": "Write nnx.List([...]), or a Python list.",
    "ModuleDict": "Write nnx.Dict(name=module, ...), or a Python dict.",
    "MultiheadAttention": "Write nnx.MultiHeadAttention(num_heads, in_features, "
    "decode=False, rngs=rngs).",
    "BatchNormalization": "Write nnx.BatchNorm(num_features, rngs=rngs).",
    "LayerNormalization": "Write nnx.LayerNorm(num_features, rngs=rngs).",
    "GroupNormalization": "Write nnx.GroupNorm(num_features, num_groups, rngs=rngs).",
    "LSTM": "Write nnx.RNN(nnx.LSTMCell(in_features, hidden_features, rngs=rngs)).",
    "GRU": "Write nnx.RNN(nnx.GRUCell(in_features, hidden_features, rngs=rngs)).",
    "Flatten": "Write x.reshape(len(x), -1).",
    "CrossEntropyLoss": "Use optax.softmax_cross_entropy_with_integer_labels(logits, labels)"
    ".mean().",
    "MSELoss": "Write ((a - b) ** 2).mean().",
}
NAMES |= {name: f"It is a function: nnx.{ours}(x)." for name, ours in _ACTIVATIONS.items()}
for _n in (1, 2, 3):
    _size, _two = (3,) * _n, (2,) * _n
    NAMES |= dict.fromkeys(
        (f"Conv{_n}d", f"Conv{_n}D"),
        f"Write nnx.Conv(in_features, out_features, {_size}, rngs=rngs).",
    )
    NAMES |= dict.fromkeys(
        (f"ConvTranspose{_n}d", f"Conv{_n}DTranspose"),
        f"Write nnx.ConvTranspose(in_features, out_features, {_size}, rngs=rngs).",
    )
    NAMES |= dict.fromkeys(
        (f"MaxPool{_n}d", f"MaxPooling{_n}D"),
        f"Write nnx.max_pool(x, {_two}, strides={_two}).",
    )
    NAMES |= dict.fromkeys(
        (f"AvgPool{_n}d", f"AveragePooling{_n}D"),
        f"Write nnx.avg_pool(x, {_two}, strides={_two}).",
    )
    NAMES[f"BatchNorm{_n}d"] = NAMES["BatchNormalization"]
    NAMES[f"InstanceNorm{_n}d"] = "Write nnx.InstanceNorm(num_features, rngs=rngs)."
