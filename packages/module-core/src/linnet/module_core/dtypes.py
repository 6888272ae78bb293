"""The computation dtype of a layer.

All layers follow one rule: the computation dtype is `dtype` if the user passed one, or otherwise
the common dtype of inputs and parameters, widened to float32 if that is an integer or a bool.

Every layer computes it in every trace, nearly always for arrays of one floating dtype. That case
avoids `jax.numpy`, which would take as long as tracing a matrix product.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from .errors import DtypeError


def canonicalize_dtype(
    *args: object, dtype: DTypeLike | None = None, inexact: bool = True
) -> np.dtype[Any]:
    """The dtype of a computation on `args`.

    Args:
      *args: arrays, scalars or None; None is ignored.
      dtype: the result, if given.
      inexact: the result must be floating or complex: an inferred integer dtype is promoted with
        float32, and an integer `dtype` raises an error.

    Raises:
      DtypeError: `dtype` is given, is not floating or complex, and `inexact` is True.
    """
    if dtype is None:
        known = _common_type(args)
        if known is not None:
            return known
        result = jnp.result_type(*[jnp.asarray(x) for x in args if x is not None])
        if inexact and not jnp.issubdtype(result, jnp.inexact):
            result = jnp.promote_types(jnp.float32, result)
        return jnp.dtype(result)
    result = jnp.dtype(dtype)
    if inexact and not _is_inexact(result):
        raise DtypeError(
            f"Dtype must be inexact (floating or complex), got dtype={result.name}.",
            hint="Leave dtype out to infer it, or pass float32, bfloat16, float16 or complex64.",
        )
    return result


@cache
def _is_inexact(dtype: np.dtype[Any]) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def _common_type(args: tuple[Any, ...]) -> np.dtype[Any] | None:
    """The dtype of all arrays among `args`, if they share one floating dtype and none is weak."""
    common = None
    for x in args:
        if x is None:
            continue
        if not isinstance(x, jax.Array):
            return None
        kind: Any = jax.typeof(x)
        if kind.weak_type:
            return None
        dtype = kind.dtype
        if common is None:
            common = dtype
        elif dtype is not common and dtype != common:
            return None
    return common if common is not None and _is_inexact(common) else None


def promote_dtype(*args: object, dtype: DTypeLike | None = None, inexact: bool = True) -> list[Any]:
    """Casts all arguments to `canonicalize_dtype(*args, dtype=dtype, inexact=inexact)`.

    None stays None.

    >>> import jax.numpy as jnp
    >>> x, kernel, bias = promote_dtype(jnp.ones(2, jnp.bfloat16), jnp.ones(2), None)
    >>> x.dtype.name, kernel.dtype.name, bias
    ('float32', 'float32', None)
    """
    common = _common_type(args)
    if common is not None and (dtype is None or jnp.dtype(dtype) == common):
        return list(args)
    target = canonicalize_dtype(*args, dtype=dtype, inexact=inexact)
    # `float` means float64 or float32, depending on the configuration; np.dtype would warn.
    wanted = target if dtype is None else dtype
    return [
        x
        if x is None or (isinstance(x, jax.Array) and x.dtype == target and not x.weak_type)
        else jnp.asarray(x, wanted)
        for x in args
    ]
