"""The dtype that a layer computes in."""

from linnet.module_core.dtypes import canonicalize_dtype, promote_dtype

__all__ = ["canonicalize_dtype", "promote_dtype"]
