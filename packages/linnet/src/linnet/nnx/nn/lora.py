"""Low-rank adapters."""

from linnet.initializers import Initializer as Initializer
from linnet.layers_linear.nnx import Linear as Linear
from linnet.layers_linear.nnx import LoRA as LoRA
from linnet.layers_linear.nnx import LoRALinear as LoRALinear
from linnet.layers_linear.nnx import LoRAParam as LoRAParam
from linnet.layers_linear.nnx.lora import default_a_initializer as default_a_initializer
from linnet.layers_linear.nnx.lora import default_b_initializer as default_b_initializer
from linnet.module_core.nnx import Module as Module
from linnet.module_core.typing import Array as Array
from linnet.module_core.typing import Axis as Axis
from linnet.module_core.typing import Dtype as Dtype
from linnet.module_core.typing import PromoteDtypeFn as PromoteDtypeFn
