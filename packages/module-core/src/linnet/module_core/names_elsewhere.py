"""Replacements for names from PyTorch and Keras that both styles lack, such as `ReLU` or `Conv2d`.

Each style has names of its own as well; `names_elsewhere` joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping

ACTIVATIONS = {
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

COMMON = {
    "Flatten": "Write x.reshape(len(x), -1).",
    "CrossEntropyLoss": "Use optax.softmax_cross_entropy_with_integer_labels(logits, labels)"
    ".mean().",
    "MSELoss": "Write ((a - b) ** 2).mean().",
}


def names_elsewhere(style: str, own: Mapping[str, str], conv: str, norm: str) -> dict[str, str]:
    """The replacement for each name.

    Args:
      style: the name of the style in a program, `nn` or `nnx`.
      own: the style's own names.
      conv: the arguments of a convolution, with {size} for its window.
      norm: the arguments of InstanceNorm.

    >>> names_elsewhere("nn", {"BatchNormalization": "..."}, "features, {size}", "")["Conv2d"]
    'Write nn.Conv(features, (3, 3)); channels are the last axis.'
    """
    names = {**COMMON, **own}
    names |= {name: f"It is a function: {style}.{ours}(x)." for name, ours in ACTIVATIONS.items()}
    for n in (1, 2, 3):
        arguments, window = conv.format(size=(3,) * n), (2,) * n
        for torch, keras, ours in (
            (f"Conv{n}d", f"Conv{n}D", f"Conv({arguments}); channels are the last axis."),
            (f"ConvTranspose{n}d", f"Conv{n}DTranspose", f"ConvTranspose({arguments})."),
            (f"MaxPool{n}d", f"MaxPooling{n}D", f"max_pool(x, {window}, strides={window})."),
            (f"AvgPool{n}d", f"AveragePooling{n}D", f"avg_pool(x, {window}, strides={window})."),
        ):
            names[torch] = names[keras] = f"Write {style}.{ours}"
        names[f"BatchNorm{n}d"] = own["BatchNormalization"]
        names[f"InstanceNorm{n}d"] = f"Write {style}.InstanceNorm({norm})."
    return names
