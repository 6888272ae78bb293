"""nnx normalization: bit for bit what Flax computes.

Each case is a norm built the same way from both libraries. Variables, the streams' counts, outputs
and new statistics are compared bit by bit, eager with eager; gradients up to rounding.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as flax_linen
from flax import nnx as flax_nnx

import comparing
from linnet.layers_norm import nnx as norms
from linnet.module_core import nnx

pytestmark = pytest.mark.usefixtures("quick_compilation")

NORMS = ["BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm"]
LAYERS = [*NORMS, "SpectralNorm", "WeightNorm"]


def normal(*shape, dtype=jnp.float32):
    return (1 + 2 * jax.random.normal(jax.random.key(len(shape)), shape)).astype(dtype)


X = normal(3, 5, 4, 8)
MASK = jax.random.bernoulli(jax.random.key(3), 0.7, X.shape)


identical = functools.partial(comparing.identical, weak_types=False)


def state_of(library, module):
    """Type and value of each leaf, by path and in order."""
    return {
        path: (
            (type(leaf).__name__, leaf.get_value())
            if isinstance(leaf, library.Variable)
            else ("array", leaf)
        )
        for path, leaf in library.to_flat_state(library.state(module))
    }


def same_state(ours, theirs):
    a, b = state_of(nnx, ours), state_of(flax_nnx, theirs)
    assert list(a) == list(b)
    for path in a:
        assert a[path][0] == b[path][0]
        identical(_data(a[path][1]), _data(b[path][1]))


def _data(value):
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(value)
    return value


class Case(NamedTuple):
    name: str
    args: tuple[Any, ...] = (8,)
    options: Mapping[str, Any] = {}
    x: Any = X
    mask: Any = None
    call: Mapping[str, Any] = {}


bf16, f16 = jnp.bfloat16, jnp.float16
CASES = [
    Case("LayerNorm"),
    Case("LayerNorm", mask=MASK),
    Case("LayerNorm", options={"use_bias": False, "epsilon": 1e-3}),
    Case("LayerNorm", options={"use_scale": False, "use_bias": False}),
    Case("LayerNorm", (5,), {"reduction_axes": (2, 3), "feature_axes": 1}),
    Case("LayerNorm", options={"use_fast_variance": False}),
    Case("LayerNorm", options={"dtype": bf16}),
    Case("LayerNorm", options={"param_dtype": bf16}, x=X.astype(bf16)),
    Case("LayerNorm", x=X.astype(bf16)),
    Case("LayerNorm", x=X.astype(f16), options={"param_dtype": f16}),
    Case("LayerNorm", x=jnp.arange(16).reshape(2, 8)),
    Case("RMSNorm"),
    Case("RMSNorm", mask=MASK),
    Case("RMSNorm", options={"use_scale": False}),
    Case("RMSNorm", options={"dtype": bf16, "param_dtype": bf16}),
    Case("RMSNorm", x=X.astype(bf16)),
    Case("GroupNorm", (8, 4)),
    Case("GroupNorm", (8, None, 4)),
    Case("GroupNorm", (8, 2), mask=MASK),
    Case("GroupNorm", (8, 2), {"use_bias": False, "use_fast_variance": False}),
    Case("GroupNorm", (8, 2), {"dtype": bf16}),
    Case("InstanceNorm"),
    Case("InstanceNorm", mask=MASK),
    Case("InstanceNorm", options={"use_scale": False}),
    Case("InstanceNorm", (5,), {"feature_axes": 1}),
    Case("InstanceNorm", x=X.astype(bf16)),
    Case("BatchNorm"),
    Case("BatchNorm", mask=MASK),
    Case("BatchNorm", options={"momentum": 0.5, "epsilon": 1e-2, "use_bias": False}),
    Case("BatchNorm", (5,), {"axis": 1}),
    Case("BatchNorm", options={"use_fast_variance": False, "use_scale": False}),
    Case("BatchNorm", options={"dtype": bf16}),
    Case("BatchNorm", options={"param_dtype": bf16}, x=X.astype(bf16)),
    Case("BatchNorm", x=X.astype(bf16)),
    Case("BatchNorm", options={"dtype": f16}, call={"use_running_average": True}),
    Case("BatchNorm", call={"use_running_average": True}),
    Case("BatchNorm", options={"use_running_average": True}, x=X.astype(bf16)),
]


def pair(case):
    """The layer of both libraries, with random parameters."""
    init = jax.nn.initializers.normal(0.5)
    options = {"scale_init": init, "scale_metadata": {"unit": "volt"}, **case.options}
    if case.name != "RMSNorm":
        options["bias_init"] = init
    return (
        getattr(norms, case.name)(*case.args, rngs=nnx.Rngs(3), **options),
        getattr(flax_nnx, case.name)(*case.args, rngs=flax_nnx.Rngs(3), **options),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name}-{c.args}-{c.options}-{c.x.dtype}")
def test_norms_are_bit_for_bit_the_same(case):
    ours, theirs = pair(case)
    same_state(ours, theirs)
    mask = {} if case.mask is None else {"mask": case.mask}
    for _ in range(2):  # the second with the averages that the first left
        identical(ours(case.x, **mask, **case.call), theirs(case.x, **mask, **case.call))
        same_state(ours, theirs)
    if case.name == "BatchNorm":
        ours.eval()
        theirs.set_attributes(use_running_average=True)
        identical(ours(case.x), theirs(case.x))


@pytest.mark.parametrize("name", ["LayerNorm", "BatchNorm"])
def test_gradients_are_the_same(name):
    ours, theirs = pair(Case(name))

    def gradient(library, module):
        graphdef, params, rest = library.split(module, library.Param, ...)

        def loss(values, x):
            state = library.from_flat_state(
                [
                    (path, v.replace(new))
                    for (path, v), new in zip(library.to_flat_state(params), values, strict=True)
                ]
            )
            copied = jax.tree.map(lambda x: x, rest)
            return jnp.sum(jnp.sin(library.merge(graphdef, state, copied)(x)))

        values = [v.get_value() for _, v in library.to_flat_state(params)]
        return jax.jit(jax.grad(loss, argnums=(0, 1)))(values, X)

    for a, b in zip(
        jax.tree.leaves(gradient(nnx, ours)),
        jax.tree.leaves(gradient(flax_nnx, theirs)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-5)


def test_batch_norm_over_devices():
    ours, theirs = pair(Case("BatchNorm", options={"axis_name": "batch"}))

    def apply(library, module):
        graphdef, state = library.split(module)

        def one(x):
            made = library.merge(graphdef, jax.tree.map(lambda x: x, state))
            return made(x), made.mean.get_value(), made.var.get_value()

        return jax.vmap(one, axis_name="batch")(X)

    identical(apply(nnx, ours), apply(flax_nnx, theirs))


class Net:
    """A layer to wrap, in both libraries."""

    def __new__(cls, library, rngs):
        class Made(library.Module):
            def __init__(self):
                draw = jax.random.normal
                self.kernel = library.Param(draw(rngs.params(), (8, 5)))
                self.cube = library.Param(draw(rngs.params(), (2, 8, 5)))
                self.bias = library.Param(jnp.ones(5))
                self.other = library.BatchStat(jnp.ones((8, 5)))

            def __call__(self, x):
                y = x @ self.kernel.get_value() + self.bias.get_value()
                return y + jnp.einsum("...i,cio->...o", x, self.cube.get_value())

        return Made()


@pytest.mark.parametrize(
    ("name", "options", "calls"),
    [
        ("SpectralNorm", {}, [{}, {"update_stats": False}]),
        ("SpectralNorm", {"n_steps": 3, "update_stats": False}, [{}, {"update_stats": True}]),
        ("SpectralNorm", {"n_steps": 0}, [{}]),
        ("SpectralNorm", {"epsilon": 1e-3, "dtype": bf16}, [{}]),
        ("WeightNorm", {}, [{}]),
        ("WeightNorm", {"feature_axes": None, "variable_filter": "cube"}, [{}]),
        ("WeightNorm", {"feature_axes": (0, -1), "use_scale": False}, [{}]),
        ("WeightNorm", {"scale_init": jax.nn.initializers.constant(3.0)}, [{}]),
    ],
)
def test_norms_of_weights_are_near(name, options, calls):
    made = []
    for library, layers in ((nnx, norms), (flax_nnx, flax_nnx)):
        rngs = library.Rngs(0)
        chosen = dict(options)
        if "variable_filter" in chosen:
            chosen["variable_filter"] = library.PathContains(chosen["variable_filter"])
        made.append(getattr(layers, name)(Net(library, rngs), rngs=rngs, **chosen))
    ours, theirs = made
    same_state(ours, theirs)
    for call in calls:
        np.testing.assert_allclose(ours(X[0, 0], **call), theirs(X[0, 0], **call), rtol=2e-5)
        a, b = state_of(nnx, ours), state_of(flax_nnx, theirs)
        assert list(a) == list(b)
        for path in a:
            assert a[path][1].dtype == b[path][1].dtype
            np.testing.assert_allclose(a[path][1], b[path][1], rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_counts_after_construction(name):
    counts = []
    for library, layers in ((nnx, norms), (flax_nnx, flax_nnx)):
        rngs = library.Rngs(0, params=1)
        first = Net(library, rngs) if name in ("SpectralNorm", "WeightNorm") else 32
        getattr(layers, name)(first, rngs=rngs)
        counts.append([int(rngs.params.count.get_value()), int(rngs.default.count.get_value())])
    assert counts[0] == counts[1]


METHODS = [lambda c: c.__init__, lambda c: c.__call__]
WIDER = {
    "RMSNorm.__init__": {"zero_centered"},  # Gemma's variant
    "SpectralNorm.__call__": {"kwargs"},  # of a wrapped layer whose call takes more
}


@pytest.mark.parametrize("name", LAYERS)
def test_signatures(name):
    for method in METHODS:
        ours, theirs = (
            inspect.signature(method(getattr(library, name))).parameters
            for library in (norms, flax_nnx)
        )
        here = f"{name}.{method(getattr(norms, name)).__name__}"
        assert [p for p in ours if p not in WIDER.get(here, ())] == list(theirs)
        for p in theirs:
            assert ours[p].kind == theirs[p].kind
            a, b = ours[p].default, theirs[p].default
            if callable(a) and a is not inspect.Parameter.empty and not isinstance(a, type):
                assert callable(b)  # initializers, filters, promotion
            else:
                assert a == b


def test_errors_of_both():
    for library, layers in ((nnx, norms), (flax_nnx, flax_nnx)):
        rngs = library.Rngs(0)
        with pytest.raises(ValueError, match="(?s)use_running_average.*constructor"):
            layers.BatchNorm(8, use_running_average=None, rngs=rngs)(X)
        for options in ({"num_groups": 3}, {"group_size": 2}, {"num_groups": None}):
            with pytest.raises(ValueError, match=r"(?i)num_groups|groups"):
                layers.GroupNorm(8, rngs=rngs, **options)
        with pytest.raises(TypeError, match="rngs"):
            layers.LayerNorm(8)
        with pytest.raises(ValueError, match="error_on_non_matrix"):
            layers.SpectralNorm(Net(library, rngs), error_on_non_matrix=True, rngs=rngs)


def test_difference_group_norm_over_fewer_axes():
    """Flax's nnx layer computes statistics over other positions than its linen layer does."""
    options = {"reduction_axes": (2, 3)}
    ours, theirs = pair(Case("GroupNorm", (8, 2), options))
    assert not np.allclose(ours(X), theirs(X), atol=0.1)
    params = {"scale": ours.scale.get_value(), "bias": ours.bias.get_value()}
    identical(ours(X), flax_linen.GroupNorm(2, **options).apply({"params": params}, X))
