"""Whole models against Flax: parameters, outputs, state, gradients, and training.

Eager is compared with eager and jitted with jitted, bit by bit; gradients up to rounding; after
five steps of AdamW, parameters and state within 1e-5.
"""

import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import comparing
import linnet.linen
from comparing import identical
from parity import whole_models

LINNET, FLAX = (whole_models.build(nn) for nn in (linnet.linen, flax.linen))


pytestmark = pytest.mark.usefixtures("quick_compilation")


each_model = pytest.mark.parametrize("name", LINNET)


def keys(model, first=0):
    return {s: jax.random.key(first + i) for i, s in enumerate(("params", *model.streams))}


@functools.cache
def drawn(name):
    """Variables of the shapes that Flax's `init` gives them, with numbers from NumPy.

    Compiling the initializers would take longer than the comparison itself.
    """
    model = FLAX[name]
    init = functools.partial(model.make().init, keys(model), **model.modes[0])
    variables = {**jax.eval_shape(init, *model.inputs)}
    variables.pop("intermediates", None)
    rng = np.random.default_rng(3)
    return jax.tree.map_with_path(
        # State may contain variances, which must be positive.
        lambda path, x: jnp.asarray(
            rng.normal(0, 0.3, x.shape) if path[0].key == "params" else rng.uniform(1, 2, x.shape),
            x.dtype,
        ),
        variables,
    )


def run(model, variables, *, train=True, first=10):
    """Output and changed state of a call, given its parameters and state."""
    mutable = list(model.mutable) if train else False
    mode = model.modes[0] if train else model.modes[1]
    rngs = keys(model, first) if train else None
    return model.make().apply(variables, *model.inputs, **mode, mutable=mutable, rngs=rngs)


def form(tree):
    """Nested lists of names, in order of insertion."""
    return [(k, form(v)) for k, v in tree.items()] if isinstance(tree, dict) else None


near = functools.partial(comparing.near, rtol=2e-5, atol=2e-6)


@each_model
def test_eager(name):
    compare = near if LINNET[name].rounded else identical
    (ours_y, ours), (theirs_y, theirs) = (
        m[name].make().init_with_output(keys(m[name]), *m[name].inputs, **m[name].modes[0])
        for m in (LINNET, FLAX)
    )
    if name not in ("translator", "tagger"):  # jax's transforms sort dicts by name
        assert form(ours) == form(theirs)
    identical(without_intermediates(ours), without_intermediates(theirs))
    compare(ours_y, theirs_y)
    for train in (True, False):
        variables = without_intermediates(theirs)
        compare(*(run(m[name], variables, train=train) for m in (LINNET, FLAX)))


def without_intermediates(variables):
    return {k: v for k, v in variables.items() if k != "intermediates"}


def loss_of(model, params, state, first):
    y, state = run(model, {"params": params, **state}, first=first)
    state.pop("intermediates", None)
    return jnp.mean(jnp.square(y - jnp.cos(jnp.arange(y.size)).reshape(y.shape))), (y, state)


OPTIMIZER = optax.adamw(1e-3)


@each_model
def test_training(name):
    results = []
    for models in (LINNET, FLAX):
        model = models[name]

        @jax.jit
        def step(params, state, moments, first, model=model):
            loss = functools.partial(loss_of, model)
            grad = jax.value_and_grad(loss, has_aux=True)
            (value, (y, state)), gradient = grad(params, state, first)
            updates, moments = OPTIMIZER.update(gradient, moments, params)
            params = optax.apply_updates(params, updates)
            return params, state, moments, (value, y, gradient)

        state = {**drawn(name)}
        params = state.pop("params")
        moments = OPTIMIZER.init(params)
        seen = []
        for i in range(5):
            params, state, moments, result = step(params, state, moments, 20 + 2 * i)
            seen.append(result)
        results.append((params, state, seen))
    (our_params, our_state, ours), (their_params, their_state, theirs) = results
    near(ours[0], theirs[0])  # the same parameters: gradients up to rounding
    before = drawn(name)["params"]
    moved = jax.tree.map(lambda a, b: np.max(np.abs(np.subtract(a, b))), their_params, before)
    assert max(jax.tree.leaves(moved)) > 1e-3
    near((our_params, our_state), (their_params, their_state), rtol=0, atol=1e-5)


@each_model
def test_jitted(name):
    """With all of XLA's optimizations."""
    jax.config.update("jax_disable_most_optimizations", False)
    results = []
    for models in (LINNET, FLAX):
        model = models[name]
        results.append(jax.jit(lambda v, model=model: run(model, v))(drawn(name)))
    jax.config.update("jax_disable_most_optimizations", True)
    (near if LINNET[name].rounded else identical)(*results)


def test_generating_with_a_cache():
    ours, theirs = (m["decoder with cache"].make(generate=True) for m in (LINNET, FLAX))
    variables = [layer.init(jax.random.key(0), whole_models.WORDS) for layer in (ours, theirs)]
    identical(*variables)
    params = variables[1]["params"]
    for wrap in (lambda f: f, jax.jit):
        caches = [{"cache": v["cache"]} for v in variables]
        steps = [
            wrap(lambda c, x, m=m: m.apply({"params": params, **c}, x, mutable=["cache"]))
            for m in (ours, theirs)
        ]
        for i in range(6):
            token = whole_models.WORDS[:, i : i + 1]
            results = [step(c, token) for step, c in zip(steps, caches, strict=True)]
            identical(*results)
            caches = [cache for _, cache in results]
    full = theirs.clone(generate=False).apply({"params": params}, whole_models.WORDS)
    near(results[0][0][:, 0], full[:, -1])
