"""What the nnx layers of all packages have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.layers.nnx import Layer, params_key, promote_dtype


class Picky(Layer):
    """A layer that refuses."""

    def __init__(self, inner: Any = None) -> None:
        if isinstance(inner, int):
            raise ArgumentError("'inner' is not a layer.")
        self.inner = inner

    def attend(self, error: Exception) -> None:
        raise error

    def _inside(self, error: Exception) -> None:
        raise error

    def __call__(self, error: Exception) -> None:
        """Raises."""
        if self.inner is not None:
            self.inner(error)
        raise error


class Outer(Picky):
    pass


def test_errors_name_the_innermost_layer() -> None:
    with pytest.raises(ArgumentError, match=r"^inner \(Picky\): no\n  yes$"):
        Outer(Picky())(ArgumentError("no", hint="yes"))
    with pytest.raises(KeyError, match="^'as it is'\nIn Picky, method __call__.$"):
        Picky()(KeyError("as it is"))
    assert Picky.__call__.__doc__ == "Raises."


@pytest.mark.parametrize("cls", [Picky, Outer])
def test_constructor_and_public_methods_name_the_layer(cls: type[Picky]) -> None:
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}: 'inner' is not a layer.$"):
        cls(3)
    with pytest.raises(KeyError, match=rf"^'no'\nIn {cls.__name__}, method attend.$"):
        cls().attend(KeyError("no"))
    with pytest.raises(KeyError, match="^'no'$"):
        cls()._inside(KeyError("no"))


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


class Drawn(nnx.Module):
    def __init__(self, size: int, scale: float = 1.0, *, rngs: nnx.Rngs) -> None:
        self.value = nnx.Param(rngs.params.normal((size,)) * scale)


def test_streams_by_position_where_a_name_is_due() -> None:
    # Past the positional parameters, and in the place of one.
    for arguments, position in ((2, 1.0, nnx.Rngs(0)), 3), ((2, nnx.Rngs(0).params), 2):
        with pytest.raises(ArgumentTypeError) as info:
            Drawn(*arguments)  # type: ignore[call-arg, arg-type]
        assert f"Drawn: rngs is passed by its name, and came as positional argument {position}" in (
            str(info.value)
        )
    assert "Write Drawn(2, rngs=...)." in str(info.value)
    assert Drawn(2, rngs=nnx.Rngs(0)).value.shape == (2,)


def test_streams_by_position_where_they_belong() -> None:
    class First(nnx.Module):
        def __init__(self, rngs: nnx.Rngs, *, size: int = 2) -> None:
            self.rngs = rngs

    class Any_(nnx.Module):
        def __init__(self, *parts: Any, rngs: Any = None) -> None:
            self.parts = parts

    class Both(nnx.Module):
        def __init__(self, other: Any, *, rngs: Any) -> None:
            self.other = other

    rngs = nnx.Rngs(0)
    assert First(rngs).rngs is rngs
    assert Any_(1, rngs).parts == (1, rngs)
    assert Both(rngs, rngs=rngs).other is rngs


def test_modules_without_a_constructor_take_no_arguments() -> None:
    class Empty(nnx.Module):
        pass

    with pytest.raises(TypeError, match=r"Empty\(\) takes no arguments"):
        Empty(1)

    class Base:
        def __new__(cls, size: int) -> Any:
            new = super().__new__(cls)
            new.seen = size  # type: ignore[attr-defined]
            return new

    class Child(nnx.Module, Base):
        def __init__(self, size: int) -> None:
            self.size = size

    made: Any = Child(3)
    assert made.seen == made.size == 3
