"""Private names of Flax that published libraries use return equal results in both libraries."""

import flax.core.scope
import flax.linen as theirs
import flax.serialization
import flax.struct
import jax
import jax.numpy as jnp
import pytest

import linnet.flax.core.scope
import linnet.flax.linen as ours
import linnet.flax.serialization
import linnet.struct
from comparing import identical
from linnet.flax.linen import linear, module, normalization

X = jax.random.normal(jax.random.key(0), (2, 3, 4))


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 5, 3), (5, 3)])
def test_conv_dimension_numbers(shape):
    expected = theirs.linear._conv_dimension_numbers(shape)
    assert linear._conv_dimension_numbers(shape) == expected


@pytest.mark.parametrize("x", [3, (1, 2), [1, 2], range(2)])
def test_canonicalize_tuple(x):
    assert linear._canonicalize_tuple(x) == theirs.linear._canonicalize_tuple(x)


@pytest.mark.parametrize("axes", [(-1,), (1, -3), (0, 2, 1)])
def test_normalize_axes(axes):
    assert linear._normalize_axes(axes, 3) == theirs.linear._normalize_axes(axes, 3)


@pytest.mark.parametrize("axes", [-1, (0, -1), [1, -1], (-1, 0, -1)])
def test_canonicalize_axes(axes):
    expected = theirs.normalization._canonicalize_axes(3, axes)
    assert normalization._canonicalize_axes(3, axes) == expected


STATS = [
    {},
    {"dtype": jnp.bfloat16},
    {"use_mean": False},
    {"use_fast_variance": False},
    {"mask": X > 0},
    {"force_float32_reductions": False},
]


@pytest.mark.parametrize("options", STATS, ids=lambda o: "".join(o))
@pytest.mark.parametrize("axes", [-1, (0, 2)], ids=str)
def test_compute_stats(axes, options):
    options = {"dtype": None, **options}
    expected = theirs.normalization._compute_stats(X, axes, **options)
    identical(normalization._compute_stats(X, axes, **options), expected, weak_types=False)


def norm(nn, **options):
    class Norm(nn.Module):
        """A norm as libraries write one."""

        @nn.compact
        def __call__(self, x):
            mean, var = nn.normalization._compute_stats(x, (0, 1), None)
            fields = {
                "dtype": None,
                "param_dtype": jnp.float32,
                "epsilon": 1e-5,
                "use_bias": True,
                "use_scale": True,
                "bias_init": nn.initializers.normal(),
                "scale_init": nn.initializers.normal(),
            }
            return nn.normalization._normalize(
                self, x, mean, var, (0, 1), (2,), **{**fields, **options}
            )

    return Norm()


@pytest.mark.parametrize(
    "options",
    [{}, {"use_bias": False, "use_scale": False}, {"dtype": jnp.bfloat16}],
    ids=lambda o: "".join(o),
)
def test_normalize(options):
    identical(
        *(norm(nn, **options).init_with_output(jax.random.key(1), X) for nn in (ours, theirs))
    )


@pytest.mark.parametrize("axis", [None, -1, (0, 1)])
def test_l2_normalize(axis):
    identical(
        normalization._l2_normalize(X, axis=axis),
        theirs.normalization._l2_normalize(X, axis=axis),
        weak_types=False,
    )
    identical(normalization._abs_sq(X * 1j), theirs.normalization._abs_sq(X * 1j))


@pytest.mark.parametrize("nn", [ours, theirs], ids=["ours", "theirs"])
def test_methods_have_a_mark(nn):
    class Block(nn.Module):
        def double(self, x):
            return 2 * x

    assert Block.double.method_handler_wrapped
    assert nn.module.wrap_method_once(Block.double) is Block.double
    assert not hasattr(Block.double.__wrapped__, "method_handler_wrapped")
    assert nn.module._context.module_stack == [None]
    assert module.wrap_method_once is ours.module.wrap_method_once


class Plain:
    pass


@pytest.mark.parametrize(
    ("serialization", "struct"),
    [(linnet.flax.serialization, linnet.struct), (flax.serialization, flax.struct)],
    ids=["ours", "theirs"],
)
def test_the_registry_of_state_dicts(serialization, struct):
    registry = serialization._STATE_DICT_REGISTRY

    @struct.dataclass
    class Node:
        a: int

    assert Node in registry
    assert {dict, list, tuple} <= set(registry)
    assert Plain not in registry
    serialization.register_serialization_state(Plain, lambda x: {}, lambda x, state: x)
    assert Plain in registry
    assert Plain in list(registry)
    to_dict, from_dict = registry[Node]
    assert to_dict(Node(3)) == {"a": 3}
    assert from_dict(Node(3), {"a": 4}) == Node(4)
    del registry[Plain]
    assert Plain not in registry
    with pytest.raises(KeyError):
        registry[Plain]


KEY = jax.random.key(0)
ARGUMENTS = [
    KEY,
    jax.random.PRNGKey(0),
    jax.random.split(KEY),
    jnp.zeros(2, int),
    None,
    3,
    {},
    {"params": KEY},
    {"params": 3},
    {1: KEY},
    {"params": {"w": 1}},
    {"params": {1: 2}},
    {1: {}},
]


@pytest.mark.parametrize("of", ["rng", "rngs", "collection", "variables"])
def test_valid_arguments(of):
    checks = [getattr(m.core.scope, f"_is_valid_{of}") for m in (linnet.flax, flax)]
    lazy = linnet.flax.core.scope.LazyRng.create(KEY, "a")
    assert of == "variables" or checks[0](lazy) == (of == "rng")
    for argument in ARGUMENTS:
        if of != "variables" or isinstance(argument, dict):
            ours_says, flax_says = (check(argument) for check in checks)
            assert ours_says == flax_says, argument


def test_the_rows_of_a_table():
    def rows(nn):
        model = nn.Sequential([nn.Dense(2), nn.Dense(3)])
        make = nn.summary._get_module_table(
            model, depth=None, show_repeated=False, compute_flops=False, compute_vjp_flops=False
        )
        table = make(jax.random.key(0), X, mutable=["params"])
        assert isinstance(table[0].outputs, nn.summary._ArrayRepresentation)
        assert not isinstance(table[0].outputs, nn.summary._ObjectRepresentation)
        by_path = {row.path: row for row in table}
        return [
            list(table.collections),
            {p: (r.outputs.shape, r.method, r.module_variables) for p, r in by_path.items()},
        ]

    assert rows(ours) == rows(theirs)
