"""Random programs of layers: which options, inputs and calls a layer may get.

`LINEN` and `NNX` have a function for each layer, which draws the rest of the program. The result
may be invalid, as long as both libraries raise an error. `layers` runs the programs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from .program import Program

Draw = random.Random

INPUT_TYPES = ("float32",) * 6 + ("bfloat16", "float16", "int32", "bool", "complex64")
TYPES = (None,) * 4 + ("float32", "bfloat16", "float16")
PARAMETER_TYPES = ("float32",) * 4 + ("bfloat16", "float16")
INITS = (None,) * 4 + (
    "zeros",
    "ones",
    "normal",
    "lecun_normal",
    "he_uniform",
    "orthogonal",
    "xavier_normal",
)


def generate_options(draw: Draw, table: dict[str, Any], chance: float = 0.4) -> dict[str, Any]:
    """Random options from a table, each with one of its values."""
    return {k: draw.choice(values) for k, values in table.items() if draw.random() < chance}


COMMON = {"use_bias": [True, False], "dtype": TYPES, "param_dtype": PARAMETER_TYPES}
INIT = {"kernel_init": INITS, "bias_init": ("zeros", "ones", "normal")}


def shape(draw: Draw, rank: int, sizes: tuple[int, ...] = (1, 2, 3, 4, 6)) -> list[int]:
    return [draw.choice(sizes) for _ in range(rank)]


def array(draw: Draw, dims: list[int], types: tuple[str, ...] = INPUT_TYPES) -> list[Any]:
    return ["array", dims, draw.choice(types)]


# -- linen ------------------------------------------------------------------------------------


def dense(draw: Draw) -> Program:
    return {
        "with": {"features": draw.choice([1, 3, 4])} | generate_options(draw, COMMON | INIT),
        "inputs": [array(draw, shape(draw, draw.choice([1, 2, 2, 3])))],
    }


def dense_general(draw: Draw) -> Program:
    axes = [-1, -2, 0, 1, ["tuple", -1, -2], ["tuple", -2, -1], ["tuple", 1, 2], ["tuple", 0]]
    table = COMMON | INIT | {"axis": axes, "batch_dims": [["tuple"], ["tuple", 0], ["tuple", 0, 1]]}
    features = draw.choice([3, ["tuple", 2, 3], ["tuple", 4], ["tuple"]])
    return {
        "with": {"features": features} | generate_options(draw, table),
        "inputs": [array(draw, shape(draw, draw.choice([2, 3, 4])))],
    }


def windows(draw: Draw, rank: int) -> dict[str, Any]:
    """Window, strides and padding of a convolution or a pooling."""

    def per_axis(*values: int) -> Any:
        return ["tuple", *(draw.choice(values) for _ in range(rank))]

    pairs = ["list", *(["tuple", draw.choice([0, 1, 2]), draw.choice([0, 1])] for _ in range(rank))]
    return {
        "strides": [1, 2, per_axis(1, 2), per_axis(1, 2, 3), None],
        "padding": ["SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", 0, 1, pairs, per_axis(0, 1)],
        "input_dilation": [1, 2, per_axis(1, 2)],
        "kernel_dilation": [1, 2, per_axis(1, 2)],
    }


def conv(draw: Draw) -> Program:
    rank = draw.choice([1, 1, 2, 2, 3])
    kernel: Any = ["tuple", *(draw.choice([1, 2, 3]) for _ in range(rank))]
    if rank == 1 and draw.random() < 0.4:
        kernel = draw.choice([1, 2, 3])
    table = COMMON | INIT | windows(draw, rank) | {"feature_group_count": [1, 2]}
    batch = shape(draw, draw.choice([0, 1, 1, 1, 2]), (1, 2))
    dims = [*batch, *shape(draw, rank, (1, 3, 4, 5)), draw.choice([1, 2, 4])]
    return {
        "with": {"features": draw.choice([1, 2, 4]), "kernel_size": kernel}
        | generate_options(draw, table, 0.3),
        "inputs": [array(draw, dims, ("float32",) * 4 + ("bfloat16", "int32", "complex64"))],
    }


def conv_transpose(draw: Draw) -> Program:
    made = conv(draw)
    for name in ("input_dilation", "feature_group_count"):
        made["with"].pop(name, None)
    return {
        **made,
        "with": made["with"] | generate_options(draw, {"transpose_kernel": [True, False]}),
    }


def conv_local(draw: Draw) -> Program:
    made = conv(draw)
    made["with"].pop("feature_group_count", None)
    return made


EQUATIONS = (
    ("abc,cde->abde", 3), ("ab,bc->ac", 2), ("...a,ab->...b", 2), ("abc,acd->abd", 3),
    ("ab,ab->ab", 2), ("ab,b->a", 2), ("bij,jk->bik", 3), ("aab,bc->ac", 3), ("ab,cb->ac", 2),
    ("ab,cd->abcd", 2),
)  # fmt: skip


def einsum(draw: Draw) -> Program:
    equation, rank = draw.choice(EQUATIONS)
    sizes = {letter: draw.choice([1, 2, 3]) for letter in "abcdeijk"}
    left, right = equation.split("->")[0].split(",")
    dims = [sizes[a] for a in left.replace("...", "")]
    dims = shape(draw, rank - len(dims)) + dims
    return {
        "with": {"shape": ["tuple", *(sizes[a] for a in right)], "einsum_str": equation}
        | generate_options(draw, COMMON | INIT),
        "inputs": [array(draw, dims, ("float32", "float32", "bfloat16", "int32"))],
    }


def embed(draw: Draw) -> Program:
    number = draw.choice([1, 2, 5])
    table = {"dtype": TYPES, "param_dtype": PARAMETER_TYPES, "embedding_init": INITS}
    made: Program = {
        "with": {"num_embeddings": number, "features": draw.choice([1, 3])}
        | generate_options(draw, table)
    }
    if draw.random() < 0.3:
        features = made["with"]["features"]
        return made | {"method": "attend", "inputs": [array(draw, [*shape(draw, 1), features])]}
    dims = shape(draw, draw.choice([0, 1, 2]))
    return made | {"inputs": [["whole", dims, draw.choice(["int32", "int8", "uint8"]), number]]}


def norm(*names: str) -> Callable[[Draw], Program]:
    """Draws a norm with these options."""

    def drawn(draw: Draw) -> Program:
        axes = [-1, -2, 0, 1, ["tuple", -1, -2], ["tuple", 1, 2], ["tuple", 0, 2]]
        table: dict[str, Any] = {
            "axis": [-1, 1, 0, ["tuple", 1, 2], ["tuple", -1, 1]],
            "momentum": [0.9, 0.5, 0.0, 1.0],
            "epsilon": [1e-3, 1e-6, 0.1],
            "dtype": TYPES,
            "param_dtype": PARAMETER_TYPES,
            "use_bias": [True, False],
            "use_scale": [True, False],
            "use_fast_variance": [True, False],
            "force_float32_reductions": [True, False],
            "scale_init": ["ones", "normal"],
            "bias_init": ["zeros", "normal"],
            "reduction_axes": axes,
            "feature_axes": axes,
            "num_groups": [1, 2, 3, 4, None],
            "group_size": [1, 2, 4, None],
        }
        options = generate_options(draw, {n: table[n] for n in names}, 0.3)
        if "num_groups" in names:
            options.setdefault("num_groups", draw.choice([1, 2]))
        rank = draw.choice([2, 2, 3, 4])
        dims = [draw.choice([1, 2, 3]) for _ in range(rank - 1)] + [draw.choice([1, 2, 4])]
        call: dict[str, Any] = {}
        if "momentum" in names:
            call["use_running_average"] = draw.random() < 0.4
        if draw.random() < 0.2:
            call["mask"] = ["mask", dims, "bool"]
        types = ("float32",) * 5 + ("bfloat16", "float16", "complex64", "int32")
        return {"with": options, "inputs": [array(draw, dims, types)], "call": call}

    return drawn


NORM = ("epsilon", "dtype", "param_dtype", "use_bias", "use_scale", "use_fast_variance",
        "force_float32_reductions", "scale_init", "bias_init")  # fmt: skip
RMS = tuple(n for n in NORM if not n.startswith(("use_bias", "bias_init")))


def dropout(draw: Draw) -> Program:
    dims = shape(draw, draw.choice([1, 2, 3]))
    axes = [["tuple"], ["tuple", 0], ["tuple", -1], ["tuple", 0, 1]]
    table = {"broadcast_dims": axes, "rng_collection": ["dropout", "other"]}
    return {
        "with": {"rate": draw.choice([0.0, 0.5, 0.1, 0.9])} | generate_options(draw, table),
        "inputs": [array(draw, dims, ("float32", "bfloat16", "int32", "complex64"))],
        "call": {"deterministic": draw.random() < 0.3},
    }


def prelu(draw: Draw) -> Program:
    table = {"param_dtype": PARAMETER_TYPES, "negative_slope_init": [0.2, 1.5]}
    return {
        "with": generate_options(draw, table),
        "inputs": [array(draw, shape(draw, 2), ("float32", "bfloat16", "int32"))],
    }


def attention(draw: Draw) -> Program:
    heads = draw.choice([1, 2, 3])
    table = COMMON | INIT | {
        "qkv_features": [None, heads, 2 * heads, 4],
        "out_features": [None, 3],
        "dropout_rate": [0.0, 0.5],
        "broadcast_dropout": [True, False],
        "normalize_qk": [True, False],
        "force_fp32_for_softmax": [True, False],
    }  # fmt: skip
    batch, q, kv, features = (
        shape(draw, draw.choice([0, 1, 1, 2]), (1, 2)),
        *shape(draw, 2),
        heads * 2,
    )
    types = ("float32",) * 4 + ("bfloat16", "float16")
    inputs = [array(draw, [*batch, q, features], types)]
    if draw.random() < 0.5:
        inputs.append(array(draw, [*batch, kv, draw.choice([features, features, 3])], types))
        if draw.random() < 0.4:
            inputs.append(["array", inputs[-1][1], inputs[-1][2]])
    call: dict[str, Any] = {"deterministic": draw.random() < 0.6}
    if draw.random() < 0.4:
        length = kv if len(inputs) > 1 else q
        heads_of_mask = draw.choice([1, heads])
        call["mask"] = [
            "mask",
            [*batch, heads_of_mask, q, length],
            draw.choice(["bool", "float32"]),
        ]
    if draw.random() < 0.2:
        call["sow_weights"] = True
    return {
        "with": {"num_heads": heads} | generate_options(draw, table, 0.3),
        "inputs": inputs,
        "call": call,
    }


def self_attention(draw: Draw) -> Program:
    made = attention(draw)
    call = made["call"] if len(made["inputs"]) == 1 else {"deterministic": True}
    return made | {"inputs": made["inputs"][:1], "call": call}


CELLS = ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell")


def cell_options(draw: Draw, name: str) -> dict[str, Any]:
    table: dict[str, Any] = {
        "dtype": TYPES,
        "param_dtype": PARAMETER_TYPES,
        "kernel_init": INITS,
        "recurrent_kernel_init": INITS,
        "bias_init": ("zeros", "ones", "normal"),
    }
    if name in ("LSTMCell", "OptimizedLSTMCell"):
        table |= {"gate_fn": ["sigmoid", "hard_sigmoid"], "activation_fn": ["tanh", "relu"]}
    if name == "SimpleCell":
        table |= {"residual": [True, False], "activation_fn": ["tanh", "relu"]}
    if name == "MGUCell":
        table |= {"forget_bias_init": ["ones", "zeros"], "reset_gate": [True, False]}
    return {"features": draw.choice([1, 3])} | generate_options(draw, table, 0.25)


RUN = {
    "time_major": [True, False], "return_carry": [True, False], "reverse": [True, False],
    "keep_order": [True, False], "unroll": [1, 2, 4],
}  # fmt: skip


def recurrent(draw: Draw) -> Program:
    cell = draw.choice([*CELLS, "MGUCell"])
    dims = [
        *shape(draw, draw.choice([1, 1, 1, 2]), (1, 2)),
        draw.choice([1, 2, 4]),
        draw.choice([1, 3]),
    ]
    call: dict[str, Any] = generate_options(
        draw, {k: v for k, v in RUN.items() if k != "unroll"}, 0.2
    )
    if draw.random() < 0.3 and len(dims) == 3:
        call["seq_lengths"] = ["whole", dims[:1], "int32", dims[1] + 1]
    return {
        "with": {"cell": ["layer", cell, cell_options(draw, cell)]}
        | generate_options(draw, RUN, 0.25),
        "inputs": [array(draw, dims, ("float32", "float32", "float32", "bfloat16"))],
        "call": call,
    }


def bidirectional(draw: Draw) -> Program:
    made = recurrent(draw)
    cell = made["with"]["cell"]
    made["call"].pop("reverse", None)
    made["call"].pop("keep_order", None)
    sides = {n: ["layer", "RNN", {"cell": cell}] for n in ("forward_rnn", "backward_rnn")}
    options = {k: v for k, v in made["with"].items() if k in ("time_major", "return_carry")}
    return made | {"with": sides | options}


def cell_step(name: str) -> Callable[[Draw], Program]:
    def drawn(draw: Draw) -> Program:
        dims = [*shape(draw, draw.choice([0, 1, 2])), draw.choice([1, 3])]
        return {
            "with": cell_options(draw, name),
            "inputs": [["carry", dims], array(draw, dims, ("float32", "float32", "bfloat16"))],
        }

    return drawn


def wrapped(draw: Draw) -> Program:
    inner = draw.choice([("Dense", dense), ("Conv", conv), ("DenseGeneral", dense_general)])
    made = inner[1](draw)
    layer = ["layer", inner[0], made["with"]]
    return {"with": {"layer_instance": layer}, "inputs": made["inputs"]}


def spectral_norm(draw: Draw) -> Program:
    made = wrapped(draw)
    table = {"n_steps": [1, 2], "epsilon": [1e-12, 1e-3], "error_on_non_matrix": [True, False]}
    made["with"] |= generate_options(draw, table)
    return made | {"call": {"update_stats": draw.random() < 0.5}}


def weight_norm(draw: Draw) -> Program:
    made = wrapped(draw)
    table = {"feature_axes": [-1, 0, None], "use_scale": [True, False], "epsilon": [1e-12, 1e-3]}
    return made | {"with": made["with"] | generate_options(draw, table)}


def pool(name: str) -> Callable[[Draw], Program]:
    def drawn(draw: Draw) -> Program:
        rank = draw.choice([1, 2, 2])
        table = {k: v for k, v in windows(draw, rank).items() if k in ("strides", "padding")}
        table["strides"] = [s for s in table["strides"] if not isinstance(s, int)]
        table["padding"] = ["SAME", "VALID", *(p for p in table["padding"] if isinstance(p, list))]
        options = generate_options(draw, table)
        if name == "avg_pool":
            options |= generate_options(draw, {"count_include_pad": [True, False]})
        options["window_shape"] = ["tuple", *(draw.choice([1, 2, 3]) for _ in range(rank))]
        dims = [*shape(draw, draw.choice([0, 1, 1, 2]), (1, 2)), *shape(draw, rank + 1)]
        types = ("float32", "float32", "bfloat16", "int32")
        return {"function": True, "with": options, "inputs": [array(draw, dims, types)]}

    return drawn


LINEN: dict[str, Callable[[Draw], Program]] = {
    "Dense": dense,
    "DenseGeneral": dense_general,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "ConvLocal": conv_local,
    "Einsum": einsum,
    "Embed": embed,
    "BatchNorm": norm("axis", "momentum", *NORM),
    "LayerNorm": norm("reduction_axes", "feature_axes", *NORM),
    "RMSNorm": norm("reduction_axes", "feature_axes", *RMS),
    "GroupNorm": norm("num_groups", "group_size", *NORM),
    "InstanceNorm": norm("feature_axes", *NORM),
    "Dropout": dropout,
    "PReLU": prelu,
    "MultiHeadDotProductAttention": attention,
    "MultiHeadAttention": attention,
    "SelfAttention": self_attention,
    "RNN": recurrent,
    "Bidirectional": bidirectional,
    **{name: cell_step(name) for name in (*CELLS, "MGUCell")},
    "SpectralNorm": spectral_norm,
    "WeightNorm": weight_norm,
    "avg_pool": pool("avg_pool"),
    "max_pool": pool("max_pool"),
    "min_pool": pool("min_pool"),
}

# -- nnx --------------------------------------------------------------------------------------


def _renamed(made: Program, names: dict[str, Any], **more: Any) -> Program:
    options = dict(made["with"])
    for old, new in names.items():
        if old in options:
            value = options.pop(old)
            if new:
                options[new] = value
    return made | {"with": options | more}


def nnx_linear(draw: Draw) -> Program:
    made = dense(draw)
    return _renamed(made, {"features": "out_features"}, in_features=made["inputs"][0][1][-1])


def nnx_linear_general(draw: Draw) -> Program:
    made = dense_general(draw)
    dims, axis = made["inputs"][0][1], made["with"].get("axis", -1)
    axes = axis[1:] if isinstance(axis, list) else [axis]
    sizes = [dims[a] for a in axes if -len(dims) <= a < len(dims)]
    size: Any = sizes[0] if isinstance(axis, int) and sizes else ["tuple", *sizes]
    return _renamed(made, {"features": "out_features", "batch_dims": None}, in_features=size)


def nnx_conv(draw: Draw) -> Program:
    made = conv(draw)
    return _renamed(made, {"features": "out_features"}, in_features=made["inputs"][0][1][-1])


def nnx_conv_transpose(draw: Draw) -> Program:
    made = conv_transpose(draw)
    return _renamed(made, {"features": "out_features"}, in_features=made["inputs"][0][1][-1])


def nnx_einsum(draw: Draw) -> Program:
    made = einsum(draw)
    options = made["with"]
    equation, kernel = options["einsum_str"], options["shape"]
    letters = dict(zip(equation.split("->")[0].split(",")[1], kernel[1:], strict=True))
    bias = ["tuple", *(letters[a] for a in equation.split("->")[1] if a in letters)]
    more: dict[str, Any] = {"kernel_shape": kernel}
    if options.pop("use_bias", True) and len(bias) > 1:
        more["bias_shape"] = bias
    return _renamed(made, {"shape": None}, **more)


def nnx_norm(drawn: Callable[[Draw], Program]) -> Callable[[Draw], Program]:
    def with_features(draw: Draw) -> Program:
        made = drawn(draw)
        dims, axis = made["inputs"][0][1], -1
        for name in ("axis", "feature_axes"):
            axis = made["with"].get(name, axis)
        if not isinstance(axis, int):  # Flax takes one axis
            made["with"] = {
                k: v for k, v in made["with"].items() if k not in ("axis", "feature_axes")
            }
            axis = -1
        size = dims[axis] if -len(dims) <= axis < len(dims) else dims[-1]
        return _renamed(made, {}, num_features=size)

    return with_features


def nnx_attention(draw: Draw) -> Program:
    made = self_attention(draw)
    made["with"].pop("force_fp32_for_softmax", None)
    return _renamed(made, {}, in_features=made["inputs"][0][1][-1], decode=False)


def _nnx_cell(layer: list[Any], features: int) -> list[Any]:
    _, name, options = layer
    return [
        "layer",
        name,
        {"in_features": features}
        | _renamed({"with": options}, {"features": "hidden_features"})["with"],
    ]


def nnx_recurrent(draw: Draw) -> Program:
    made = recurrent(draw)
    while made["with"]["cell"][1] == "MGUCell":
        made = recurrent(draw)
    return _renamed(made, {}, cell=_nnx_cell(made["with"]["cell"], made["inputs"][0][1][-1]))


def nnx_bidirectional(draw: Draw) -> Program:
    made = nnx_recurrent(draw)
    cell = made["with"]["cell"]
    for name in ("reverse", "keep_order"):
        made["call"].pop(name, None)
    sides = {n: ["layer", "RNN", {"cell": cell}] for n in ("forward_rnn", "backward_rnn")}
    options = {k: v for k, v in made["with"].items() if k in ("time_major", "return_carry")}
    return made | {"with": sides | options}


def nnx_cell_step(name: str) -> Callable[[Draw], Program]:
    def drawn(draw: Draw) -> Program:
        made = cell_step(name)(draw)
        return _renamed(made, {"features": "hidden_features"}, in_features=made["inputs"][1][1][-1])

    return drawn


def nnx_lora(draw: Draw) -> Program:
    base = nnx_linear(draw)
    sizes = {
        "in_features": base["with"]["in_features"],
        "out_features": base["with"]["out_features"],
    }
    table = {"dtype": TYPES, "param_dtype": PARAMETER_TYPES}
    return {
        "with": sizes | {"lora_rank": draw.choice([1, 2])} | generate_options(draw, table),
        "inputs": base["inputs"],
    }


def nnx_lora_linear(draw: Draw) -> Program:
    base = nnx_linear(draw)
    return _renamed(base, {}, lora_rank=draw.choice([1, 2]))


NNX: dict[str, Callable[[Draw], Program]] = {
    "Linear": nnx_linear,
    "LinearGeneral": nnx_linear_general,
    "Conv": nnx_conv,
    "ConvTranspose": nnx_conv_transpose,
    "Einsum": nnx_einsum,
    "Embed": embed,
    "BatchNorm": nnx_norm(norm("axis", "momentum", *NORM)),
    "LayerNorm": nnx_norm(norm("reduction_axes", "feature_axes", *NORM)),
    "RMSNorm": nnx_norm(norm("reduction_axes", "feature_axes", *RMS)),
    "GroupNorm": nnx_norm(norm("num_groups", "group_size", *NORM)),
    "InstanceNorm": nnx_norm(norm("feature_axes", *NORM)),
    "Dropout": dropout,
    "PReLU": prelu,
    "MultiHeadAttention": nnx_attention,
    "RNN": nnx_recurrent,
    "Bidirectional": nnx_bidirectional,
    **{name: nnx_cell_step(name) for name in CELLS},
    "LoRA": nnx_lora,
    "LoRALinear": nnx_lora_linear,
}
