"""What the nnx layers of all packages have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.nnx.layers import names_layer, params_key, promote_dtype


class Picky(nnx.Module):
    """A layer that refuses."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner

    @names_layer
    def __call__(self, error: Exception) -> None:
        """Raises."""
        if self.inner is not None:
            self.inner(error)
        raise error


class Outer(Picky):
    pass


def test_errors_name_the_innermost_layer() -> None:
    with pytest.raises(ArgumentError, match=r"^Picky: no\n  yes$"):
        Outer(Picky())(ArgumentError("no", hint="yes"))
    with pytest.raises(KeyError, match="^'as it is'$"):
        Picky()(KeyError("as it is"))
    assert Picky.__call__.__doc__ == "Raises."


def test_keys_come_from_the_stream_params() -> None:
    rngs = nnx.Rngs(0, params=1)
    assert params_key(rngs, Picky()) == jax.random.fold_in(jax.random.key(1), 0)
    assert params_key(rngs.params, Picky()) == jax.random.fold_in(jax.random.key(1), 1)
    with pytest.raises(ArgumentTypeError, match=r"Picky draws .*got 3 of type int"):
        params_key(3, Picky())
    with pytest.raises(AttributeError, match="No RngStream named 'params'"):
        params_key(nnx.Rngs(dropout=0), Picky())


def test_promotion_keeps_a_tuple_s_form() -> None:
    x, nothing, y = promote_dtype((jnp.ones(2, jnp.int32), None, jnp.ones(2, jnp.float16)))
    assert nothing is None
    assert x.dtype == y.dtype == jnp.float16
    (z,) = promote_dtype((jnp.ones(2, jnp.int32),), inexact=False)
    assert z.dtype == jnp.int32
