"""How PyTorch stores the parameters of the layers; see `linnet.module_core.layers.torch_layout`."""

from __future__ import annotations

from linnet.module_core.layers.torch_layout import (
    WEIGHT,
    Layout,
    convolution,
    divided,
    flat,
    joined,
    matrix,
    same,
    scalar_or_vector,
    transposed_convolution,
)


def _input_dims(layer: object) -> int:
    axis = getattr(layer, "axis", -1)
    return 1 if isinstance(axis, int) else len(axis)


BIAS = same("bias", "bias")
DENSE = Layout((matrix(WEIGHT, "kernel"), BIAS))
DENSE_GENERAL = Layout((matrix(WEIGHT, "kernel", _input_dims), flat("bias", "bias")))
CONV = Layout((convolution(WEIGHT, "kernel"), BIAS))
CONV_TRANSPOSE = Layout((transposed_convolution(WEIGHT, "kernel"), BIAS))
EMBED = Layout((same(WEIGHT, "embedding"),))
LORA = Layout((matrix("lora_A.weight", "lora_a"), matrix("lora_B.weight", "lora_b")))
PRELU = Layout((scalar_or_vector("weight", "negative_slope"),))
# The names of the gated feed-forward layers of Llama and its relatives; fused in Phi-3.
GATED = Layout(
    (
        joined(
            ("gate_proj.weight|gate.weight", "up_proj.weight|up.weight"),
            "gate_up/kernel",
            of_kernel=True,
        ),
        joined(
            ("gate_proj.bias|gate.bias", "up_proj.bias|up.bias"), "gate_up/bias", of_kernel=False
        ),
        matrix("gate_proj.weight|gate.weight", "gate/kernel"),
        same("gate_proj.bias|gate.bias", "gate/bias"),
        matrix("up_proj.weight|up.weight", "up/kernel"),
        same("up_proj.bias|up.bias", "up/bias"),
        matrix("gate_up_proj.weight|gate_up.weight", "gate_up/kernel"),
        same("gate_up_proj.bias|gate_up.bias", "gate_up/bias"),
        divided("gate_up_proj.weight|gate_up.weight", ("gate/kernel", "up/kernel"), of_kernel=True),
        divided("gate_up_proj.bias|gate_up.bias", ("gate/bias", "up/bias"), of_kernel=False),
        matrix("down_proj.weight|down.weight", "down/kernel"),
        same("down_proj.bias|down.bias", "down/bias"),
    )
)
