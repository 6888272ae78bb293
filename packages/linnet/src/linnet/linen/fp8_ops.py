"""Products in 8-bit floating point, and their building blocks."""

from linnet.layers_linear.functional._fp8_rounding import (
    compute_amax_history,
    compute_scale,
    dequantize,
    get_fp8_max,
    in_q,
    in_qdq,
    out_qdq,
    qdq,
    quantize,
    quantize_dequantize_update,
    update_fp8_meta,
)
from linnet.layers_linear.functional.fp8 import (
    dot_general_transpose_lhs,
    dot_general_transpose_rhs,
    dot_general_with_precision,
    fp8_scaled_dot_general,
    out_dq,
    quantized_dot,
)
from linnet.layers_linear.linen.fp8 import (
    Fp8DirectDotGeneralOp,
    Fp8DotGeneral,
    Fp8DotGeneralBase,
    Fp8DotGeneralOp,
    Fp8Einsum,
    NANOOFp8DotGeneralOp,
)
from linnet.module_core.layers import DTypeLike
from linnet.module_core.training.train_state import OVERWRITE_WITH_GRADIENT
from linnet.module_core.typing import Dtype as DType

__all__ = [
    "OVERWRITE_WITH_GRADIENT",
    "DType",
    "DTypeLike",
    "Fp8DirectDotGeneralOp",
    "Fp8DotGeneral",
    "Fp8DotGeneralBase",
    "Fp8DotGeneralOp",
    "Fp8Einsum",
    "NANOOFp8DotGeneralOp",
    "compute_amax_history",
    "compute_scale",
    "dequantize",
    "dot_general_transpose_lhs",
    "dot_general_transpose_rhs",
    "dot_general_with_precision",
    "fp8_scaled_dot_general",
    "get_fp8_max",
    "in_q",
    "in_qdq",
    "out_dq",
    "out_qdq",
    "qdq",
    "quantize",
    "quantize_dequantize_update",
    "quantized_dot",
    "update_fp8_meta",
]
