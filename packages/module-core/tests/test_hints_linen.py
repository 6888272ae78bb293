"""Every hint of linen and of the files that it shares with nnx, followed to the letter."""

import os
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

import hints
from hints import Remedy
from linnet.module_core import config, dtypes
from linnet.module_core import linen as nn
from linnet.module_core.linen import drawing, partitioning

SOURCES = Path(config.__file__).parent
KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    features: int = 3

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Total(nn.Module):
    """Has a variable, and methods that are not compact."""

    def setup(self):
        self.total = self.variable("state", "total", jnp.zeros, ())

    def add(self, x):
        self.total.value += x.sum()
        return x

    def __call__(self, x):
        return self.add(x)


class Inline(nn.Module):
    """Its method is a function: a program about the inside of a module takes one expression."""

    body: Any

    @nn.compact
    def __call__(self, *args):
        return self.body(self, *args)


class InSetup(nn.Module):
    body: Any

    def setup(self):
        self.body(self)

    def __call__(self):
        return None


def inside(body, *args):
    return Inline(body).init_with_output(KEY, *args)


def in_setup(body):
    return InSetup(body).init(KEY)


def applied(body, variables, *args, **options):
    return Inline(body).apply(variables, *args, **options)


def with_environment(**values):
    with mock.patch.dict(os.environ, values):
        return config.Config()


def tabulated(**options):
    with mock.patch.object(drawing, "_has_rich", return_value=False):
        return Dense().tabulate(KEY, X, **options)


def names_an_extra(name):
    assert name in metadata("linnet-module-core").get_all("Provides-Extra")


def assigned(module, name, value):
    setattr(module, name, value)
    return value


MESH = jax.make_mesh((1,), ("data",))
HALVES = AbstractMesh((2,), ("data",), axis_types=(AxisType.Explicit,))


def spec(*names):
    return PartitionSpec(*names)


def boxed(names, mesh=MESH, shape=(4,)):
    return inside(lambda m: m.param("w", nn.with_partitioning(ones, names, mesh=mesh), shape))


def laid_out(x, names, mesh=MESH, **options):
    return nn.with_logical_constraint(x, names, mesh=mesh, **options)


# Fields and constructors.


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


def with_layer(make):
    class Model(nn.Module):
        def setup(self):
            self.layer = Dense()

        def __call__(self, x):
            return make(self, x)

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


class Shared(nn.Module):
    """A weight, and a statistic of the inputs."""

    @nn.compact
    def __call__(self, x, _=None):
        w = self.param("w", jax.nn.initializers.normal(), ())
        mean = self.variable("stats", "mean", jnp.zeros, ())
        if self.is_mutable_collection("stats"):
            mean.value = x.mean()
        return x * w, None


def mapped(axes, split=True, x=X):
    return nn.vmap(Shared, variable_axes=axes, split_rngs={"params": split})().init(KEY, x)


def scanned(split=False, x=X, **options):
    options = {"variable_broadcast": "params", "variable_axes": {"stats": 0}, **options}
    return nn.scan(Shared, split_rngs={"params": split}, length=2, **options)().init(KEY, x, None)


def scanned_function(fn, c=0.0, x=X, **options):
    return inside(lambda m: nn.scan(fn, **options)(m, c, x))


def from_around(m, x):
    other = Dense(name="other")
    return nn.jit(lambda m, x: nn.jit(lambda m, o, x: o(m(x)))(m, other, x))(Dense(), x)


def passed_on(m, x):
    other = Dense(name="other")
    return nn.jit(lambda m, o, x: nn.jit(lambda m, o, x: o(m(x)))(m, o, x))(Dense(), other, x)


def mapped_inputs(in_axes=0, *args, **options):
    return inside(lambda m: nn.vmap(lambda m, *xs: xs, in_axes=in_axes, **options)(m, *args))


def axes_of(tree, names):
    return inside(
        lambda m: partitioning.variable_with_axes("cache", "n", lambda: tree, axes=names).value
    )


def with_names(names):
    return Inline(lambda m: partitioning.param_with_axes("w", ones, (3,), axes=names))


def named(variables, names, drop=()):
    given = {name: tree for name, tree in variables.items() if name not in drop}
    return with_names(names).apply(given, mutable="params_axes")


def axis_names(of):
    variables = with_names(("embed",)).init(KEY)
    return partitioning.get_axis_names(of(variables))


def boxed_layers(**options):
    init = nn.with_partitioning(ones, ("data",))
    layer = nn.vmap(
        lambda m, x: x * m.param("w", init, (3,)),
        variable_axes={"params": 0}, split_rngs={"params": True}, **options,
    )  # fmt: skip
    return inside(layer, X)


def from_nnx(metadata):
    return nn.Partitioned.from_nnx_metadata(metadata)


def given(variables):
    return Dense().apply(variables, X)


PARAMS = {"kernel": jnp.ones((3, 3))}


def twice(first, second):
    return inside(lambda m, x: [Dense(name=first)(x), Dense(name=second)(x)], X)


def total_of(how):
    """Runs a program about a method that changes a variable, as a module's `__call__`."""

    class Model(Total):
        def __call__(self, x):
            return how(self, x)

    return Model().init({}, X)


def carried_total(**options):
    def step(m, carry, x):
        return m.add(x), None

    return total_of(lambda self, x: nn.scan(step, **options)(self, x[0], x)[0])


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
    # The shared files.
    Remedy(
        "Give axes that are laid out differently different names.",
        lambda: nn.logical_to_mesh_axes(("embed", "embed"), [("embed", "data")]),
        lambda: nn.logical_to_mesh_axes(("embed", "embed_out"), [("embed", "data")]),
    ),
    Remedy(
        'For an array with one axis, write ("embed",).',
        lambda: nn.logical_to_mesh_axes("embed", [("embed", "data")]),
        lambda: nn.logical_to_mesh_axes(("embed",), [("embed", "data")]),
    ),
    Remedy(
        "A rule is a logical name with a mesh axis, a tuple of them, or None:",
        lambda: nn.logical_to_mesh_axes(("batch",), "batch"),
        lambda: nn.logical_to_mesh_axes(("batch",), [("batch", "data"), ("embed", None)]),
    ),
    Remedy(
        "A rule is a logical name with a mesh axis, a tuple of them, or None:",
        lambda: nn.logical_to_mesh_axes(("batch",), ["batch"]),
        lambda: [
            nn.logical_to_mesh_axes(("batch",), [("batch", axes)])
            for axes in ("data", ("data", "model"), None)
        ],
    ),
    Remedy(
        "Use one of {} or {}.",
        lambda: with_environment(FLAX_PROFILE="maybe"),
        lambda: [with_environment(FLAX_PROFILE=value) for value in ("yes", "no", "1", "off")],
    ),
    Remedy(
        "Leave dtype out to infer it, or give float32, bfloat16, float16 or complex64.",
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
    # Modules and their methods.
    Remedy(
        "Call it in setup, on self and a submodule that is assigned already.",
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
        "Sequential([layer, ...]), with brackets.",
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
        "Make an instance: {}(...).",
        lambda: nn.Sequential([Dense, Dense(2)]),
        lambda: nn.Sequential([Dense(3), Dense(2)]).init(KEY, X),
    ),
    Remedy(
        'python -m pip install "linnet-module-core[rich]", or leave them out',
        lambda: tabulated(table_kwargs={"title": "Model"}),
        lambda: [names_an_extra("rich"), tabulated()],
    ),
    Remedy("Every module has them; give your field another name.", reserved_field, renamed_field),
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
        "setup runs by itself, before the first method of a bound module.",
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
        "parent=None belongs to nobody.",
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
    # Names of axes, and meshes.
    Remedy(
        "Add a rule, such as",
        lambda: laid_out(
            X,
            ("batch", "embed"),
            rules=[("batch", "data")],
            fallback=nn.RulesFallback.RAISE_ERROR,
        ),
        lambda: laid_out(
            X,
            ("batch", "embed"),
            rules=[("batch", "data"), ("embed", None)],
            fallback=nn.RulesFallback.RAISE_ERROR,
        ),
    ),
    Remedy(
        "with_partitioning takes a NamedSharding, which says where a value lies. Name the axes "
        'here: ("embed", "mlp").',
        lambda: nn.with_logical_partitioning(ones, NamedSharding(MESH, spec("data")))(KEY, (4,)),
        lambda: [
            nn.with_partitioning(ones, NamedSharding(MESH, spec("data")))(KEY, (4,)),
            nn.with_logical_partitioning(ones, ("embed", "mlp"))(KEY, (4, 4)),
        ],
    ),
    Remedy(
        "or leave the axis whole: None in the place of",
        lambda: jax.eval_shape(
            lambda: laid_out(jnp.ones(3), ("x",), HALVES, rules=[("x", "data")])
        ),
        lambda: [
            jax.eval_shape(lambda: laid_out(jnp.ones(4), ("x",), HALVES, rules=[("x", "data")])),
            jax.eval_shape(lambda: laid_out(jnp.ones(3), (None,), HALVES, rules=[("x", "data")])),
        ],
    ),
    Remedy(
        'Make one: jax.make_mesh((4, 2), ("data", "model")).',
        lambda: nn.get_sharding(X, "data"),
        lambda: nn.get_sharding(X, jax.make_mesh((1, 1), ("data", "model"))),
    ),
    Remedy(
        "Partitioned names axes of the mesh. Logical names, which rules translate to those, belong "
        "into LogicallyPartitioned.",
        lambda: boxed(("embed",)),
        lambda: [
            boxed(("data",)),
            inside(
                lambda m: m.param(
                    "w",
                    nn.with_logical_partitioning(
                        ones, ("embed",), mesh=MESH, rules=[("embed", "data")]
                    ),
                    (4,),
                )
            ),
        ],
    ),
    Remedy(
        "Give one name, or None, for each axis of the array.",
        lambda: boxed(("data", None)),
        lambda: [boxed(("data",)), boxed((None,))],
    ),
    # Lifted transforms.
    Remedy(
        "All mapped inputs and collections have the same size along their axes.",
        lambda: mapped_inputs(0, X, X.T),
        lambda: mapped_inputs((0, 1), X, X.T),
    ),
    Remedy(
        "No input is mapped, so pass",
        lambda: mapped_inputs(None, X),
        lambda: mapped_inputs(None, X, axis_size=2),
    ),
    Remedy(
        "Check in_axes and variable_axes; None (or nn.broadcast in scan) maps nothing.",
        lambda: mapped_inputs(0, X, 3.0),
        lambda: mapped_inputs((0, None), X, 3.0),
    ),
    Remedy(
        "Check in_axes and variable_axes; None (or nn.broadcast in scan) maps nothing.",
        lambda: scanned_function(lambda m, c, x: (c, None), x=3.0, length=2),
        lambda: scanned_function(lambda m, c, x: (c, None), x=3.0, length=2, in_axes=nn.broadcast),
    ),
    Remedy(
        "Pass the module from outside as an argument of the enclosing transform, too",
        lambda: inside(from_around, X),
        lambda: inside(passed_on, X),
    ),
    Remedy(
        "Pass modules that were made in setup or in a compact method.",
        lambda: inside(lambda m, x: nn.jit(lambda m, o, x: o(x))(m, Dense(parent=None), x), X),
        lambda: inside(lambda m, x: nn.jit(lambda m, o, x: o(x))(m, Dense(), x), X),
    ),
    Remedy(
        "Return arrays: what the module computes, or the variable's value.",
        lambda: inside(lambda m, x: nn.jit(lambda m, x: Dense())(m, x), X),
        lambda: inside(lambda m, x: nn.jit(lambda m, x: Dense()(x))(m, x), X),
    ),
    Remedy(
        "Return arrays: what the module computes, or the variable's value.",
        lambda: inside(nn.jit(lambda m: m.variable("state", "n", jnp.zeros, ()))),
        lambda: inside(nn.jit(lambda m: m.variable("state", "n", lambda: jnp.zeros(3)).value)),
    ),
    Remedy(
        "nn.vmap(Dense, ...)(features=3), not nn.vmap(Dense(3), ...).",
        lambda: nn.vmap(Dense(3), variable_axes={"params": None}),
        lambda: nn.vmap(Dense, variable_axes={"params": None}, split_rngs={"params": False})(
            features=3
        ).init(KEY, X),
    ),
    Remedy(
        "Call the transformed function as fn(module, *args).",
        lambda: inside(lambda m, x: nn.jit(lambda x: Dense()(x))(x), X),
        lambda: inside(lambda m, x: nn.jit(lambda m, x: Dense()(x))(m, x), X),
    ),
    Remedy(
        "Pass the module that the method belongs to, or a function: lambda m, *args: "
        "m.submodule.{}(*args).",
        lambda: with_layer(lambda self, x: nn.jit(self.layer.__call__)(self, x)),
        lambda: [
            with_layer(lambda self, x: nn.jit(self.layer.__call__)(self.layer, x)),
            with_layer(lambda self, x: nn.jit(lambda m, *args: m.layer(*args))(self, x)),
        ],
    ),
    Remedy(
        "Name the arguments that Python's control flow depends on in static_argnums.",
        lambda: nn.remat(lambda m, x, double: x * 2 if double else x, concrete=True),
        lambda: inside(
            lambda m, x: nn.remat(lambda m, x, double: x * 2 if double else x, static_argnums=2)(
                m, x, True
            ),
            X,
        ),
    ),
    Remedy(
        "lengths=(10, 10) applies the module 100 times.",
        lambda: nn.remat_scan(Dense),
        lambda: nn.remat_scan(Dense, lengths=(10, 10))().init(KEY, X),
    ),
    Remedy(
        "or give the output an axis.",
        lambda: scanned_function(lambda m, c, x: (c, x), out_axes=nn.broadcast),
        lambda: scanned_function(lambda m, c, x: (c, x), out_axes=0),
    ),
    Remedy(
        "carry it (variable_carry) if it exists before the loop",
        lambda: carried_total(variable_broadcast="state"),
        lambda: carried_total(variable_carry="state"),
    ),
    Remedy(
        "say {'params': False} for parameters that all steps share.",
        lambda: scanned(split=True),
        lambda: [
            scanned(split=False),
            scanned(split=True, variable_broadcast=False, variable_axes={True: 0}),
        ],
    ),
    Remedy(
        "Return (carry, None) if the steps have no output.",
        lambda: scanned_function(lambda m, c, x: c + x.sum()),
        lambda: scanned_function(lambda m, c, x: (c + x.sum(), None)),
    ),
    Remedy(
        "Give the collection an axis: variable_axes=",
        lambda: mapped({"params": 0, "stats": None}),
        lambda: mapped({"params": 0, "stats": 0}),
    ),
    Remedy(
        "Give the collection an axis: variable_axes=",
        lambda: mapped({"params": None, "stats": 0}),
        lambda: mapped({"params": None, "stats": 0}, split=False),
    ),
    # Boxes, and names beside variables.
    Remedy(
        "A variable without axis names needs no box.",
        lambda: from_nnx({"value": X}),
        lambda: from_nnx({"value": X, "out_sharding": ("data",)}),
    ),
    Remedy(
        "For an array with one axis, write ({},).",
        lambda: nn.Partitioned(X[0], "embed"),
        lambda: nn.Partitioned(X[0], ("embed",)),
    ),
    Remedy(
        "Name the axis that vmap or scan adds: metadata_params=",
        boxed_layers,
        lambda: [
            boxed_layers(metadata_params={nn.PARTITION_NAME: "layers"}),
            boxed_layers(metadata_params={nn.PARTITION_NAME: None}),
        ],
    ),
    Remedy(
        "Call it in a compact method or in setup, or pass module=self.",
        lambda: partitioning.param_with_axes("w", ones, (3,), axes=("x",)),
        lambda: [
            with_names(("x",)).init(KEY),
            in_setup(lambda m: partitioning.param_with_axes("w", ones, (3,), axes=("x",))),
            inside(lambda m: partitioning.param_with_axes("w", ones, (3,), axes=("x",), module=m)),
        ],
    ),
    Remedy(
        "axes holds a tuple of names, or None, where the value holds an array.",
        lambda: axes_of({"a": X, "b": X}, {"a": ("x", "y")}),
        lambda: axes_of({"a": X, "b": X}, {"a": ("x", "y"), "b": None}),
    ),
    Remedy(
        'Pass the collection of names: get_axis_names(variables["params_axes"]).',
        lambda: axis_names(lambda variables: variables),
        lambda: axis_names(lambda variables: variables["params_axes"]),
    ),
    Remedy(
        'make both anew, or drop the collection "{}{}".',
        lambda: named(with_names(("embed",)).init(KEY), ("mlp",)),
        lambda: [
            named(with_names(("mlp",)).init(KEY), ("mlp",)),
            named(with_names(("embed",)).init(KEY), ("mlp",), drop=["params_axes"]),
        ],
    ),
    # Random streams and variables.
    Remedy(
        "Pass jax.random.key(seed), or a dict of streams: {'params': key1, 'dropout': key2}.",
        lambda: Dense().init(0, X),
        lambda: [
            Dense().init(jax.random.key(0), X),
            Dense().init({"params": KEY, "dropout": KEY}, X),
        ],
    ),
    Remedy(
        "One key a stream: {'params': key1, 'dropout': key2}; split a batch of keys with jax.vmap.",
        lambda: Dense().init({"params": jax.random.split(KEY)}, X),
        lambda: [
            Dense().init({"params": KEY, "dropout": KEY}, X),
            jax.vmap(lambda key: Dense().init({"params": key}, X))(jax.random.split(KEY)),
        ],
    ),
    Remedy(
        "Is it what init_with_output has returned? y, variables = ... takes it apart.",
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
        "Give one of the two another name.",
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
        "Replace a plain jax transform in between by the lifted one (jax.jit by nn.jit).",
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
        "If it is a factory, it must be called first: {}().",
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
        "depth=1 shows the model and its submodules, None all modules.",
        lambda: Dense().tabulate(KEY, X, depth="all"),
        lambda: [Dense().tabulate(KEY, X, depth=depth) for depth in (1, None)],
    ),
    Remedy(
        "depth=0 shows the model alone, None all modules.",
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
        "Make it with init, or leave the collection out. {}",
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


# What is said where the text depends on the model: functions build these hints and notes, so no
# list of them can be read from the sources.


def gained(own):
    class Layer(nn.Module):
        def setup(self):
            if own:
                self.gain = 2

        def __call__(self):
            return self.gain

    class Model(nn.Module):
        def setup(self):
            self.layer = Layer()
            if not own:
                self.layer.gain = 2

        def __call__(self):
            return self.layer()

    return Model().init(KEY)


def appended(in_place):
    class Model(nn.Module):
        def setup(self):
            layers = []
            if in_place:
                self.layers = layers
                self.layers.append(Dense())
            else:
                layers.append(Dense())
                self.layers = layers

        def __call__(self, x):
            return self.layers[0](x)

    return Model().init(KEY, X)


def added_key(in_place):
    class Model(nn.Module):
        def setup(self):
            layers = {}
            if in_place:
                self.layers = layers
                self.layers["a"] = Dense()
            else:
                layers["a"] = Dense()
                self.layers = layers

        def __call__(self, x):
            return self.layers["a"](x)

    return Model().init(KEY, X)


class Encoder(nn.Module):
    @nn.compact
    def encode(self, x):
        return Dense()(x)


class Encoding(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dense()(x)


def local_layer(assign):
    class Model(nn.Module):
        def setup(self):
            layer = Dense()
            if assign:
                self.layer = layer

        def __call__(self, x):
            return self.layer(x)

    return Model().init(KEY, X)


def scanned_weight(w=X[0], **options):
    scan = nn.scan(lambda m, c, x: (c * m.get_variable("params", "w"), None), **options)
    return applied(lambda m, x: scan(m, x[0], x), {"params": {"w": w}}, X)


def flagged(**options):
    run = nn.jit(lambda m, x, train: x if train else -x, **options)
    return inside(lambda m, x: run(m, x, True), X)


def layered(variables):
    return applied(lambda m, x: Dense(name="layer")(x), variables, X)


def pair():
    return Total().apply({}, X, mutable="state")


BUILT = [
    Remedy(
        "Name it when it is made, Dense(..., name='...')",
        lambda: inside(lambda m, x: assigned(Dense(), "name", "h"), X),
        lambda: inside(lambda m, x: Dense(name="h")(x), X),
    ),
    Remedy(
        "It is a field: give it to the constructor, Dense(..., features=...).",
        lambda: inside(lambda m, x: assigned(Dense(), "features", 5), X),
        lambda: inside(lambda m, x: Dense(features=5)(x), X),
    ),
    Remedy(
        "set attributes of Layer in the setup of Layer, or make them fields of it.",
        lambda: gained(own=False),
        lambda: gained(own=True),
    ),
    Remedy(
        "Assign in setup; keep what changes between calls in self.variable(...).",
        lambda: inside(lambda m: assigned(m, "count", 1)),
        lambda: [
            in_setup(lambda m: assigned(m, "count", 1)),
            inside(lambda m: assigned(m.variable("state", "n", jnp.zeros, ()), "value", 1)),
        ],
    ),
    Remedy("Did you mean 'features'?", lambda: Dense(featurs=3), lambda: Dense(features=3)),
    Remedy(
        "these look like the parameters themselves. Pass {'params': params}.",
        lambda: layered({"layer": PARAMS}),
        lambda: layered({"params": {"layer": PARAMS}}),
    ),
    Remedy("Pass what init returned.", lambda: given({}), lambda: given(Dense().init(KEY, X))),
    Remedy(
        "a collection that is made during apply must be named in mutable=['state'].",
        lambda: Total().apply({}, X),
        lambda: Total().apply({}, X, mutable=["state"]),
    ),
    Remedy(
        "Did you mean 'kernel'?",
        lambda: applied(lambda m: m.param("kernl", ones, (3, 3)), {"params": PARAMS}),
        lambda: applied(lambda m: m.param("kernel", ones, (3, 3)), {"params": PARAMS}),
    ),
    Remedy(
        'has no "layer" in "params". Did you mean \'layers\'?',
        lambda: layered({"params": {"layers": PARAMS}}),
        lambda: applied(lambda m, x: Dense(name="layers")(x), {"params": {"layers": PARAMS}}, X),
    ),
    Remedy(
        "List 'params' among the lifted ones: variable_axes of vmap, variable_axes, "
        "variable_broadcast or variable_carry of scan, variables of the others.",
        lambda: nn.vmap(Dense)().apply({"params": PARAMS}, X),
        lambda: [
            nn.vmap(Dense, variable_axes={"params": None})().apply({"params": PARAMS}, X),
            nn.jit(Dense, variables="params")().apply({"params": PARAMS}, X),
            scanned_weight(variable_broadcast="params"),
            scanned_weight(variable_carry="params"),
            scanned_weight(X, variable_axes={"params": 0}),
        ],
    ),
    Remedy(
        "The numbers count the module: self is 0, x is 1, train is 2. static_argnames takes names",
        lambda: flagged(static_argnums=3),
        lambda: [flagged(static_argnums=2), flagged(static_argnames="train")],
    ),
    Remedy(
        "In static_argnums the numbers count the module (self is 0): train is 2. Or use names: "
        "static_argnames=('train',).",
        flagged,
        lambda: [flagged(static_argnums=2), flagged(static_argnames=("train",))],
    ),
    Remedy(
        "take it apart: y, updates = model.apply(...).",
        lambda: inside(lambda m, y: Dense()(y), pair()),
        lambda: [inside(lambda m, y: Dense()(y), y) for y, updates in [pair()]],
    ),
    Remedy(
        "That is the submodule Dense_0 itself: Dense(...) still has to be called.",
        lambda: inside(lambda m, x: jnp.tanh(Dense()), X),
        lambda: inside(lambda m, x: jnp.tanh(Dense()(x)), X),
    ),
    Remedy(
        "Build the list first, then assign it: layers = [...]; self.layers = layers.",
        lambda: appended(in_place=True),
        lambda: appended(in_place=False),
    ),
    Remedy(
        "Build the dict first, then assign it: layers = {...}; self.layers = layers.",
        lambda: added_key(in_place=True),
        lambda: added_key(in_place=False),
    ),
    Remedy(
        "It takes (x); it was given 2 positional.",
        lambda: inside(lambda m, x: Dense()(x, True), X),
        lambda: inside(lambda m, x: Dense()(x), X),
    ),
    Remedy(
        "A function given as `method` gets the bound module first; then: It takes (x)",
        lambda: Dense().apply({"params": PARAMS}, method=lambda m, x: m(x)),
        lambda: Dense().apply({"params": PARAMS}, X, method=lambda m, x: m(x)),
    ),
    Remedy(
        "Define Encoder.__call__, or name the method to run: method='encode'.",
        lambda: Encoder().init(KEY, X),
        lambda: [Encoding().init(KEY, X), Encoder().init(KEY, X, method="encode")],
    ),
    Remedy(
        "setup makes a local variable of that name: write `self.layer = ...` there.",
        lambda: local_layer(assign=False),
        lambda: local_layer(assign=True),
    ),
    Remedy(
        "A function that takes no key needs a lambda (lambda key, shape: ...)",
        lambda: inside(lambda m: m.param("w", jnp.zeros, (3,))),
        lambda: inside(lambda m: m.param("w", lambda key, shape: jnp.zeros(shape), (3,))),
    ),
    Remedy(
        "a factory such as lecun_normal must be called first (lecun_normal()).",
        lambda: inside(
            lambda m: m.param("w", jax.nn.initializers.lecun_normal, (3, 3), int, 0, 0, 0)
        ),
        lambda: inside(lambda m: m.param("w", jax.nn.initializers.lecun_normal(), (3, 3))),
    ),
]


@pytest.mark.parametrize("remedy", [*REMEDIES, *BUILT], ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    linen = hints.hints_in(SOURCES / "linen")
    shared = [hint for file in sorted(SOURCES.glob("*.py")) for hint in hints.hints_in(file)]
    found = [*shared, *linen]
    assert hints.untried(found, REMEDIES) == []
    assert hints.unknown(found, [remedy.words for remedy in REMEDIES]) == []
