"""Every hint of nnx's transforms, followed to the letter."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import hints
from hints import Remedy
from linnet.module_core import nnx

SOURCES = Path(nnx.__file__).parent / "transforms"
X = jnp.ones((4, 3))
V = jnp.ones(3)
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
STACKED = nnx.StateAxes({...: 0})
WHOLE = nnx.StateAxes({...: None})
PARAMS_STACKED = nnx.StateAxes({nnx.Param: 0, ...: None})
TAKES = nnx.Carry, 0
RETURNS = nnx.Carry, 0


class Net(nnx.Module):
    """Weights, a mean, and a count."""

    def __init__(self, shape=(3,), **variables):
        self.w = nnx.Param(jnp.ones(shape))
        self.mean = nnx.BatchStat(jnp.zeros(shape))
        self.n = nnx.Variable(jnp.zeros((), jnp.int32))
        for name, value in variables.items():
            setattr(self, name, value)

    def __call__(self, x):
        self.mean[...] = x
        return self.w[...] * x

    def total(self):
        return self.w.sum()


PAIR = nnx.Dict(a=nnx.Param(X), b=nnx.BatchStat(V))


class Plain:
    """A class that is neither a module nor a pytree."""

    rate = 2.0


class Settings(nnx.Module):
    """The same as a module."""

    def __init__(self):
        self.rate = 2.0


@jax.tree_util.register_pytree_node_class
class Registered:
    """The same as a pytree."""

    rate = 2.0

    def tree_flatten(self):
        return (), None

    @classmethod
    def tree_unflatten(cls, data, children):
        return cls()


def setting(name, value):
    """A step that sets a variable of a module."""

    def step(m, *rest):
        getattr(m, name).set_value(value(m, *rest) if callable(value) else value)

    return step


def adding(m, *rest):
    m.extra = nnx.Variable(jnp.zeros(()))


def sowing(m, x):
    m.sow(nnx.Intermediate, "seen", x)
    return x


def captured(step, in_axes):
    """A loop whose steps sow."""
    run = nnx.capture(lambda m: scan(step, m, X, in_axes=in_axes, out_axes=0), nnx.Intermediate)
    return run(Net())


def doing_nothing(m, *rest):
    pass


def same(m, *rest):
    return m


def other(m, *rest):
    return Net()


def cond(true, false, *args):
    return nnx.cond(True, true, false, *(args or (Net(),)))


def loop(body, *args):
    return nnx.fori_loop(0, 2, lambda i, m: body(m), *(args or (Net(),)))


def tied():
    net = Net()
    net.second = net.w
    return net


def without_second(net):
    del net.second
    return net


def scan(body, *args, in_axes=TAKES, out_axes=RETURNS, **options):
    return nnx.scan(body, in_axes=in_axes, out_axes=out_axes, **options)(*(args or (Net(), X)))


def vmap(f, *args, in_axes=(None, 0), **options):
    return nnx.vmap(f, in_axes=in_axes, **options)(*(args or (Net(), X)))


def grad(f, *args, **options):
    return nnx.grad(f, **options)(*(args or (Net(), V)))


def loss(m, *rest):
    return (m.w[...] ** 2).sum()


def jvp(tangent_of):
    m = Net()
    return nnx.jvp(lambda m: m.w[...] * m.mean[...], (m,), (tangent_of(m),))


def jit(f, *args, **options):
    return nnx.jit(f, **options)(*args)


def laid_out(m, *names, only=None):
    sharding = NamedSharding(MESH, PartitionSpec(*names))
    if only is not None:
        sharding = nnx.StateSharding({only: sharding, ...: None})
    return jit(lambda m: m.w[...], m, in_shardings=(sharding,))


def taken_apart(m):
    graphdef, *states = nnx.split(m, nnx.Param, ...)
    return nnx.vmap(
        lambda params, rest, x: nnx.merge(graphdef, params, rest).w * x,
        in_axes=(0, None, 0),
        graph=False,
    )(*states, X)


class Decorated(Net):
    @nnx.grad
    def total(self):
        return self.w.sum()


def donated_twice(copy):
    """A call that donates an array that an earlier call donated, or a copy of it."""
    run = nnx.jit(lambda x: x * 2, donate_argnums=0)
    x = V * 1
    kept = copy(x)
    return run(x), run(kept)


def donated_both(copy):
    """A call that donates one array in two places, or an array and its copy."""
    x = V * 1
    return nnx.jit(lambda x, y: (x * 2, y * 3), donate_argnums=(0, 1))(x, copy(x))


def drawn(rngs, x):
    return x * jax.random.normal(rngs(), x.shape)


def summed(value):
    return jax.lax.psum(value, "batch")


DERIVATIVES = [
    Remedy(
        "Return the module next to them, with has_aux=True.",
        lambda: nnx.vjp(lambda m: m, Net()),
        lambda: nnx.vjp(lambda m: (m.w[...], m), Net(), has_aux=True),
    ),
    Remedy(
        "Make one with jax.tree.map over nnx.clone(module) or nnx.state(module).",
        lambda: jvp(lambda m: nnx.state(m, nnx.Param)),
        lambda: [
            jvp(lambda m: jax.tree.map(jnp.zeros_like, nnx.state(m))),
            jvp(lambda m: jax.tree.map(jnp.zeros_like, nnx.clone(m))),
        ],
    ),
    Remedy(
        "To select several kinds of variables, use one DiffState with nnx.Any(...).",
        lambda: grad(loss, argnums=(nnx.DiffState(0, nnx.Param), nnx.DiffState(0, nnx.BatchStat))),
        lambda: grad(loss, argnums=nnx.DiffState(0, nnx.Any(nnx.Param, nnx.BatchStat))),
    ),
    Remedy(
        "Select the variables to differentiate with nnx.DiffState(argnum, filter), keep integers",
        lambda: grad(loss, Net(w=nnx.Param(jnp.ones(3)), k=nnx.Param(jnp.zeros((), int)))),
        lambda: [
            grad(
                loss,
                Net(k=nnx.Param(jnp.zeros((), int))),
                argnums=nnx.DiffState(0, nnx.PathContains("w")),
            ),
            grad(loss, Net(k=nnx.Variable(jnp.zeros((), int)))),
            grad(loss, Net(k=nnx.Param(jnp.zeros((), int))), allow_int=True),
        ],
    ),
    Remedy(
        "Reduce the gradient with jax.lax.psum.",
        lambda: grad(loss, reduce_axes=("batch",)),
        lambda: vmap(
            lambda m, x: jax.tree.map(summed, grad(lambda m: (m.w[...] * x).sum(), m)),
            axis_name="batch",
        ),
    ),
]

CONTROL = [
    Remedy(
        "Make new variables before the branch, and only set values in it.",
        lambda: cond(adding, doing_nothing),
        lambda: cond(setting("extra", 1.0), doing_nothing, Net(extra=nnx.Variable(jnp.zeros(())))),
    ),
    Remedy(
        "Return the same tree from all branches: a branch that has nothing to return can return",
        lambda: cond(lambda m: m.w[...] + 1, doing_nothing),
        lambda: [
            cond(lambda m: m.w[...] + 1, lambda m: m.w[...]),
            cond(lambda m: m.w[...] + 1, lambda m: jnp.zeros(3)),
        ],
    ),
    Remedy(
        "A branch that doesn't set the variable leaves it as it was: set values of the same shape",
        lambda: cond(setting("w", jnp.ones(2)), doing_nothing),
        lambda: cond(setting("w", jnp.ones(3)), doing_nothing),
    ),
    Remedy(
        "Return the same modules that came in, with values set in place.",
        lambda: loop(other),
        lambda: loop(lambda m: [m(V), m][1]),
    ),
    Remedy(
        "Set it to a value of its own type: value.astype(...).",
        lambda: loop(lambda m: [setting("w", jnp.ones(3, int))(m), m][1]),
        lambda: loop(lambda m: [setting("w", jnp.ones(3, int).astype(m.w.dtype))(m), m][1]),
    ),
]

JIT = [
    Remedy(
        "Only arrays and modules can be donated.",
        lambda: jit(lambda m, n: n, Net(), 3, static_argnums=1, donate_argnums=(0, 1)),
        lambda: jit(lambda m, n: m.w + n, Net(), 3, static_argnums=1, donate_argnums=0),
    ),
    Remedy(
        "Pass one entry for each, or a single one for all.",
        lambda: jit(lambda m, x: m(x), Net(), V, in_shardings=(None,)),
        lambda: [
            jit(lambda m, x: m(x), Net(), V, in_shardings=(None, None)),
            jit(lambda m, x: m(x), Net(), V, in_shardings=None),
        ],
    ),
    Remedy(
        "If it is part of the program, make it static: nnx.jit(..., static_argnames={}). "
        "Make your own class",
        lambda: jit(lambda x, mode: x, V, "fast"),
        lambda: [
            jit(lambda x, mode: x, V, "fast", static_argnames="mode"),
            nnx.jit(lambda x, mode: x, static_argnames="mode")(V, mode="fast"),
        ],
    ),
    Remedy(
        "If it is part of the program, make it static: nnx.jit(..., static_argnames={}). "
        "Make your own class",
        lambda: jit(lambda x, mode: x * mode.rate, V, Plain()),
        lambda: [jit(lambda x, mode: x * mode.rate, V, c()) for c in (Settings, Registered)],
    ),
    Remedy(
        "Pass one name, or None, for each axis.",
        lambda: laid_out(nnx.Dict(w=nnx.Param(V)), "data", None),
        lambda: [laid_out(nnx.Dict(w=nnx.Param(V)), name) for name in ("data", None)],
    ),
    Remedy(
        "nnx.StateSharding({filter: sharding, ...: None}) gives each kind of variable its own.",
        lambda: laid_out(Net(), "data"),
        lambda: laid_out(Net(), "data", only=nnx.Param),
    ),
]

AXES = [
    Remedy(
        "The same variable is passed in and returned: give it the same prefix in both places, or",
        lambda: vmap(same, out_axes=0),
        lambda: [
            vmap(same, out_axes=None),
            vmap(lambda m, x: nnx.clone(m), out_axes=0),
        ],
    ),
    Remedy(
        "so that every step sees it whole; for a module, nnx.StateAxes({filter: axis, ...: None})",
        lambda: vmap(lambda m, x: m.a * x, PAIR, X, in_axes=(STACKED, 0)),
        lambda: vmap(lambda m, x: m.a * x, PAIR, X, in_axes=(PARAMS_STACKED, 0)),
    ),
    Remedy(
        "Give what isn't stacked the axis None, so that every step sees it whole.",
        lambda: vmap(lambda x, y: x, X, V, in_axes=0),
        lambda: vmap(lambda x, y: x, X, V, in_axes=(0, None)),
    ),
    Remedy(
        "Give it the axis None, so that every step sees it whole: nnx.StateAxes({filter: axis,",
        lambda: vmap(lambda m, x: m.w * x, Net((4, 3)), X, in_axes=(STACKED, 0)),
        lambda: vmap(lambda m, x: m.w * x, Net((4, 3)), X, in_axes=(PARAMS_STACKED, 0)),
    ),
    Remedy(
        "Give it the axis None, so that every step sees it whole.",
        lambda: vmap(lambda x, y: x * y, X, 3.0, in_axes=0),
        lambda: vmap(lambda x, y: x * y, X, 3.0, in_axes=(0, None)),
    ),
    Remedy(
        "Split the streams, so that each step has its own key: nnx.split_rngs(splits=",
        lambda: vmap(drawn, nnx.Rngs(0), X, in_axes=0),
        lambda: [
            nnx.split_rngs(splits=4)(nnx.vmap(drawn, in_axes=0))(nnx.Rngs(0), X),
            nnx.split_rngs(splits=4)(nnx.vmap(drawn))(nnx.Rngs(0), X),
        ],
    ),
    Remedy(
        "Pass one entry for each of them, or a single one for all. For the variables of a module,",
        lambda: vmap(lambda m, x: m.w * x, in_axes=(None, 0, 0)),
        lambda: [
            vmap(lambda m, x: m.w * x, in_axes=(None, 0)),
            vmap(lambda m, x: m.w * x, in_axes=(WHOLE, 0)),
            vmap(lambda x, y: x * y, X, X, in_axes=0),
        ],
    ),
    Remedy(
        "It is the same value: give it the same prefix in all places, or pass a copy (nnx.clone).",
        lambda: vmap(lambda a, b: a.w * b.w, m := Net((3, 3)), m, in_axes=(PARAMS_STACKED, WHOLE)),
        lambda: [
            vmap(lambda a, b: a.w * b.w, m := Net((3, 3)), m, in_axes=PARAMS_STACKED),
            vmap(
                lambda a, b: a.w * b.w,
                m := Net((3, 3)),
                nnx.clone(m),
                in_axes=(PARAMS_STACKED, WHOLE),
            ),
        ],
    ),
    Remedy(
        "End with the filter ... for the rest: {..., ...: {}}.",
        lambda: vmap(lambda m, x: x, in_axes=(nnx.StateAxes({nnx.Param: None}), 0)),
        lambda: vmap(lambda m, x: x, in_axes=(nnx.StateAxes({nnx.Param: None, ...: None}), 0)),
    ),
    Remedy(
        "Choose an axis from {} to {}.",
        lambda: vmap(lambda m, x: x, out_axes=2),
        lambda: [vmap(lambda m, x: x, out_axes=axis) for axis in (-2, 1)],
    ),
    Remedy(
        "If it is an output, give it an axis in out_axes; if it is a variable that the function",
        lambda: vmap(lambda m, x: x, out_axes=None),
        lambda: vmap(lambda m, x: x, out_axes=0),
    ),
    Remedy(
        "If it is an output, give it an axis in out_axes; if it is a variable that the function",
        lambda: vmap(lambda m, x: m(x)),
        lambda: [
            vmap(
                lambda m, x: m(x),
                Net(mean=nnx.BatchStat(jnp.zeros((4, 3)))),
                X,
                in_axes=(nnx.StateAxes({nnx.BatchStat: 0, ...: None}), 0),
            ),
            vmap(lambda m, x: m(jax.lax.pmean(x, "batch")), axis_name="batch"),
        ],
    ),
    Remedy(
        "nnx.Carry is for nnx.scan.",
        lambda: vmap(lambda m, x: x, in_axes=(nnx.Carry, 0)),
        lambda: scan(lambda m, x: (m, x)),
    ),
    Remedy(
        "For a module: nnx.StateAxes({filter: axis}).",
        lambda: vmap(lambda m, x: x, in_axes=("w", 0)),
        lambda: vmap(lambda m, x: x, Net((4, 3)), X, in_axes=(PARAMS_STACKED, 0)),
    ),
    Remedy(
        "Bind static arguments with functools.partial; use nnx.jit to donate.",
        lambda: nnx.pmap(lambda x, n: x * n, static_broadcasted_argnums=1)(X[:1], 3),
        lambda: [
            nnx.pmap(functools.partial(lambda n, x: x * n, 3))(X[:1]),
            nnx.jit(lambda x: x * 3, donate_argnums=0)(X + 1),
        ],
    ),
]

SCAN = [
    Remedy(
        "Carry one tuple of both.",
        lambda: scan(
            lambda m, c, x: (m, c, x),
            in_axes=(nnx.Carry, nnx.Carry, 0),
            out_axes=(nnx.Carry, nnx.Carry, 0),
        ),
        lambda: scan(lambda both, x: (both, x), (Net(), V), X),
    ),
    Remedy(
        "Give each step's output an axis, and carry what stays the same.",
        lambda: scan(lambda m, x: (m, x), out_axes=(nnx.Carry, None)),
        lambda: [
            scan(lambda m, x: (m, x), out_axes=(nnx.Carry, 0)),
            scan(lambda carried, x: (carried, x), (Net(), V), X),
        ],
    ),
    Remedy(
        "Give some argument an axis in in_axes, or pass length=.",
        lambda: scan(lambda m: m, Net(), in_axes=nnx.Carry, out_axes=nnx.Carry),
        lambda: [
            scan(lambda m: m, Net(), in_axes=nnx.Carry, out_axes=nnx.Carry, length=2),
            scan(lambda m, x: m, Net(), X, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry),
        ],
    ),
    Remedy(
        "Return the same module that was carried in, changed in place.",
        lambda: scan(lambda m, x: (None, x)),
        lambda: scan(lambda m, x: (m, m(x))),
    ),
    Remedy(
        "A carried variable has the same shape at every step.",
        lambda: scan(lambda m, x: [setting("w", jnp.ones((2, 3)))(m), (m, x)][1]),
        lambda: scan(lambda m, x: [setting("w", jnp.ones(3))(m), (m, x)][1]),
    ),
    Remedy(
        "Set it to value.astype({}), or make it of type {} before the loop.",
        lambda: scan(lambda m, x: [setting("w", jnp.ones(3, int))(m), (m, x)][1]),
        lambda: [
            scan(lambda m, x: [setting("w", jnp.ones(3, int).astype("float32"))(m), (m, x)][1]),
            scan(
                lambda m, x: [setting("w", jnp.ones(3, int))(m), (m, x)][1],
                Net(w=nnx.Param(jnp.ones(3, "int32"))),
                X,
            ),
        ],
    ),
    Remedy(
        "Broadcast and carried objects keep their structure. Give what a step creates an axis",
        lambda: scan(lambda m, x: [adding(m), (m, x)][1]),
        lambda: [
            scan(
                lambda m, x: [setting("extra", 1.0)(m), (m, x)][1],
                Net(extra=nnx.Variable(jnp.zeros(()))),
                X,
            ),
            scan(
                lambda m, x: [adding(m), x][1],
                in_axes=(nnx.StateAxes({nnx.PathContains("extra"): 0, ...: None}), 0),
                out_axes=0,
            ),
        ],
    ),
    Remedy(
        "Give the type an axis, along which each step has its own: nnx.StateAxes({nnx.{}: 0, ...:",
        lambda: captured(sowing, (nnx.StateAxes({...: nnx.Carry}), 0)),
        lambda: captured(sowing, (nnx.StateAxes({nnx.Intermediate: 0, ...: nnx.Carry}), 0)),
    ),
    Remedy(
        "Steps may set the values of carried variables, but not move them.",
        lambda: scan(lambda m, x: (without_second(m), x), tied(), X),
        lambda: [
            scan(lambda m, x: [setting("w", x)(m), (m, x)][1], without_second(tied()), X),
            without_second(scan(lambda m, x: [setting("w", x)(m), (m, x)][1], tied(), X)[0]),
        ],
    ),
]

TREES = [
    Remedy(
        "Leave graph out, or give each place an object of its own (nnx.clone).",
        lambda: jit(lambda a, b: a.w + b.w, m := Net(), m, graph=False),
        lambda: [
            jit(lambda a, b: a.w + b.w, m := Net(), m),
            jit(lambda a, b: a.w + b.w, m := Net(), nnx.clone(m), graph=False),
        ],
    ),
    Remedy(
        "Leave both out, or split the object (nnx.split) and give each of its states one entry.",
        lambda: vmap(
            lambda m, x: m.w * x, Net((4, 3)), X, in_axes=(PARAMS_STACKED, 0), graph=False
        ),
        lambda: [
            vmap(lambda m, x: m.w * x, Net((4, 3)), X, in_axes=(PARAMS_STACKED, 0)),
            taken_apart(Net((4, 3))),
        ],
    ),
    Remedy(
        "Leave graph out, or return a copy (nnx.clone).",
        lambda: jit(same, Net(), graph=False),
        lambda: [jit(same, Net()), jit(lambda m: nnx.clone(m), Net(), graph=False)],
    ),
    Remedy(
        "Leave graph_updates out, or return a copy (nnx.clone).",
        lambda: jit(same, Net(), graph_updates=False),
        lambda: [jit(same, Net()), jit(lambda m: nnx.clone(m), Net(), graph_updates=False)],
    ),
    Remedy(
        "Write nnx.prefix(model, {nnx.Param: 0, ...: None}).",
        lambda: nnx.prefix(Net(), 0),
        lambda: nnx.prefix(Net(), {nnx.Param: 0, ...: None}),
    ),
    Remedy(
        "Add a filter for it, or `...` as the last one for everything else.",
        lambda: nnx.prefix(nnx.Dict(w=nnx.Param(1.0), mean=nnx.BatchStat(0.0)), {nnx.Param: 0}),
        lambda: [
            nnx.prefix(
                nnx.Dict(w=nnx.Param(1.0), mean=nnx.BatchStat(0.0)),
                {nnx.Param: 0, nnx.BatchStat: None},
            ),
            nnx.prefix(
                nnx.Dict(w=nnx.Param(1.0), mean=nnx.BatchStat(0.0)), {nnx.Param: 0, ...: None}
            ),
        ],
    ),
]

REMEDIES = [*DERIVATIVES, *CONTROL, *JIT, *AXES, *SCAN, *TREES]

ADVICE = [  # which is part of a message or a note
    Remedy(
        "Decorate the method with @nnx.grad, or pass the function: nnx.grad(Model.method)(model,",
        lambda: nnx.grad(Net().total)(),
        lambda: [nnx.grad(Net.total)(Net()), Decorated().total()],
    ),
    Remedy(
        "copy it before that call: nnx.clone(model, arrays=True) of a module or state, jnp.copy(x)",
        lambda: donated_twice(lambda x: x),
        lambda: [donated_twice(lambda x: nnx.clone(x, arrays=True)), donated_twice(jnp.copy)],
    ),
    Remedy(
        "before the call: nnx.clone(model, arrays=True) of a module or state, jnp.copy(x)",
        lambda: donated_both(lambda x: x),
        lambda: [donated_both(lambda x: nnx.clone(x, arrays=True)), donated_both(jnp.copy)],
    ),
]

EXPLAINED = [
    # Needs several devices; nnx_mesh.py follows it.
    "Choose a size that they divide, or None for that axis, which leaves it unsplit.",
]


@pytest.mark.parametrize("remedy", [*REMEDIES, *ADVICE], ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints.hints_in(SOURCES)
    words = [remedy.words for remedy in REMEDIES]
    assert hints.untried(found, REMEDIES, EXPLAINED) == []
    assert hints.unknown(found, [*words, *EXPLAINED]) == []
