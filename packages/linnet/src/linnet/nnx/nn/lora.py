"""Low-rank adapters."""

from linnet.layers_linear.nnx import LoRA as LoRA
from linnet.layers_linear.nnx import LoRALinear as LoRALinear
from linnet.layers_linear.nnx import LoRAParam as LoRAParam
