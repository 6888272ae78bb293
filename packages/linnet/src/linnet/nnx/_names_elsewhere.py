"""Hints about the nnx equivalents of names from linen, PyTorch and Keras.

A ported program, or a user of such a library, asks for `nnx.Dense` or `nnx.ReLU`. The error about
the missing name then says what replaces it here.
"""

from __future__ import annotations

from linnet.module_core.names_elsewhere import names_elsewhere

_OWN = {
    "Dense": "Write nnx.Linear(in_features, out_features, rngs=rngs).",
    "Embedding": "Write nnx.Embed(num_embeddings, features, rngs=rngs).",
    "DenseGeneral": "Write nnx.LinearGeneral(in_features, out_features, rngs=rngs).",
    "Parameter": "Write nnx.Param(array).",
    "Buffer": "Write nnx.Variable(array), or a subclass of it such as nnx.BatchStat.",
    "compact": "Make layers in __init__, with rngs=rngs. Only linen and nnx.bridge.Module have "
    "compact methods.",
    "ModuleList": "Write nnx.List([...]), or a Python list.",
    "ModuleDict": "Write nnx.Dict(name=module, ...), or a Python dict.",
    "MultiheadAttention": "Write nnx.MultiHeadAttention(num_heads, in_features, "
    "decode=False, rngs=rngs).",
    "BatchNormalization": "Write nnx.BatchNorm(num_features, rngs=rngs).",
    "LayerNormalization": "Write nnx.LayerNorm(num_features, rngs=rngs).",
    "GroupNormalization": "Write nnx.GroupNorm(num_features, num_groups, rngs=rngs).",
    "LSTM": "Write nnx.RNN(nnx.LSTMCell(in_features, hidden_features, rngs=rngs)).",
    "GRU": "Write nnx.RNN(nnx.GRUCell(in_features, hidden_features, rngs=rngs)).",
}
NAMES = names_elsewhere(
    "nnx", _OWN, conv="in_features, out_features, {size}, rngs=rngs", norm="num_features, rngs=rngs"
)
