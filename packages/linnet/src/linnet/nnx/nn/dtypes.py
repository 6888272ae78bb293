"""The computation dtype of a layer."""

from linnet.module_core.dtypes import canonicalize_dtype as canonicalize_dtype
from linnet.module_core.layers.nnx import promote_dtype as promote_dtype
from linnet.module_core.typing import Dtype as Dtype
