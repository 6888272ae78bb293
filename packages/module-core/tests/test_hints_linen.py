"""Every hint of linen modules and of the files that they share with nnx, followed to the letter."""

import os
from importlib.metadata import metadata
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

import hints
from hints import Remedy
from linnet.module_core import config, dtypes, functional, nnx
from linnet.module_core import linen as nn
from linnet.module_core.linen import filters
from linnet.module_core.tables import drawing

from . import test_hints_linen_of_models as of_models
from .linen_programs import (
    KEY,
    PARAMS,
    Dense,
    Inline,
    Total,
    X,
    applied,
    assigned,
    given,
    hints_of,
    in_setup,
    inside,
    ones,
    total_of,
    with_layer,
)


def with_environment(read=False, **values):
    with mock.patch.dict(os.environ, values):
        return config.static_int_env("A_NUMBER", 3) if read else config.Config()


def named_w(scope):
    return scope.param("w", ones, (3,))


def tabulated(**options):
    with mock.patch.object(drawing, "_has_rich", return_value=False):
        return Dense().tabulate(KEY, X, **options)


def names_an_extra(name):
    assert name in metadata("linnet-module-core").get_all("Provides-Extra")


def default_first():
    class Model(nn.Module):
        width: int = 3
        depth: int

    return Model(depth=3)


def default_for_both():
    class Model(nn.Module):
        width: int = 3
        depth: int = 2

    return Model(depth=3)


def keyword_only():
    class Model(nn.Module, kw_only=True):
        width: int = 3
        depth: int

    return Model(depth=3)


def reserved_field():
    class Model(nn.Module):
        parent: int

    return Model(3)


def renamed_field():
    class Model(nn.Module):
        parent_id: int

    return Model(3)


def overridden_init(call_super):
    class Model(nn.Module):
        def __init__(self, width):
            if call_super:
                super().__init__()
            self.width = width

        @nn.compact
        def __call__(self, x):
            return Dense(self.width)(x)

    return Model(3)


def without_init():
    class Model(nn.Module):
        width: int

        def setup(self):
            self.layer = Dense(self.width)

        def __call__(self, x):
            return self.layer(x)

    class Compact(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            return Dense(self.width)(x)

    return [model.clone().init(KEY, X) for model in (Model(3), Compact(3))]


def overridden_post_init(call_super):
    class Model(nn.Module):
        width: int = 3

        def __post_init__(self):
            self.half = self.width // 2
            if call_super:
                super().__post_init__()

        @nn.compact
        def __call__(self, x):
            return Dense(self.half)(x)

    return Model().init(KEY, X)


def not_compact(mark=lambda method: method, in_setup=False):
    class Model(nn.Module):
        def setup(self):
            if in_setup:
                self.layer = Dense()

        @mark
        def __call__(self, x):
            return (self.layer if in_setup else Dense())(x)

    return Model().init(KEY, X)


def not_assigned(assign):
    class Model(nn.Module):
        def setup(self):
            layer = Dense()
            if assign:
                self.layer = layer
            self.call = lambda x: (self.layer if assign else layer)(x)

        def __call__(self, x):
            return self.call(x)

    return Model().init(KEY, X)


def sharing():
    class Model(nn.Module):
        def setup(self):
            self.layer = Dense()
            nn.share_scope(self, self.layer)

        def __call__(self, x):
            return self.layer(x)

    return Model().init(KEY, X)


def twice(first, second):
    return inside(lambda m, x: [Dense(name=first)(x), Dense(name=second)(x)], X)


def stored_in_jit(**options):
    store = nn.jit(lambda m, x: m.put_variable("state", "n", x), **options)
    return inside(store, X)


def bound_total(run):
    model = Total()
    variables = model.init({}, X)
    bound = model.bind(variables, mutable="state")
    return run(model, variables, bound)


def kept_alive(bind):
    model = Total()
    variables = model.init({}, X)
    kept = model.bind(variables, mutable="state") if bind else None

    def keep(m, x):
        nonlocal kept
        kept = m

    if not bind:
        model.apply(variables, X, method=keep, mutable="state")
    return kept.add(X)


def two_sizes(layers):
    return inside(
        lambda m: [layer(jnp.ones(size)) for layer, size in zip(layers(), (2, 3), strict=True)]
    )


def plain_method(body):
    class Model(nn.Module):
        def __call__(self):
            return body(self)

    return Model().init(KEY)


def perturb_given(variables):
    return applied(lambda m, x: m.perturb("h", x), variables, X)


REMEDIES = [
    Remedy(
        "Use one of {} or {}.",
        lambda: with_environment(FLAX_PROFILE="maybe"),
        lambda: [with_environment(FLAX_PROFILE=value) for value in ("yes", "no", "1", "off")],
    ),
    Remedy(
        "Leave dtype out to infer it, or pass float32, bfloat16, float16 or complex64.",
        lambda: dtypes.canonicalize_dtype(X, dtype=jnp.int32),
        lambda: [
            dtypes.canonicalize_dtype(X, dtype=dtype)
            for dtype in (None, jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64)
        ],
    ),
    Remedy(
        "a default, or make the fields keyword-only:",
        default_first,
        lambda: [default_for_both(), keyword_only()],
    ),
    Remedy(
        "Call it in setup, on self and a submodule that is already assigned.",
        lambda: nn.share_scope(Dense(), Dense()),
        sharing,
    ),
    Remedy(
        "Expected a method's name, a method, or a function whose first argument is the module.",
        lambda: Total().apply({}, X, method=lambda: None, mutable=True),
        lambda: [
            Total().apply({}, X, method=method, mutable=True)
            for method in ("add", Total.add, Total().add, lambda m, x: m.add(x))
        ],
    ),
    Remedy(
        "Make an instance first: Dense(features=3).init(key, x).",
        lambda: Dense.init(KEY, X),
        lambda: Dense(features=3).init(KEY, X),
    ),
    Remedy(
        "Write Sequential([layer, ...]), with brackets.",
        lambda: nn.Sequential(Dense()),
        lambda: nn.Sequential([Dense(), Dense()]).init(KEY, X),
    ),
    Remedy(
        "Its fields are, in this order: {}.",
        lambda: nn.Sequential(Dense(), Dense()),
        lambda: nn.Sequential([Dense(), Dense()]).init(KEY, X),
    ),
    Remedy(
        "Its fields are, in this order: {}.",
        lambda: Dense(3, "layer"),
        lambda: Dense(3, name="layer").init(KEY, X),
    ),
    Remedy(
        "Its fields are, in this order: none. By keyword: {}.",
        lambda: Total("layer"),
        lambda: [Total(name="layer").init({}, X), Total(parent=None)],
        filled=("parent, name",),
    ),
    Remedy(
        "Leave unused layers out: Sequential([layer for layer in layers if layer is not None]).",
        lambda: nn.Sequential([Dense(), None]),
        lambda: nn.Sequential([f for f in (Dense(), None) if f is not None]).init(KEY, X),
    ),
    Remedy(
        "Make an instance: {}(...).",
        lambda: nn.Sequential([Dense, Dense(2)]),
        lambda: nn.Sequential([Dense(3), Dense(2)]).init(KEY, X),
    ),
    Remedy(
        'python -m pip install "linnet-module-core[rich]", or leave them out',
        lambda: tabulated(table_kwargs={"title": "Model"}),
        lambda: [names_an_extra("rich"), tabulated()],
    ),
    Remedy(
        "Every module has them; give your field a different name.", reserved_field, renamed_field
    ),
    Remedy(
        "Expected True, False, a collection's name, a list of names or DenyList(...).",
        lambda: Total().apply({}, X, mutable=3),
        lambda: [
            Total().apply({}, X, mutable=mutable)
            for mutable in (True, "state", ["state"], nn.DenyList("params"))
        ],
    ),
    Remedy(
        "Initialize it from shapes alone, or use init with a real input.",
        lambda: Inline(lambda m, x: m.variable("state", "first", lambda: x[0])).lazy_init(
            KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32)
        ),
        lambda: [
            Inline(
                lambda m, x: m.variable("state", "first", lambda: jnp.zeros(x.shape[1:])).value
            ).lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32)),
            Inline(lambda m, x: m.variable("state", "first", lambda: x[0]).value).init(KEY, X),
        ],
    ),
    Remedy(
        "A module needs no __init__: annotate its fields in the class (features: int)",
        lambda: overridden_init(call_super=False).init(KEY, X),
        without_init,
    ),
    Remedy(
        "Leave __init__ out: annotate the fields in the class (features: int)",
        lambda: overridden_init(call_super=True).clone(),
        without_init,
    ),
    Remedy(
        "Call it at the end of your __post_init__.",
        lambda: overridden_post_init(call_super=False),
        lambda: overridden_post_init(call_super=True),
    ),
    Remedy(
        "Use module.init(key, *args) and module.apply(variables, *args), or",
        lambda: Dense()(X),
        lambda: [
            variables := Dense().init(KEY, X),
            Dense().apply(variables, X),
            Dense().bind(variables)(X),
        ],
    ),
    Remedy(
        "A module made in setup must be assigned to self.",
        lambda: not_assigned(assign=False),
        lambda: not_assigned(assign=True),
    ),
    Remedy(
        "setup runs automatically, before the first method of a bound module.",
        lambda: Total().setup(),
        lambda: Total().bind({"state": {"total": 0.0}}, mutable=True).add(X),
    ),
    Remedy(
        "For example {}.",
        lambda: inside(lambda m: m.param(ones, "scale", (3,))),
        lambda: inside(lambda m: m.param("scale", ones, (3,))),
    ),
    Remedy(
        "For example {}.",
        lambda: inside(lambda m: m.variable("batch_stats", "mean", 0)),
        lambda: inside(lambda m: m.variable("batch_stats", "mean", jnp.zeros, (3,)).value),
    ),
    Remedy(
        "to one of them.",
        lambda: nn.merge_param("train", None, None),
        lambda: [nn.merge_param("train", True, None), nn.merge_param("train", None, True)],
    ),
    Remedy(
        "Mark the method with @nn.compact, or make the submodule in setup. A module made with "
        "parent=None has no parent.",
        not_compact,
        lambda: [
            not_compact(nn.compact),
            not_compact(in_setup=True),
            with_layer(lambda self, x: Dense(parent=None).init(KEY, x)),
        ],
    ),
    Remedy(
        "Assign to another attribute in setup.",
        lambda: in_setup(lambda m: assigned(m, "body", 3)),
        lambda: in_setup(lambda m: assigned(m, "width", 3)),
    ),
    Remedy(
        "Pass jax.random.key(seed), or a dict of streams: {'params': key1, 'dropout': key2}.",
        lambda: Dense().init(0, X),
        lambda: [
            Dense().init(jax.random.key(0), X),
            Dense().init({"params": KEY, "dropout": KEY}, X),
        ],
    ),
    Remedy(
        "Pass one key per stream: {'params': key1, 'dropout': key2}; split a batch of keys "
        "with jax.vmap.",
        lambda: Dense().init({"params": jax.random.split(KEY)}, X),
        lambda: [
            Dense().init({"params": KEY, "dropout": KEY}, X),
            jax.vmap(lambda key: Dense().init({"params": key}, X))(jax.random.split(KEY)),
        ],
    ),
    Remedy(
        "Is it the pair that init_with_output returned? y, variables = ... unpacks it.",
        lambda: given(Dense().init_with_output(KEY, X)),
        lambda: [given(variables) for y, variables in [Dense().init_with_output(KEY, X)]],
    ),
    Remedy(
        "Pass what init returned, or {'params': params}.",
        lambda: given(PARAMS),
        lambda: [given(Dense().init(KEY, X)), given({"params": PARAMS})],
    ),
    Remedy(
        'Pass variables, or {"params": variables["params"]}, not {"params": variables}.',
        lambda: given({"params": {"params": PARAMS}}),
        lambda: [given({"params": PARAMS}), given({"params": {"params": PARAMS}["params"]})],
    ),
    Remedy(
        "Rename one of the two.",
        lambda: twice("layer", "layer"),
        lambda: twice("layer", "other"),
    ),
    Remedy(
        "Use module.bind(variables, mutable=...) to keep a module alive.",
        lambda: kept_alive(bind=False),
        lambda: kept_alive(bind=True),
    ),
    Remedy(
        "it then returns (output, changed collections).",
        lambda: Total().apply({"state": {"total": jnp.float32(0)}}, X),
        lambda: [
            changed
            for y, changed in [
                Total().apply({"state": {"total": jnp.float32(0)}}, X, mutable=["state"])
            ]
        ],
    ),
    Remedy(
        "In a lifted transform, list the collection among the lifted ones.",
        lambda: stored_in_jit(variables="params"),
        lambda: stored_in_jit(variables=["params", "state"]),
    ),
    Remedy(
        "Use the module that the function gets as its first argument",
        lambda: total_of(lambda self, x: nn.jit(lambda m, x: self.add(x))(self, x)),
        lambda: total_of(lambda self, x: nn.jit(lambda m, x: m.add(x))(self, x)),
    ),
    Remedy(
        "Replace a plain jax transform in between with the lifted one (jax.jit with nn.jit).",
        lambda: total_of(
            lambda self, x: jax.jit(lambda x: nn.remat(lambda m, x: self.add(x))(self, x))(x)
        ),
        lambda: total_of(
            lambda self, x: nn.jit(lambda m, x: nn.remat(lambda m, x: m.add(x))(m, x))(self, x)
        ),
    ),
    Remedy(
        "or create the variable before the transform and return its new value from it.",
        lambda: total_of(lambda self, x: jax.jit(lambda x: self.add(x))(x)),
        lambda: [
            total_of(lambda self, x: nn.jit(lambda m, x: m.add(x))(self, x)),
            total_of(
                lambda self, x: assigned(
                    self.total, "value", jax.jit(lambda t, x: t + x.sum())(self.total.value, x)
                )
            ),
        ],
    ),
    Remedy(
        "call apply(variables, ..., mutable=...) inside the transform instead",
        lambda: bound_total(lambda model, variables, bound: jax.jit(bound.add)(X)),
        lambda: bound_total(
            lambda model, variables, bound: jax.jit(
                lambda x: model.apply(variables, x, mutable="state")
            )(X)
        ),
    ),
    Remedy(
        'Write name=f"layer_{i}" for the number i, or leave name out.',
        lambda: inside(lambda m: Dense(3, name=1)(X)),
        lambda: inside(lambda m: [Dense(3, name=n)(X) for n in (f"layer_{1}", None)]),
    ),
    Remedy(
        "Pass what init returned. jax.numpy.asarray converts a list of numbers to an array.",
        lambda: applied(lambda m: m.param("w", ones, (3,)), {"params": {"w": [1.0, 2.0, 3.0]}}),
        lambda: applied(
            lambda m: m.param("w", ones, (3,)), {"params": {"w": jnp.asarray([1.0, 2.0, 3.0])}}
        ),
    ),
    Remedy(
        "If it is a factory, call it first: {}().",
        lambda: inside(lambda m: m.param("w", jax.nn.initializers.glorot_normal, (3, 3))),
        lambda: inside(lambda m: m.param("w", jax.nn.initializers.glorot_normal(), (3, 3))),
    ),
    Remedy(
        "Make one module for each size.",
        lambda: two_sizes(lambda: [Dense()] * 2),
        lambda: two_sizes(lambda: [Dense(), Dense()]),
    ),
    Remedy(
        "jax.random.key(0)} to apply, or this dict to init",
        lambda: applied(lambda m: m.make_rng("noise"), {}),
        lambda: [
            applied(lambda m: m.make_rng("noise"), {}, rngs={"noise": jax.random.key(0)}),
            Inline(lambda m: m.make_rng("noise")).init({"noise": jax.random.key(0)}),
        ],
    ),
    Remedy(
        "in a lifted transform, list the stream in split_rngs.",
        lambda: applied(
            nn.vmap(lambda m, x: m.make_rng("noise")), {}, X, rngs={"noise": jax.random.key(0)}
        ),
        lambda: applied(
            nn.vmap(lambda m, x: m.make_rng("noise"), split_rngs={"noise": True}),
            {},
            X,
            rngs={"noise": jax.random.key(0)},
        ),
    ),
    Remedy(
        "Leave it out for {}.",
        lambda: with_environment(A_NUMBER="many", read=True),
        lambda: with_environment(read=True),
        filled=("3",),
    ),
    Remedy(
        "Leave it out: assignment changes variables.",
        lambda: config.Config().update("flax_hijax_variable", True),
        lambda: config.Config(),
    ),
    Remedy(
        "For one class, write `class Model(nnx.Module, pytree=False)`.",
        lambda: config.Config().update("flax_pytree_module", False),
        lambda: type("Model", (nnx.Module,), {}, pytree=False),
    ),
    Remedy(
        "Use in_filter to ask about one name.",
        lambda: filters.filter_to_set(nn.DenyList("params")),
        lambda: filters.in_filter(nn.DenyList("params"), "params"),
    ),
    Remedy(
        "Return what the call computes rather than the scope, or make one that lasts with",
        lambda: functional.apply(lambda scope: scope)({}).make_rng("params"),
        lambda: [
            functional.apply(lambda scope: scope.make_rng("params"))({}, rngs={"params": KEY}),
            functional.bind({}, {"params": KEY}).make_rng("params"),
        ],
    ),
    Remedy(
        "Give one of the two another name. Call scope.rewound() to run a function again on",
        lambda: functional.init(lambda s: [s.child(named_w, "a")(), s.child(named_w, "a")()])(KEY),
        lambda: [
            functional.init(lambda s: [s.child(named_w, "a")(), s.child(named_w, "b")()])(KEY),
            functional.init(lambda s: [named_w(s), named_w(s.rewound())])(KEY),
        ],
    ),
    Remedy(
        "Pass flags={...} to init, apply or bind, or give get_flag a default.",
        lambda: functional.init(lambda scope: scope.get_flag("train"))(KEY),
        lambda: [
            functional.init(lambda s: s.get_flag("train"), flags={"train": True})(KEY),
            functional.init(lambda s: s.get_flag("train", False))(KEY),
        ],
    ),
    Remedy(
        "depth=1 shows the model and its submodules; None shows all modules.",
        lambda: Dense().tabulate(KEY, X, depth="all"),
        lambda: [Dense().tabulate(KEY, X, depth=depth) for depth in (1, None)],
    ),
    Remedy(
        "depth=0 shows the model alone; None shows all modules.",
        lambda: Dense().tabulate(KEY, X, depth=-1),
        lambda: [Dense().tabulate(KEY, X, depth=depth) for depth in (0, None)],
    ),
    Remedy(
        "Call it from within init, apply, or a module made by bind.",
        lambda: Dense().param("w", ones, (3,)),
        lambda: [
            inside(lambda m: m.param("w", ones, (3,))),
            applied(lambda m: m.param("w", ones, (3,)), {"params": {"w": jnp.ones(3)}}),
        ],
    ),
    Remedy(
        "Call it from within init, apply, or a module made by bind.",
        lambda: Dense().get_variable("params", "kernel"),
        lambda: [
            inside(lambda m: m.get_variable("params", "kernel")),
            Dense().bind({"params": PARAMS}).get_variable("params", "kernel"),
        ],
    ),
    Remedy(
        "or use get_variable and put_variable.",
        lambda: plain_method(lambda m: m.variable("state", "n", jnp.zeros, ())),
        lambda: [
            inside(lambda m: m.variable("state", "n", jnp.zeros, ()).value),
            in_setup(lambda m: m.variable("state", "n", jnp.zeros, ())),
            plain_method(lambda m: [m.put_variable("state", "n", 0), m.get_variable("state", "n")]),
        ],
    ),
    Remedy(
        "Make it with init, or leave the collection out.",
        lambda: perturb_given({"perturbations": {"g": jnp.zeros((2, 3))}}),
        lambda: [
            perturb_given(Inline(lambda m, x: m.perturb("h", x)).init(KEY, X)),
            perturb_given({}),
        ],
    ),
    Remedy(
        "Give the value another name.",
        lambda: inside(lambda m, x: [Dense(name="h")(x), m.sow("state", "h", x)], X),
        lambda: inside(lambda m, x: [Dense(name="h")(x), m.sow("state", "out", x)], X),
    ),
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found, remedies = hints_of("modules"), [*REMEDIES, *of_models.HINTS]
    assert hints.untried(found, remedies) == []
    assert hints.unknown(found, [remedy.words for remedy in remedies]) == []
