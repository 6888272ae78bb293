"""PyTorch's names and layouts for the layers' parameters; see `module_core.layers.torch_layout`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from linnet.module_core.layers.torch_layout import (
    Layout,
    Rule,
    divided,
    flat,
    grouped,
    matrix,
    same,
)

_PARTS = ("query", "key", "value")

# The names of `torch.nn.MultiheadAttention`, then those of Llama and its relatives, of GPT-2, and
# of others. Some models have no bias for the keys: without rotary positions, it would add the same
# number to all logits of a query.
_FUSED = ("in_proj_{}", "qkv_proj.{}", "c_attn.{}", "qkv.{}", "Wqkv.{}")
# GPT-NeoX, BLOOM and Falcon store the queries, keys and values of each head together.
_GROUPED = "query_key_value.{}"
_OUT = ("out_proj.{}", "o_proj.{}", "c_proj.{}", "proj.{}", "dense.{}", "Wo.{}")


def _any_of(names: Sequence[str], what: str) -> str:
    return "|".join(name.format(what) for name in names)


def _bias(part: str) -> Rule:
    rule = flat(f"{part[0]}_proj.bias|{part}.bias", f"{part}/bias")
    return replace(rule, or_zeros=part == "key")


_KERNELS = [f"{part}/kernel" for part in _PARTS]
_BIASES = [f"{part}/bias" for part in _PARTS]

ATTENTION = Layout(
    (
        divided(_any_of(_FUSED, "weight"), _KERNELS, of_kernel=True),
        divided(_any_of(_FUSED, "bias"), _BIASES, of_kernel=False),
        grouped(_GROUPED.format("weight"), _KERNELS, of_kernel=True),
        grouped(_GROUPED.format("bias"), _BIASES, of_kernel=False),
        *(
            matrix(
                f"{part[0]}_proj_weight|{part[0]}_proj.weight|{part}.weight",
                f"{part}/kernel",
            )
            for part in _PARTS
        ),
        *map(_bias, _PARTS),
        matrix(_any_of(_OUT, "weight"), "out/kernel", lambda layer: 2),
        same(_any_of(_OUT, "bias"), "out/bias"),
    )
)
POSITION_BIAS = Layout((same("weight", "embedding"),))
