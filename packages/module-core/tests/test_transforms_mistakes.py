"""Mistakes with lifted transforms: the message says which argument or variable, and what to write.

The tests also run the code that each message tells the user to write.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.errors import ArgumentError, JaxTransformError
from linnet.module_core.linen.sharding import partitioning

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3)


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, x, train, scale=1.0, *, mode="sum"):
        w = self.param("w", jax.nn.initializers.ones, ())
        y = x * w * scale if train else x
        return y.sum() if mode == "sum" else y


LIFTS = {"remat": nn.remat, "jit": nn.jit, "checkpoint": nn.checkpoint}


def text_of(error):
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def message(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return text_of(caught.value)


@pytest.mark.parametrize("lift", LIFTS)
def test_a_traced_flag_is_named_with_its_number(lift):
    lifted = LIFTS[lift]
    text = message(lambda: lifted(Flagged)().init(KEY, X, True))
    for words in ("train", "self is 0", "train is 2", "static_argnames=('train',)"):
        assert words in text, text
    text = message(lambda: lifted(Flagged, static_argnums=(1,))().init(KEY, X, True))
    for words in ("static_argnums=(1,)", "self is 0", "train is 2"):
        assert words in text, text
    text = message(lambda: lifted(Flagged)().init(KEY, X, train=True, mode="mean"))
    for words in ("train is passed by keyword", "mode", "static_argnames=('train', 'mode')"):
        assert words in text, text


@pytest.mark.parametrize("lift", LIFTS)
@pytest.mark.parametrize(
    "options",
    [
        {"static_argnums": 2},
        {"static_argnums": (2,)},
        {"static_argnums": (-1,)},
        {"static_argnames": "train"},
        {"static_argnames": ("train",)},
        {"static_argnums": (2, 3), "static_argnames": ("mode",)},
    ],
)
@pytest.mark.parametrize("by_keyword", [False, True])
def test_what_is_static_is_so_by_position_and_by_keyword(lift, options, by_keyword):
    if by_keyword and options.get("static_argnums") == (-1,):
        return  # counts positional arguments
    model = LIFTS[lift](Flagged, **options)()
    for train in (True, False):
        args, kwargs = ((X,), {"train": train}) if by_keyword else ((X, train), {})
        if "mode" in options.get("static_argnames", ()):
            kwargs["mode"] = "sum"
        y, variables = model.init_with_output(KEY, *args, **kwargs)
        assert y == X.sum()
        assert ("params" in variables) is True
        gradient = jax.grad(lambda v: model.apply(v, *args, **kwargs))(variables)  # noqa: B023
        assert gradient["params"]["w"] == (X.sum() if train else 0)


@pytest.mark.parametrize("lift", LIFTS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"static_argnums": 7}, r"static_argnums=\(7,\) names argument 7 (.|\n)*train is 2"),
        ({"static_argnums": 0}, r"static_argnums=\(0,\) names the module(.|\n)*x is 1, train is 2"),
        ({"static_argnums": (2, -5)}, "names the module, or a missing"),
        ({"static_argnames": "trian"}, r"'trian'(.|\n)*Did you mean"),
    ],
)
def test_arguments_that_do_not_exist_raise_an_error(lift, options, words):
    with pytest.raises(ArgumentError, match=words):
        LIFTS[lift](Flagged, **options)().init(KEY, X, True)


def test_the_error_about_donated_numbers_has_their_own_name():
    with pytest.raises(ArgumentError, match=r"donate_argnums=\(9,\)"):
        nn.jit(Flagged, donate_argnums=9)().init(KEY, X, True)


def test_the_older_remat_counts_without_the_module():
    text = message(lambda: partitioning.remat(Flagged)().init(KEY, X, True))
    assert "self is not counted" in text
    assert "train is 1" in text
    assert partitioning.remat(Flagged, static_argnums=1)().init_with_output(KEY, X, True)[0] == 15
    with pytest.raises(ArgumentError, match="begin after it: x is 0, train is 1"):
        partitioning.remat(Flagged, static_argnums=5)().init(KEY, X, True)


def test_an_argument_that_is_not_an_array_is_named():
    text = message(lambda: nn.jit(lambda m, x, mode: x)(Flagged(), X, "sum"))
    assert "static_argnames=('mode',)" in text
    assert nn.jit(lambda m, x, mode: x, static_argnames="mode")(Flagged(), X, "sum").shape == (2, 3)


class Weights(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        w = self.param("w", jax.nn.initializers.normal(), ())
        mean = self.variable("stats", "mean", jnp.zeros, ())
        if not self.is_initializing() and self.is_mutable_collection("stats"):
            mean.value = x.mean()
        return x * w, None


def test_a_vmap_says_which_shared_variable_differs():
    axes = {"params": None, "stats": 0}

    def make(**options):
        return nn.vmap(Weights, **({"variable_axes": axes} | options))()

    text = message(lambda: make(split_rngs={"params": True}).init(KEY, X))
    for words in ("'w' of the collection 'params'", "split_rngs={'params': False}"):
        assert words in text
    make(split_rngs={"params": False}).init(KEY, X)
    variables = make(split_rngs={"params": True}, variable_axes={"params": 0, "stats": None}).init(
        KEY, X
    )
    shared = {"params": 0, "stats": None}
    text = message(lambda: make(variable_axes=shared).apply(variables, X, mutable="stats"))
    for words in ("'mean' of the collection 'stats'", "variable_axes={'stats': 0}"):
        assert words in text
    assert "split_rngs" not in text


def test_a_vmap_over_an_output_without_axis_is_jax_s_own_error():
    with pytest.raises(ValueError, match="out_axes"):
        nn.vmap(lambda m, x: x, out_axes=None)(Weights(), X)


def test_a_scan_says_which_shared_variable_differs():
    def make(split):
        axes = {"params": nn.broadcast, "stats": 0}
        return nn.scan(Weights, axes, split_rngs={"params": split}, length=2)()

    with pytest.raises(ArgumentError, match="'w' of the collection 'params' is broadcast") as error:
        make(True).init(KEY, X, None)
    assert "{'params': False}" in str(error.value)
    make(False).init(KEY, X, None)
    outputs = nn.scan(lambda m, c, x: (c, {"a": x}), out_axes=nn.broadcast)
    with pytest.raises(ArgumentError, match=r"the output\['a'\] is broadcast"):
        outputs(Weights(), 0.0, X)


class Closure(nn.Module):
    how: Any

    def setup(self):
        self.total = self.variable("state", "total", jnp.zeros, ())

    def add(self, x):
        self.total.value += x.sum()
        return x

    def __call__(self, x):
        return self.how(self, x)


def test_a_module_from_an_enclosing_function_that_is_written_to_in_a_lifted_one():
    enclosed = Closure(lambda self, x: nn.jit(lambda m, x: self.add(x))(self, x))
    with pytest.raises(JaxTransformError, match="lifted transform, by a module from outside") as e:
        enclosed.init({}, X)
    assert "first argument" in str(e.value)
    assert "same name" not in str(e.value)
    first = Closure(lambda self, x: nn.jit(lambda m, x: m.add(x))(self, x))
    assert first.init({}, X)["state"]["total"] == 15


def test_a_plain_transform_around_a_lifted_one_is_to_be_replaced():
    def plain(self, x):
        return jax.jit(lambda x: nn.remat(lambda m, x: m.add(x))(self, x))(x)

    def lifted(self, x):
        return nn.jit(lambda m, x: nn.remat(lambda m, x: m.add(x))(m, x))(self, x)

    with pytest.raises(JaxTransformError, match=r"jax\.jit with nn\.jit"):
        Closure(plain).init({}, X)
    assert Closure(lifted).init({}, X)["state"]["total"] == 15


def test_a_bound_module_in_a_plain_transform_applies_instead():
    model = Closure(lambda self, x: self.add(x))
    variables = model.init({}, X)
    bound = model.bind(variables, mutable="state")
    with pytest.raises(JaxTransformError, match=r"apply\(variables, \.\.\., mutable=\.\.\.\)"):
        jax.jit(lambda x: bound(x))(X)
    _, changed = jax.jit(lambda x: model.apply(variables, x, mutable="state"))(X)
    np.testing.assert_array_equal(changed["state"]["total"], 30)


def test_sizes_that_differ_are_named():
    axes = {"params": 0, "stats": 0}
    model = nn.vmap(Weights, variable_axes=axes, split_rngs={"params": True})()
    made = model.init(KEY, X)
    with pytest.raises(ArgumentError, match=r"sizes: \[2, 5\]") as error:
        model.apply(made, jnp.ones((5, 3)))
    assert "Variable 'w' of the collection 'params' has 2; Argument 1 has 5" in str(error.value)
    with pytest.raises(ArgumentError, match="Argument train of shape") as error:
        nn.vmap(lambda m, x, train: x)(Weights(), X, train=True)
    with pytest.raises(ArgumentError, match=r"lengths: \[2, 3\]") as error:
        nn.scan(lambda m, c, x: (c, None))(Weights(), 0.0, {"a": X, "b": X.T})
    assert "Argument 2['a'] has 2; Argument 2['b'] has 3" in str(error.value)


class Branches(nn.Module):
    body: Any

    @nn.compact
    def __call__(self, x):
        return self.body(self, x)


def test_a_flag_among_operands_is_named():
    def as_operand(m, x):
        return nn.cond(True, lambda m, x, t: m(x, t), lambda m, x, t: x.sum(), m, x, True)

    def from_around(m, x):
        return nn.cond(True, lambda m, x: m(x, True), lambda m, x: x.sum(), m, x)

    variables = Flagged().init(KEY, X, True)
    text = message(lambda: nn.apply(as_operand, Flagged())(variables, X))
    assert "lambda m, x: m(x, train)" in text
    assert nn.apply(from_around, Flagged())(variables, X) == 15


def test_the_error_about_branches_that_make_other_variables_says_how_to_make_them_before():
    def inside(m, x):
        a, b = (lambda m, x, n=n: Weights(name=n)(x)[0] for n in "ab")
        return nn.cond(True, a, b, m, x)

    def before(m, x):
        a, b = Weights(name="a"), Weights(name="b")
        if m.is_initializing():
            return a(x)[0] + b(x)[0]
        return nn.cond(True, lambda m, x: m[0](x)[0], lambda m, x: m[1](x)[0], (a, b), x)

    assert "if self.is_initializing()" in message(lambda: Branches(inside).init(KEY, X))
    variables = Branches(before).init(KEY, X)
    assert set(variables["params"]) == {"a", "b"}
    Branches(before).apply(variables, X)
