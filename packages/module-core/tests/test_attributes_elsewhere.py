"""A missing attribute that other libraries have: the error names code that works instead."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import attributes_elsewhere, linen, nnx

X, KEY = jnp.ones((1, 2)), jax.random.key(0)
DEVICE = jax.devices()[0]


class Linear(nnx.Module):
    def __init__(self, rngs, dtype=None, param_dtype=jnp.float32):
        self.kernel = nnx.Param(jnp.ones((2, 3), param_dtype))
        self.dtype = dtype
        self.rngs = rngs

    def __call__(self, x):
        return x.astype(self.dtype) @ self.kernel.astype(self.dtype)


class Model(nnx.Module):
    def __init__(self, rngs):
        self.head = Linear(rngs)

    def __call__(self, x):
        return self.head(x)

    @property
    def broken(self):
        return self.kernl


class Dense(linen.Module):
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    @linen.compact
    def __call__(self, x, train=True):
        return x @ self.param("kernel", jax.nn.initializers.ones, (2, 3), self.param_dtype)


module, dense = Model(nnx.Rngs(dropout=0)), Dense()
variables = dense.init(KEY, X)


def loss(model):
    return model(X).sum()


# By the first name of a hint: the program that it leads to, and its result.
NNX = {
    "apply": lambda: module(X).shape == (1, 3),
    "init": lambda: module(X).shape == (1, 3),
    "params": lambda: len(jax.tree.leaves(nnx.state(module, nnx.Param))) == 1,
    "named_parameters": lambda: (
        [path for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))]
        == [("head", "kernel")]
    ),
    "variables": lambda: len(jax.tree.leaves(nnx.state(module))) == 3,
    "state_dict": lambda: nnx.to_pure_dict(nnx.state(module))["head"]["kernel"].shape == (2, 3),
    "load_state_dict": lambda: nnx.update(module, nnx.state(module)) is None,
    "to": lambda: nnx.update(module, jax.device_put(nnx.state(module), DEVICE)) is None,
    "half": lambda: (
        Linear(None, jnp.bfloat16, jnp.bfloat16)(X).dtype == jnp.bfloat16  # both, as layers have
    ),
    "zero_grad": lambda: nnx.grad(loss)(module)["head"]["kernel"].shape == (2, 3),
    "requires_grad_": lambda: (
        nnx.grad(loss, argnums=nnx.DiffState(0, nnx.PathContains("head")))(
            Model(None)  # without counts of random streams
        )["head"]["kernel"].shape
        == (2, 3)
    ),
    "children": lambda: [child for _, child in module.iter_children()] == [module.head],
    "named_children": lambda: list(module.iter_children()) == [("head", module.head)],
    "modules": lambda: {path for path, _ in module.iter_modules()} == {(), ("head",)},
    "weight": lambda: module.head.kernel.shape == (2, 3),
    "summary": lambda: callable(nnx.tabulate),
    "param": lambda: Linear(None).kernel.shape == (2, 3),
    "variable": lambda: nnx.Variable(X).shape == (1, 2),
    "make_rng": lambda: jnp.issubdtype(module.head.rngs.dropout().dtype, jax.dtypes.prng_key),
}
LINEN = {
    "params": lambda: dense.init(KEY, X)["params"].keys() == {"kernel"},
    "load_state_dict": lambda: dense.apply(variables, X).shape == (1, 3),
    "forward": lambda: dense.apply(variables, X).shape == (1, 3),
    "to": lambda: jax.device_put(variables, DEVICE)["params"]["kernel"].shape == (2, 3),
    "half": lambda: Dense(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16).init(KEY, X),
    "zero_grad": lambda: jax.grad(lambda v: dense.apply(v, X).sum())(variables),
    "train": lambda: dense.apply(variables, X, train=False).shape == (1, 3),
    "weight": lambda: variables["params"]["kernel"].shape == (2, 3),
    "summary": lambda: "kernel" in dense.tabulate(KEY, X),
}


def firsts(table):
    """The first name of each hint."""
    return list({hint: name for name, hint in reversed(table.items())}.values())


def test_each_hint_leads_to_a_program():
    for table, programs in ((attributes_elsewhere.NNX, NNX), (attributes_elsewhere.LINEN, LINEN)):
        assert sorted(firsts(table)) == sorted(programs)
        for name, works in programs.items():
            assert works(), name


@pytest.mark.parametrize(
    ("object_", "table"),
    [(module, attributes_elsewhere.NNX), (dense, attributes_elsewhere.LINEN)],
    ids=["nnx", "linen"],
)
def test_errors_about_missing_attributes_have_the_hint(object_, table):
    for name, hint in table.items():
        assert not hasattr(object_, name), name
        assert getattr(object_, name, None) is None
        with pytest.raises(AttributeError) as caught:
            getattr(object_, name)
        assert str(caught.value).endswith(f"\n  {hint}")


def test_other_attributes_have_python_s_error():
    for name in ("kernl", "broken"):
        with pytest.raises(AttributeError, match="^'Model' object has no attribute 'kernl'") as e:
            getattr(module, name)
        assert (e.value.name, e.value.obj) == ("kernl", module)
    assert not set(attributes_elsewhere.NNX) & {n for n, _ in inspect.getmembers(module)}


def test_an_attribute_of_that_name_is_found():
    class Ported(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(jnp.ones(2))

        @property
        def params(self):
            return self.weigth

    assert Ported().weight.shape == (2,)
    with pytest.raises(AttributeError, match=r"no attribute 'weigth'"):
        Ported().params
