"""What to write in linen for names of PyTorch, Keras and Haiku.

A ported program, or a user of such a library, asks for `nn.Linear` or `nn.ReLU`. The error about
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
    "Linear": "Write nn.Dense(features): the inputs' size is seen when it is called.",
    "Embedding": "Write nn.Embed(num_embeddings, features).",
    "Parameter": 'Write self.param("scale", nn.initializers.ones, shape) in setup or a compact '
    "method.",
    "ModuleList": "Assign a list of modules to self in setup, or loop in an nn.compact method.",
    "ModuleDict": "Assign a dict of modules to self in setup.",
    "MultiheadAttention": "Write nn.MultiHeadAttention(num_heads).",
    "BatchNormalization": "Write nn.BatchNorm(use_running_average=not train).",
    "LayerNormalization": "Write nn.LayerNorm().",
    "GroupNormalization": "Write nn.GroupNorm(num_groups).",
    "LSTM": "Write nn.RNN(nn.LSTMCell(features)).",
    "GRU": "Write nn.RNN(nn.GRUCell(features)).",
    "Flatten": "Write x.reshape(len(x), -1).",
    "CrossEntropyLoss": "Use optax.softmax_cross_entropy_with_integer_labels(logits, labels)"
    ".mean().",
    "MSELoss": "Write ((a - b) ** 2).mean().",
}
NAMES |= {name: f"It is a function: nn.{ours}(x)." for name, ours in _ACTIVATIONS.items()}
for _n in (1, 2, 3):
    _size, _two = (3,) * _n, (2,) * _n
    NAMES |= dict.fromkeys(
        (f"Conv{_n}d", f"Conv{_n}D"),
        f"Write nn.Conv(features, {_size}); channels are the last axis.",
    )
    NAMES |= dict.fromkeys(
        (f"ConvTranspose{_n}d", f"Conv{_n}DTranspose"),
        f"Write nn.ConvTranspose(features, {_size}).",
    )
    NAMES |= dict.fromkeys(
        (f"MaxPool{_n}d", f"MaxPooling{_n}D"),
        f"Write nn.max_pool(x, {_two}, strides={_two}).",
    )
    NAMES |= dict.fromkeys(
        (f"AvgPool{_n}d", f"AveragePooling{_n}D"),
        f"Write nn.avg_pool(x, {_two}, strides={_two}).",
    )
    NAMES[f"BatchNorm{_n}d"] = NAMES["BatchNormalization"]
    NAMES[f"InstanceNorm{_n}d"] = "Write nn.InstanceNorm()."
