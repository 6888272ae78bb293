"""What the nnx layers of all packages have in common."""

import functools

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.layers.nnx import Layer, params_key, promote_dtype


class Picky(Layer):
    """A layer whose constructor raises an error."""

    def __init__(self, inner=None):
        if isinstance(inner, int):
            raise ArgumentError("'inner' is not a layer.")
        self.inner = inner

    def attend(self, error):
        raise error

    def _inside(self, error):
        raise error

    def __call__(self, error):
        """Raises."""
        if self.inner is not None:
            self.inner(error)
        raise error


class Outer(Picky):
    pass


def test_the_error_about_a_call_that_does_not_fit_says_what_the_layer_takes():
    with pytest.raises(TypeError) as caught:
        Outer(Picky())(errors=1)
    assert caught.value.__notes__ == [
        "In Outer, method __call__.",
        "It takes (error); it got 0 positional arguments, errors=. Did you mean 'error'?",
    ]


def test_errors_name_the_innermost_layer():
    with pytest.raises(ArgumentError, match=r"^inner \(Picky\): no\n  yes$"):
        Outer(Picky())(ArgumentError("no", hint="yes"))
    with pytest.raises(KeyError, match="^'as it is'\nIn Picky, method __call__.$"):
        Picky()(KeyError("as it is"))
    assert Picky.__call__.__doc__ == "Raises."


@pytest.mark.parametrize("cls", [Picky, Outer])
def test_constructor_and_public_methods_name_the_layer(cls):
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}: 'inner' is not a layer.$"):
        cls(3)
    with pytest.raises(KeyError, match=rf"^'no'\nIn {cls.__name__}, method attend.$"):
        cls().attend(KeyError("no"))
    with pytest.raises(KeyError, match="^'no'$"):
        cls()._inside(KeyError("no"))


def test_keys_come_from_the_stream_params():
    rngs = nnx.Rngs(0, params=1)
    assert params_key(rngs, Picky()) == jax.random.fold_in(jax.random.key(1), 0)
    assert params_key(rngs.params, Picky()) == jax.random.fold_in(jax.random.key(1), 1)
    with pytest.raises(ArgumentTypeError, match=r"Picky draws .*got 3 of type int"):
        params_key(3, Picky())
    with pytest.raises(AttributeError, match="No RngStream named 'params'"):
        params_key(nnx.Rngs(dropout=0), Picky())


def test_promotion_keeps_a_tuple_s_form():
    x, nothing, y = promote_dtype((jnp.ones(2, jnp.int32), None, jnp.ones(2, jnp.float16)))
    assert nothing is None
    assert x.dtype == y.dtype == jnp.float16
    (z,) = promote_dtype((jnp.ones(2, jnp.int32),), inexact=False)
    assert z.dtype == jnp.int32


class Drawn(nnx.Module):
    def __init__(self, size, scale=1.0, *, rngs):
        self.value = nnx.Param(rngs.params.normal((size,)) * scale)


def test_streams_by_position_where_a_name_is_due():
    # Past the positional parameters, and in place of one.
    for arguments, position in ((2, 1.0, nnx.Rngs(0)), 3), ((2, nnx.Rngs(0).params), 2):
        with pytest.raises(ArgumentTypeError) as info:
            Drawn(*arguments)
        words = f"rngs must be passed by keyword, but was passed as positional argument {position}"
        assert f"Drawn: {words}" in str(info.value)
    assert "Write Drawn(2, rngs=...)." in str(info.value)
    assert Drawn(2, rngs=nnx.Rngs(0)).value.shape == (2,)


def test_the_error_about_a_misspelled_keyword_names_the_intended_one():
    class Decorated(nnx.Module):
        @functools.wraps(Drawn.__init__)
        def __init__(self, *args, scale_by=1.0, **kwargs):
            self.scale = scale_by

    class Counted(nnx.Pytree):
        def __init__(self, start, /, *, step=1):
            self.step = step

    rngs = nnx.Rngs(0)
    for make, word, hint in (
        (lambda: Drawn(2, scal=2.0, rngs=rngs), "scal", "Did you mean 'scale'?"),
        (lambda: Drawn(2, q=2, rngs=rngs), "q", "Available: 'rngs', 'scale', 'size'."),
        (lambda: Counted(1, steps=1), "steps", "Did you mean 'step'?"),
        (lambda: nnx.Optimizer(Picky(), None, wtr=nnx.Param), "wtr", "Did you mean 'wrt'?"),
    ):
        with pytest.raises(ArgumentTypeError) as info:
            make()
        assert f"got an unexpected keyword argument {word!r}.\n  {hint}" in str(info.value)
    assert Decorated(scale_by=2.0).scale == 2.0
    with pytest.raises(TypeError, match="start"):
        Counted(start=1)


def test_streams_by_position_where_they_belong():
    class First(nnx.Module):
        def __init__(self, rngs, *, size=2):
            self.rngs = rngs

    class Any_(nnx.Module):
        def __init__(self, *parts, rngs=None):
            self.parts = parts

    class Both(nnx.Module):
        def __init__(self, other, *, rngs):
            self.other = other

    rngs = nnx.Rngs(0)
    assert First(rngs).rngs is rngs
    assert Any_(1, rngs).parts == (1, rngs)
    assert Both(rngs, rngs=rngs).other is rngs


def test_modules_without_a_constructor_take_no_arguments():
    class Empty(nnx.Module):
        pass

    with pytest.raises(TypeError, match=r"Empty\(\) takes no arguments"):
        Empty(1)

    class Base:
        def __new__(cls, size):
            new = super().__new__(cls)
            new.seen = size
            return new

    class Child(nnx.Module, Base):
        def __init__(self, size):
            self.size = size

    made = Child(3)
    assert made.seen == made.size == 3
