"""The computation dtype of a layer."""

from linnet.module_core.dtypes import canonicalize_dtype, promote_dtype
from linnet.module_core.typing import Dtype

__all__ = [
    "Dtype",
    "canonicalize_dtype",
    "promote_dtype",
]
