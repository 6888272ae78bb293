"""Recorded equations are the same as computed ones, and nothing else changes."""

import inspect
import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from linnet.layers_linear import functional, linen
from linnet.layers_linear.functional._staged import is_staged

X = jnp.linspace(-3.0, 3.0, 24).reshape(2, 3, 4)
ACTIVATIONS = functional.activation.__all__
each = pytest.mark.parametrize("name", ACTIVATIONS)


def test_staged_is_what_a_program_records():
    seen = {}

    def look(name, x):
        seen[name] = is_staged(x)
        return x

    look("array", X)
    look("numpy", np.ones(2))
    jax.jit(partial(look, "jit"))(X)
    jax.eval_shape(partial(look, "eval_shape"), X)
    jax.grad(lambda x: look("grad", x).sum())(X)
    jax.vmap(partial(look, "vmap"))(X)
    jax.lax.scan(lambda c, x: (look("scan", c), x), X, jnp.ones(2))
    assert seen == {
        "array": False,
        "numpy": False,
        "jit": True,
        "eval_shape": True,
        "grad": False,
        "vmap": False,
        "scan": True,
    }


@each
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equations_are_jax_s(name, dtype):
    ours, jaxs, x = getattr(functional, name), getattr(jax.nn, name), X.astype(dtype)
    for transform in (lambda f: f, jax.grad, lambda f: jax.vmap(jax.jit(f)), jax.jit):
        record = [
            str(jax.make_jaxpr(transform(lambda x, f=f: f(x).astype(jnp.float32).sum()))(x))
            for f in (jaxs, ours, ours)
        ]
        assert record[0] == record[1] == record[2]


@each
def test_values_and_gradients_are_jax_s(name):
    ours, jaxs = getattr(functional, name), getattr(jax.nn, name)
    np.testing.assert_array_equal(ours(X), jaxs(X))
    np.testing.assert_array_equal(jax.jit(ours)(X), jax.jit(jaxs)(X))
    gradient = [jax.jit(jax.grad(lambda x, f=f: (f(x) ** 2).sum()))(X) for f in (ours, jaxs)]
    np.testing.assert_array_equal(*gradient)
    outside = [jax.grad(jax.jit(lambda x, f=f: (f(x) ** 2).sum()))(X) for f in (ours, jaxs)]
    np.testing.assert_array_equal(*outside)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gelu", {"approximate": False}),
        ("softmax", {"axis": 0}),
        ("softmax", {"axis": (0, 1)}),
        ("softmax", {"where": X > -1.0}),
        ("logsumexp", {"axis": 1, "keepdims": True}),
        ("logsumexp", {"axis": -1, "b": X**2}),
    ],
)
def test_options(name, options):
    ours, jaxs = (partial(getattr(m, name), **options) for m in (functional, jax.nn))
    for wrap in (lambda f: f, jax.jit):
        np.testing.assert_array_equal(wrap(ours)(X), wrap(jaxs)(X))
    assert str(jax.make_jaxpr(ours)(X)) == str(jax.make_jaxpr(jaxs)(X))


@each
def test_is_a_function_like_jax_s(name):
    ours, jaxs = getattr(functional, name), getattr(jax.nn, name)
    assert pickle.loads(pickle.dumps(ours)) is ours
    parameters = [
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in (ours, jaxs)
    ]
    assert parameters[0] == parameters[1]
    assert ours.__name__ == name
    first = parameters[0][0][0]
    np.testing.assert_array_equal(ours(**{first: X}), jaxs(X))


def test_layers_record_the_same_as_they_compute():
    """Equations of the functions with and without their recordings."""
    kernel, bias, key = jnp.ones((4, 5)), jnp.ones(5), jax.random.key(0)
    for layer in (
        lambda x: functional.dense(x, kernel, bias, precision="highest"),
        lambda x: functional.dense(x, kernel),
        lambda x: functional.dropout(x, key, 0.3, broadcast_dims=(1,)),
    ):
        staged = jax.make_jaxpr(layer)(X)
        lanes = jax.make_jaxpr(jax.vmap(layer))(X[None])  # a batched tracer isn't replayed
        primitives = [[e.primitive.name for e in j.eqns] for j in (staged, lanes)]
        assert set(primitives[0]) <= set(primitives[1])
        np.testing.assert_allclose(jax.jit(layer)(X), layer(X), rtol=1e-6)


def test_recordings_keep_the_layers_names():
    """Profilers and summaries group operations by module."""

    def model(x):
        for name in ("first", "second"):
            with jax.named_scope(name):
                x = functional.relu(functional.dense(x, jnp.ones((4, 4)), jnp.ones(4)))
        return x

    equations = jax.make_jaxpr(model)(X).eqns
    stacks = [str(e.source_info.name_stack) for e in equations if e.primitive.name == "dot_general"]
    assert stacks == ["first", "second"]


def test_a_function_put_in_jax_s_place_is_called_under_jit_too(monkeypatch):
    layer = linen.Dense(3)
    x = jnp.ones((2, 4))
    variables = layer.init(jax.random.key(0), x)
    before = jax.jit(layer.apply)(variables, x)  # records the layer

    dot_general = lax.dot_general
    with monkeypatch.context() as patch:
        patch.setattr(lax, "dot_general", lambda *args, **kwargs: 2 * dot_general(*args, **kwargs))
        np.testing.assert_array_equal(jax.jit(lambda: layer.apply(variables, x))(), 2 * before)
        np.testing.assert_array_equal(layer.apply(variables, x), 2 * before)
    # The call in between has left no recording behind.
    np.testing.assert_array_equal(jax.jit(lambda: layer.apply(variables, x))(), before)
