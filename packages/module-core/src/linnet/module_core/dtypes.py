"""The dtype that a layer computes in.

One rule for every layer: `dtype` if the user gave one, else the common type of inputs and
parameters, widened to float32 where that is an integer or a bool.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from .errors import DtypeError

Array = jax.Array


def canonicalize_dtype(
    *args: Any, dtype: DTypeLike | None = None, inexact: bool = True
) -> jnp.dtype[Any]:
    """The dtype that a computation on `args` runs in.

    Args:
      *args: arrays, scalars or None; None is left out.
      dtype: the answer, if it is given.
      inexact: the result must be floating or complex: an inferred integer type becomes float32's
        common type with it, a given one is refused.

    Raises:
      DtypeError: `dtype` is given, is not floating or complex, and `inexact` is True.
    """
    if dtype is None:
        result = jnp.result_type(*[x for x in args if x is not None])
        if inexact and not jnp.issubdtype(result, jnp.inexact):
            result = jnp.promote_types(jnp.float32, result)
        return jnp.dtype(result)
    result = jnp.dtype(dtype)
    if inexact and not jnp.issubdtype(result, jnp.inexact):
        raise DtypeError(
            f"Dtype must be inexact (floating or complex), got dtype={result.name}.",
            hint="Leave dtype out to infer it, or give float32, bfloat16, float16 or complex64.",
        )
    return result


def promote_dtype(
    *args: Any, dtype: DTypeLike | None = None, inexact: bool = True
) -> list[Array | None]:
    """Casts all arguments to `canonicalize_dtype(*args, dtype=dtype, inexact=inexact)`.

    None stays None.

    >>> import jax.numpy as jnp
    >>> x, kernel, bias = promote_dtype(jnp.ones(2, jnp.bfloat16), jnp.ones(2), None)
    >>> x.dtype.name, kernel.dtype.name, bias
    ('float32', 'float32', None)
    """
    target = canonicalize_dtype(*args, dtype=dtype, inexact=inexact)
    return [None if x is None else jnp.asarray(x, target) for x in args]
