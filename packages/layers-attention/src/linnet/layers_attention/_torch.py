"""How PyTorch stores the parameters of the layers; see `linnet.module_core.layers.torch_layout`."""

from __future__ import annotations

from linnet.module_core.layers.torch_layout import Layout, divided, flat, matrix, same

_PARTS = ("query", "key", "value")

ATTENTION = Layout(
    (
        divided("in_proj_weight", [f"{part}/kernel" for part in _PARTS], of_kernel=True),
        divided("in_proj_bias", [f"{part}/bias" for part in _PARTS], of_kernel=False),
        *(
            matrix(f"{part[0]}_proj_weight|{part[0]}_proj.weight", f"{part}/kernel")
            for part in _PARTS
        ),
        *(flat(f"{part[0]}_proj.bias", f"{part}/bias") for part in _PARTS),
        matrix("out_proj.weight|o_proj.weight", "out/kernel", lambda layer: 2),
        same("out_proj.bias|o_proj.bias", "out/bias"),
    )
)
POSITION_BIAS = Layout((same("weight", "embedding"),))
