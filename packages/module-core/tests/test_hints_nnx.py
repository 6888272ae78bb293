"""Every hint about nnx objects, followed to the letter; other files test those of subfolders."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hints
from hints import Remedy
from linnet import struct
from linnet.module_core import nnx
from linnet.module_core.layers.nnx import dropout_key, names_layer, params_key
from linnet.module_core.nnx.structure.flattening import RefMap
from linnet.module_core.nnx.structure.graphdef import _Tree
from linnet.module_core.nnx.structure.written_by_flax import graphdef_of
from linnet.struct.serialization import msgpack_restore, to_bytes

SOURCES = Path(nnx.__file__).parent
KEY = jax.random.key(0)
X = jnp.ones((2, 3))
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
WHOLE = jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec())


class Layer(nnx.Module):
    """A kernel and a count, and an option that `nnx.view` sets."""

    on: bool

    @names_layer
    def __init__(self, features=3, *, rngs):
        self.kernel = nnx.Param(jax.random.normal(params_key(rngs, self), (3, features)))
        self.calls = nnx.BatchStat(jnp.zeros(()))
        self.on = True

    def __call__(self, x):
        self.calls[...] += 1
        return x @ self.kernel[...]

    def set_view(self, on=None):
        self.on = self.on if on is None else on


class Dropping(nnx.Module):
    """A layer that draws on each call."""

    def __init__(self, rngs):
        self.rngs = rngs

    def __call__(self, x):
        return x * jax.random.bernoulli(dropout_key(self.rngs, self), 0.5, x.shape)


def layer(**attributes):
    made = Layer(rngs=nnx.Rngs(0))
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def shared():
    """A module that has one variable twice."""
    weight = nnx.Param(jnp.ones(3))
    return nnx.Dict(a=weight, b=weight)


def split_streams(only=...):
    rngs = nnx.Rngs(params=0, dropout=1)
    return rngs, nnx.split_rngs(rngs, splits=2, only=only)


def restored():
    rngs, backups = split_streams()
    nnx.restore_rngs(backups)
    return rngs


def called(transform, module):
    """A call to a transformed function that changes a module in its closure."""
    return transform(lambda x: module(x))(X)


def variable(names, shape=(2, 3), **metadata):
    return nnx.Param(jnp.ones(shape), out_sharding=names, mesh=MESH, **metadata)


def by_rule(names, *rule):
    with nnx.logical_axis_rules([rule]):
        return variable(names)


def sown(name, *types, module=None):
    module = module or layer()
    for variable_type in types:
        module.sow(variable_type, name, X)


def perturbed(*names_and_types):
    module = layer()
    for name, variable_type in names_and_types:
        module.perturb(name, X, variable_type)


def slotted(slots):
    return type("Slotted", (nnx.Module,), {"__slots__": slots} if slots else {})


def without_axis(name):
    """A step on one of three kernels that are stacked along the axis 'layers'."""
    kernel = nnx.Param(jnp.ones((3, 2)), out_sharding=("layers", None), eager_sharding=False)
    naming = {nnx.PARTITION_NAME: name}
    return nnx.vmap(lambda w: w[...] * 2, in_axes=0, transform_metadata=naming)(kernel)


def states_of(*modules, prefix=0):
    return nnx.to_tree(modules, prefix=prefix)


def node_states():
    return nnx.NodeStates.from_split(*nnx.split(layer(), nnx.Param, ...))


def split_in_one_context():
    """The parts of a layer, and of a holder that refers to it."""
    one = layer()
    with nnx.split_context() as ctx:
        return [ctx.split(one), ctx.split(nnx.Dict(one=one))]


def merged_in_one_context(parts):
    with nnx.merge_context() as ctx:
        return [ctx.merge(*part) for part in parts]


def by_hand(m, tag):
    """A hand-written transform, in four steps."""
    with nnx.split_context(tag) as ctx:
        parts = ctx.split(m)

    @functools.partial(jax.jit, static_argnums=0)
    def run(graphdef, state):
        with nnx.merge_context(tag, inner=True) as ctx:
            inside = ctx.merge(graphdef, state)
        inside.kernel[...] += 1
        with nnx.split_context(tag) as ctx:
            return ctx.split(inside)[1]

    with nnx.merge_context(tag, inner=False) as ctx:
        return ctx.merge(parts[0], run(*parts))


def within_a_context(m, tag):
    with nnx.update_context(tag):
        return by_hand(m, tag)


def flattened():
    """A layer, and a holder that refers to it, flattened one after the other."""
    one, known = layer(), RefMap()
    return [nnx.flatten(node, ref_index=known) for node in (one, nnx.Dict(one=one))]


def unflattened(parts):
    index_ref = {}
    return [nnx.unflatten(*part, index_ref=index_ref) for part in parts]


def named(name, **options):
    return nnx.register_variable_name(name, type("Named", (nnx.Variable,), {}), **options)


def added(node, item):
    if item is None:
        node += 1
    else:
        node[item] += 1
    return node


class Unregistered:
    """A class that isn't registered with jax, as after unpickling in a new process."""


def restored_from_bytes(module):
    encoded = to_bytes(nnx.to_pure_dict(nnx.state(module)))
    state = nnx.state(module)
    nnx.replace_by_pure_dict(state, msgpack_restore(encoded))
    return updated(module, state)


def with_metadata(**metadata):
    weight = nnx.Param(X)
    weight[...] = 2 * X
    weight.set_metadata(**metadata)
    return weight


def unnamed():
    return type("Unnamed", (nnx.Variable,), {})


def registered():
    nnx.register_variable_name("registered_here", cls := unnamed(), overwrite=True)
    return nnx.variable_name_from_type(cls), nnx.variable_type_from_name("registered_here")


def updated(node, state):
    nnx.update(node, state)
    return node


OBJECTS = [
    Remedy(
        "Linen's variables begin with collections: pass variables['params'].",
        lambda: updated(layer(), {"params": {"kernel": jnp.ones(3)}}),
        lambda: updated(layer(), {"kernel": jnp.ones(3)}),
    ),
    Remedy(
        "Did you mean {}? To add it, assign it to the object.",
        lambda: updated(layer(), {"kernal": {"scale": jnp.ones(3)}}),
        lambda: [
            updated(layer(), {"kernel": jnp.ones(3)}),
            setattr(layer(), "kernal", {"scale": jnp.ones(3)}),
        ],
        ("'kernel'",),
    ),
    Remedy(
        "Unpack a list: nnx.Sequential(*layers).",
        lambda: nnx.Sequential([layer(), jnp.sin]),
        lambda: nnx.Sequential(*[layer(), jnp.sin])(X),
    ),
    Remedy(
        "Leave unused layers out: nnx.Sequential(*[layer for layer in layers if layer is not",
        lambda: nnx.Sequential(layer(), None),
        lambda: nnx.Sequential(*[f for f in (layer(), None) if f is not None])(X),
    ),
    Remedy(
        "Pass it (or the module that holds it) as an argument of the function and transform",
        lambda: called(jax.jit, layer()),
        lambda: nnx.jit(lambda module, x: module(x))(layer(), X),
    ),
    Remedy(
        "Leave out nnx.static, or its annotation",
        lambda: layer(kernel=nnx.static(jnp.ones(3))),
        lambda: layer(kernel=jnp.ones(3)),
    ),
    Remedy("Remove __slots__.", lambda: slotted(["x"]), lambda: slotted(None)),
    Remedy(
        "Check the names, or pass raise_if_not_found=False.",
        lambda: layer().set_attributes(off=True),
        lambda: [
            layer().set_attributes(on=False),
            layer().set_attributes(off=True, raise_if_not_found=False),
        ],
    ),
    Remedy(
        "Write {}({}, rngs=...).",
        lambda: Layer(3, nnx.Rngs(0)),
        lambda: Layer(3, rngs=nnx.Rngs(0)),
        filled=("Layer", "3"),
    ),
    Remedy(
        "Write {}({}rngs=...).",
        lambda: Layer(nnx.Rngs(0)),
        lambda: Layer(rngs=nnx.Rngs(0)),
        filled=("Layer", ""),
    ),
    Remedy(
        "Sow under a name that isn't an attribute.",
        lambda: sown("on", nnx.Intermediate),
        lambda: sown("outputs", nnx.Intermediate),
    ),
    Remedy(
        "Sow under a different name, or with the same variable type as before.",
        lambda: sown("outputs", nnx.Intermediate, nnx.BatchStat),
        lambda: [
            sown("outputs", nnx.Intermediate, nnx.Intermediate),
            (module := layer(), sown("outputs", nnx.Intermediate, module=module)),
            sown("others", nnx.BatchStat, module=module),
        ],
    ),
    Remedy(
        "Perturb under a different name, or with the same variable type as before.",
        lambda: perturbed(("y", nnx.Perturbation), ("y", nnx.BatchStat)),
        lambda: [
            perturbed(("y", nnx.Perturbation), ("z", nnx.BatchStat)),
            perturbed(("y", nnx.Perturbation), ("y", nnx.Perturbation)),
        ],
    ),
    Remedy(
        "Leave it out: assignment changes variables",
        lambda: nnx.var_defaults(hijax=True),
        lambda: [nnx.var_defaults(), nnx.jit(lambda module: module(X))(layer())],
    ),
    Remedy(
        "Leave it out: assignment changes variables, even under nnx's transforms.",
        lambda: nnx.with_vars(layer(), hijax=True),
        lambda: nnx.jit(lambda module: module(X))(nnx.with_vars(layer())),
    ),
    Remedy(
        "nnx.view_info lists what the modules accept.",
        lambda: nnx.view(layer(), onn=False),
        lambda: [nnx.view_info(layer()), nnx.view(layer(), on=False)],
    ),
]

STRUCTURE = [
    Remedy(
        "Define {} in a module that both processes import, or make it a struct.dataclass, which"
        " registers itself wherever it is loaded.",
        lambda: _Tree(Unregistered()).structure(),
        lambda: _Tree(struct.dataclass(type("Registered", (), {}))()).structure(),
        ("Unregistered",),
    ),
    Remedy(
        "Pass graph=True, or give each place an object of its own.",
        lambda: nnx.split(shared(), graph=False),
        lambda: [
            nnx.split(shared(), graph=True),
            nnx.split(nnx.Dict(a=nnx.Param(jnp.ones(3)), b=nnx.Param(jnp.ones(3))), graph=False),
        ],
    ),
    Remedy(
        "It is the first result of nnx.split.",
        lambda: nnx.merge(layer(), nnx.state(layer())),
        lambda: nnx.merge(nnx.split(layer())[0], nnx.state(layer())),
    ),
    Remedy(
        "The GraphDef is the first result of nnx.split; nnx.unpack gives states that know it.",
        lambda: nnx.merge(nnx.state(layer(), nnx.Param), nnx.state(layer(), nnx.BatchStat)),
        lambda: [
            nnx.merge(*nnx.split(layer(), nnx.Param, nnx.BatchStat)),
            nnx.merge(*nnx.unpack(layer(), nnx.Param, nnx.BatchStat)),
        ],
    ),
    Remedy(
        "Merge the states that one call to nnx.unpack returned.",
        lambda: nnx.merge(nnx.unpack(layer()), nnx.unpack(shared())),
        lambda: nnx.merge(nnx.unpack(layer())),
    ),
    Remedy(
        "States come from nnx.split or nnx.state.",
        lambda: nnx.merge(nnx.graphdef(layer()), layer()),
        lambda: [
            nnx.merge(nnx.graphdef(layer()), nnx.state(layer())),
            nnx.merge(nnx.graphdef(layer()), nnx.split(layer())[1]),
        ],
    ),
    Remedy(
        "Merge a GraphDef with all the states that nnx.split returned with it.",
        lambda: nnx.merge(*nnx.split(layer(), nnx.Param, ...)[:2]),
        lambda: nnx.merge(*nnx.split(layer(), nnx.Param, ...)),
    ),
    Remedy(
        "Merge a GraphDef with all the states that nnx.split returned with it.",
        lambda: nnx.merge(nnx.graphdef(layer()), jax.tree.leaves(nnx.state(layer()))[:1]),
        lambda: nnx.merge(nnx.graphdef(layer()), jax.tree.leaves(nnx.state(layer()))),
    ),
    Remedy(
        "In one nnx.merge_context with the same tag, merge everything that one split_context split",
        lambda: nnx.merge(*split_in_one_context()[1]),
        lambda: merged_in_one_context(split_in_one_context()),
    ),
    Remedy(
        "nnx.unflatten(graphdef, leaves, index_ref=index_ref).",
        lambda: nnx.unflatten(*flattened()[1]),
        lambda: unflattened(flattened()),
    ),
    Remedy(
        "The state of a variable is the variable itself: update it with another one.",
        lambda: updated(nnx.Param(X), nnx.state(layer())),
        lambda: updated(nnx.Param(X), nnx.state(nnx.Param(2 * X))),
    ),
    Remedy(
        "The object has another object there; pass a nested state.",
        lambda: updated(nnx.Dict(a=layer()), nnx.State({"a": X})),
        lambda: updated(nnx.Dict(a=layer()), nnx.State({"a": {"kernel": jnp.ones((3, 3))}})),
    ),
    Remedy(
        "Pop from the module or the container that holds it.",
        lambda: nnx.pop(layer().calls, nnx.BatchStat),
        lambda: [nnx.pop(layer(), nnx.BatchStat), nnx.pop([layer().calls], nnx.BatchStat)],
    ),
    Remedy(
        "Pop from a list, a dict or a module that holds it.",
        lambda: nnx.pop((layer().calls,), nnx.BatchStat),
        lambda: [
            nnx.pop([layer().calls], nnx.BatchStat),
            nnx.pop({"calls": layer().calls}, nnx.BatchStat),
            nnx.pop(layer(), nnx.BatchStat),
        ],
    ),
    Remedy(
        "Add a filter for these, or `...` as the last one for everything else.",
        lambda: nnx.split(layer(), nnx.Param),
        lambda: [nnx.split(layer(), nnx.Param, nnx.BatchStat), nnx.split(layer(), nnx.Param, ...)],
    ),
    Remedy(
        "All of them are in `states`.",
        lambda: node_states().state,
        lambda: node_states().states[1]["calls"],
    ),
    Remedy(
        "Give both the same prefix, or make one of them a copy (nnx.clone).",
        lambda: states_of(one := layer(), one, prefix=(0, 1)),
        lambda: [
            states_of(one := layer(), one, prefix=(0, 0)),
            states_of(one := layer(), nnx.clone(one), prefix=(0, 1)),
        ],
    ),
    Remedy(
        "A bare variable is its own state: nnx.split gives its structure.",
        lambda: nnx.unpack(nnx.Param(X)),
        lambda: nnx.merge(*nnx.split(nnx.Param(X))),
    ),
    Remedy(
        "A filter is a type (nnx.Param), a tag, True or ..., False or None, a list of filters,",
        lambda: nnx.state(layer(), 3),
        lambda: [
            nnx.state(layer(), chosen)
            for chosen in (
                nnx.Param,
                "kernel",
                True,
                ...,
                False,
                None,
                [nnx.Param, nnx.BatchStat],
                lambda path, leaf: "kernel" in path,
            )
        ],
    ),
    Remedy(
        "Run all four steps inside `with nnx.update_context(tag):`.",
        lambda: by_hand(layer(), "tag"),
        lambda: within_a_context(layer(), "tag"),
    ),
    Remedy(
        "In one merge_context, merge everything that one split_context split, in the same order.",
        lambda: merged_in_one_context(split_in_one_context()[1:]),
        lambda: merged_in_one_context(split_in_one_context()),
    ),
]

STREAMS = [
    Remedy(
        "Pass policy='match_shape' if its keys should all differ, or a function.",
        lambda: nnx.reseed(split_streams()[0], params=1),
        lambda: [
            nnx.reseed(split_streams()[0], params=1, policy="match_shape"),
            nnx.reseed(
                split_streams()[0],
                params=1,
                policy=lambda path, key, shape: jax.random.split(key, shape),
            ),
        ],
    ),
    Remedy(
        "Pass splits=1, or leave squeeze out.",
        lambda: nnx.split_rngs(nnx.Rngs(0), splits=2, squeeze=True),
        lambda: [
            nnx.split_rngs(nnx.Rngs(0), splits=1, squeeze=True),
            nnx.split_rngs(nnx.Rngs(0), splits=2),
        ],
    ),
    Remedy(
        "Write splits=4, or splits=(2, 4).",
        lambda: nnx.split_rngs(nnx.Rngs(0), splits=0),
        lambda: [nnx.split_rngs(nnx.Rngs(0), splits=n) for n in (4, (2, 4))],
    ),
    Remedy(
        "Restore it first (nnx.restore_rngs), or exclude it with a filter.",
        lambda: nnx.split_rngs(split_streams("params")[0], splits=2),
        lambda: [
            nnx.split_rngs(restored(), splits=2),
            nnx.split_rngs(split_streams("params")[0], splits=2, only=nnx.Not("params")),
        ],
    ),
    Remedy(
        "Write nnx.Rngs(0), or nnx.Rngs(params=0, dropout=1).",
        lambda: nnx.Rngs("0"),
        lambda: [nnx.Rngs(0), nnx.Rngs(params=0, dropout=1)],
    ),
    Remedy(
        "Draw within nnx.vmap or nnx.scan, with the axis of the keys in in_axes",
        lambda: Dropping(split_streams()[0])(X),
        lambda: [
            nnx.vmap(lambda layer, x: layer(x))(Dropping(split_streams()[0]), jnp.ones((2, 3))),
            nnx.scan(lambda layer, x: layer(x), in_axes=0, out_axes=0)(
                Dropping(split_streams()[0]), jnp.ones((2, 3))
            ),
            Dropping(restored())(X),
        ],
    ),
]

METADATA = [
    Remedy(
        "Pass one name, or None, for each axis.",
        lambda: variable(("data", None, None)),
        lambda: [variable(("data", None)), variable((None, None))],
    ),
    Remedy(
        "Name axes of the mesh, or add a rule that maps the name: nnx.logical_axis_rules(",
        lambda: variable(("batch", None)),
        lambda: [variable(("data", None)), by_rule(("batch", None), "batch", "data")],
    ),
    Remedy(
        "transform_metadata names the axis that the transform removes.",
        lambda: without_axis("steps"),
        lambda: without_axis("layers"),
    ),
    Remedy(
        "Choose another, or pass overwrite=True.",
        lambda: [named("taken_here", overwrite=True), named("taken_here")],
        lambda: [named("taken_here", overwrite=True), named("free_here", overwrite=True)],
    ),
    Remedy(
        "Register it with register_variable_name, or pass allow_register=True.",
        lambda: nnx.variable_type_from_name("unknown_here"),
        lambda: [
            registered(),
            nnx.variable_type_from_name("unknown_here_yet", allow_register=True),
        ],
    ),
    Remedy(
        "Register it with register_variable_name, or pass allow_register=True.",
        lambda: nnx.variable_name_from_type(unnamed()),
        lambda: [registered(), nnx.variable_name_from_type(named("x_here", overwrite=True))],
    ),
]

ADVICE = [  # which is part of a message
    Remedy(
        "write `variable[...] += x` (or `variable.value += x`)",
        lambda: added(nnx.Param(X), None),
        lambda: [added(nnx.Param(X), ...), added({"w": nnx.Param(X).value}, "w")],
    ),
    Remedy(
        "its value is set by `variable[...] = x`, and its metadata by"
        " `variable.set_metadata(rate=x)`.",
        lambda: setattr(nnx.Param(X), "rate", 2),
        lambda: with_metadata(rate=2),
    ),
    Remedy(
        "A stream named 'default' (nnx.Rngs(0)) replaces every missing stream.",
        lambda: nnx.Rngs(params=0).dropout(),
        lambda: nnx.Rngs(0).dropout(),
    ),
    Remedy(
        "Serialize the values of its state, to_bytes(nnx.to_pure_dict(nnx.state(module))), and",
        lambda: to_bytes(layer()),
        lambda: restored_from_bytes(layer()),
    ),
]

CREATING = [
    Remedy(
        "Pass the class and its arguments: nnx.create(Model, 64, rngs=nnx.Rngs(0)).",
        lambda: nnx.create(layer()),
        lambda: nnx.create(Layer, 64, rngs=nnx.Rngs(0)),
    ),
    Remedy(
        "A sharding already has a mesh: leave `mesh` out.",
        lambda: nnx.create(Layer, rngs=nnx.Rngs(0), mesh=MESH, shardings=WHOLE),
        lambda: nnx.create(Layer, rngs=nnx.Rngs(0), shardings=WHOLE),
    ),
]


def of_flax(leaves=0, **attributes):
    """The structure of None, as Flax pickles one."""
    node = SimpleNamespace(type=type(None), metadata=None, **attributes)
    return graphdef_of(([node], [], leaves))


def values_pickled():
    values = pickle.loads(pickle.dumps(nnx.to_pure_dict(nnx.state(layer()))))
    made = Layer(rngs=nnx.Rngs(1))
    state = nnx.state(made)
    nnx.replace_by_pure_dict(state, values)
    nnx.update(made, state)
    assert (made.kernel[...] == layer().kernel[...]).all()


PICKLED = [
    Remedy(
        "With Flax, pickle nnx.to_pure_dict(nnx.state(module)); here, create the module",
        lambda: of_flax(leaves=1),
        values_pickled,
    ),
    Remedy(
        "Pickle the result of nnx.split or nnx.graphdef.",
        lambda: of_flax(outer_index=0),
        lambda: [
            pickle.loads(pickle.dumps(nnx.graphdef(layer()))),
            pickle.loads(pickle.dumps(nnx.split(layer()))),
        ],
    ),
]

REMEDIES = [*OBJECTS, *STRUCTURE, *STREAMS, *METADATA, *CREATING, *PICKLED]

EXPLAINED = [
    # Needs several devices; nnx_layout_mesh.py follows it.
    "Choose a size that they divide, or None for that axis, which leaves it unsplit.",
]


@pytest.mark.parametrize("remedy", [*REMEDIES, *ADVICE], ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    elsewhere = {SOURCES / "training", SOURCES / "transforms", SOURCES / "repeat.py"}
    files = [f for f in sorted(SOURCES.rglob("*.py")) if not elsewhere & {f, *f.parents}]
    found = [hint for file in files for hint in hints.hints_in(file)]
    words = [remedy.words for remedy in REMEDIES]
    assert hints.untried(found, REMEDIES, EXPLAINED) == []
    assert hints.unknown(found, [*words, *EXPLAINED]) == []
