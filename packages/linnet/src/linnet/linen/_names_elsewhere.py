"""Hints about the linen equivalents of names from PyTorch, Keras and Haiku.

A ported program, or a user of such a library, asks for `nn.Linear` or `nn.ReLU`. The error about
the missing name then says what replaces it here.
"""

from __future__ import annotations

from linnet.module_core.names_elsewhere import names_elsewhere

_OWN = {
    "Linear": "Write nn.Dense(features): the inputs' size is inferred when it is called.",
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
}
NAMES = names_elsewhere("nn", _OWN, conv="features, {size}", norm="")
