"""Functions of a scope: the same program on Flax and on Linnet, bit for bit.

A program gets a module tree (`flax` or `linnet.flax`) as `f`. Where it fails, it has to fail with
an error that a program for Flax catches: the class of that name, or the same Python class.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparing

KEY = jax.random.key(0)
X = jnp.arange(12.0).reshape(3, 4) / 8
ones = jax.nn.initializers.ones
normal = jax.nn.initializers.normal()


class Tree:
    """The modules of one library."""

    def __init__(self, root):
        self.core = importlib.import_module(f"{root}.core")
        self.scope = importlib.import_module(f"{root}.core.scope")
        self.lift = importlib.import_module(f"{root}.core.lift")
        self.axes_scan = importlib.import_module(f"{root}.core.axes_scan")
        self.nn = importlib.import_module(f"{root}.core.nn")
        self.partial_eval = importlib.import_module(f"{root}.core.partial_eval")
        self.meta = importlib.import_module(f"{root}.core.meta")
        self.linen = importlib.import_module(f"{root}.linen")
        for name in ("init", "apply", "lazy_init", "bind", "Scope", "DenyList"):
            setattr(self, name, getattr(self.core, name))


FLAX, LINNET = Tree("flax"), Tree("linnet.flax")


def outcome(program, tree):
    try:
        return jax.tree.map(np.asarray, program(tree))
    except Exception as error:
        return error


def check(program, equal=None):
    expected, got = outcome(program, FLAX), outcome(program, LINNET)
    if isinstance(expected, Exception):
        assert isinstance(got, Exception), f"Flax raises {expected!r}; got {got!r}"
        names = {c.__name__ for c in type(got).__mro__}
        assert type(expected).__name__ in names, f"Flax raises {expected!r}; got {got!r}"
        return
    if isinstance(got, Exception):
        raise got
    jax.tree.map(equal or identical, expected, got)


def identical(expected, got):
    comparing.identical(got, expected)


def near(expected, got):
    assert expected.dtype == got.dtype
    comparing.near(got, expected, 2e-5, 2e-5, half=(2e-2, 2e-2))


def data(key):
    return jax.random.key_data(key)


def dense(scope, x, features=2):
    return x @ scope.param("kernel", normal, (x.shape[-1], features))


def two_layers(scope, x):
    return scope.child(dense)(jnp.tanh(scope.child(dense)(x, 4)))


def step(scope, carry, x):
    return carry @ scope.param("kernel", normal, (4, 4)) + x, carry.sum()


def keys_in_sequence(f, scope):
    child = scope.child(lambda scope: data(scope.make_rng("params")), "a")
    again = scope.push("b"), scope.push("b", reuse=True)
    rewound = [data(scope.rewound(flag).make_rng()) for flag in (False, True)]
    return [child(), child(), *[data(s.make_rng()) for s in again], data(scope.make_rng()), rewound]


def names(scope):
    fn = lambda scope: 0  # noqa: E731
    fn.__name__ = "fn"
    scope.child(fn), scope.child(fn), scope.child(fn, prefix="p_"), scope.child(fn, "q")
    scope.child(functools.partial(fn))
    scope.push(), scope.push(prefix="r"), scope.push("s")
    scope.reserve("t", "state")
    return scope.reservations


def facts(scope):
    below = scope.push("a").push("b")
    return (
        [scope.path_text, below.path_text, below.name, below.root is scope, below.parent == scope],
        [scope.is_mutable_collection(c) for c in ("params", "state")],
        [scope.is_collection_empty(c) for c in ("params", "state", "empty", "none")],
        [scope.has_variable("params", n) for n in ("w", "x")],
        [scope.get_variable("params", "w"), scope.get_variable("params", "x", 3)],
        [scope.has_rng("params"), scope.has_flag("initializing"), scope.get_flag("x", 5)],
        [scope == scope.rewound(), hash(scope) == hash(scope.rewound()), below == scope],
        [scope.default_name("a"), scope.name_reserved("a"), scope.name_reserved("z")],
        [scope.variables(), scope.mutable_variables(), scope.push("w2").variables()],
    )


VARIABLES = {"params": {"w": 1.0, "w2": {"v": 2.0}}, "state": {"n": 3}, "empty": {}}


def ended(f, use):
    scope = f.init(lambda scope: (scope.param("w", ones, ()), scope)[1])(KEY)[0]
    return use(scope)


def temporary(scope):
    child = scope.push("a")
    with child.temporary() as inside:
        inside.put_variable("state", "n", 1)
        valid = inside.invalid
    return valid, child.invalid, scope.invalid


def count(scope, by):
    variable = scope.variable("state", "n", lambda: 0)
    variable.value += by
    return variable.value, variable.is_mutable()


SCOPES = {
    "init": lambda f: f.init(two_layers)(KEY, X),
    "init, raw key": lambda f: f.init(two_layers)(jax.random.PRNGKey(0), X),
    "init, streams": lambda f: f.init(lambda s: [data(s.make_rng(n)) for n in ("d", "p", "d")])(
        {"params": KEY, "d": jax.random.key(1)}
    ),
    "init, not a key": lambda f: f.init(dense)(3, X),
    "init, no key in the dict": lambda f: f.init(dense)({"params": 3}, X),
    "init, immutable": lambda f: f.init(dense, mutable=False)(KEY, X),
    "init, one collection": lambda f: f.init(count, mutable="params")(KEY, 1),
    "init, flags": lambda f: f.init(lambda s: s.get_flag("a"), flags={"a": 1})(KEY),
    "init, facts": lambda f: f.init(lambda s: (s.get_flag("initializing"), s.path_text))(KEY),
    "apply": lambda f: f.apply(dense)({"params": {"kernel": jnp.ones((4, 2))}}, X),
    "apply, frozen": lambda f: f.apply(dense)(
        f.core.freeze({"params": {"kernel": jnp.ones((4, 2))}}), X
    ),
    "apply, True": lambda f: f.apply(count, mutable=True)(VARIABLES, 1),
    "apply, list": lambda f: f.apply(count, mutable=["state", "other"])(VARIABLES, 1),
    "apply, DenyList": lambda f: f.apply(count, mutable=f.DenyList("params"))(VARIABLES, 1),
    "apply, empty list": lambda f: f.apply(facts, mutable=[])(VARIABLES, rngs={"params": KEY}),
    "apply, facts": lambda f: f.apply(facts, mutable=["state"])(VARIABLES, rngs={"params": KEY}),
    "apply, immutable": lambda f: f.apply(count)(VARIABLES, 1),
    "apply, bad key": lambda f: f.apply(dense)({}, X, rngs={"a": 3}),
    "apply, one key": lambda f: f.apply(lambda s: data(s.make_rng()))({}, rngs=KEY),
    "apply, not collections": lambda f: f.apply(dense)({"params": 3}, X),
    "apply, nested params": lambda f: f.apply(dense)({"params": {"params": {}}}, X),
    "apply, missing collection": lambda f: f.apply(dense)({}, X),
    "apply, empty collection": lambda f: f.apply(dense)({"params": {}}, X),
    "apply, missing parameter": lambda f: f.apply(dense)({"params": {"b": 1}}, X),
    "apply, missing variable": lambda f: f.apply(count)({"state": {"m": 1}}, 1),
    "apply, wrong shape": lambda f: f.apply(dense)({"params": {"kernel": jnp.ones((3, 2))}}, X),
    "apply, no key": lambda f: f.apply(lambda s: s.make_rng("d"))({}),
    "variable without initializer": lambda f: f.init(lambda s: s.variable("a", "b"))(KEY),
    "lazy_init": lambda f: f.lazy_init(two_layers)(KEY, jax.ShapeDtypeStruct((3, 4), jnp.float32)),
    "lazy_init, from an input": lambda f: f.lazy_init(
        lambda s, x: s.param("w", lambda key: x.sum())
    )(KEY, jax.ShapeDtypeStruct((3,), jnp.float32)),
    "bind": lambda f: (lambda s: [s.param("w", ones, ()), s.invalid])(f.bind(VARIABLES)),
    "bind, mutable": lambda f: (lambda s: [count(s, 2)[0], s.variables()])(
        f.bind(VARIABLES, mutable=True)
    ),
    "bind, bad key": lambda f: f.bind({}, rngs={"a": 3}),
    "names": lambda f: f.init(lambda s: sorted(names(s)))(KEY)[0],
    "keys": lambda f: f.init(lambda s: keys_in_sequence(f, s))(KEY)[0],
    "reuse of a child": lambda f: f.init(lambda s, x: [g(x) for g in 2 * [s.child(dense)]])(KEY, X),
    "arguments of a child": lambda f: f.init(lambda s, x: s.child(dense, features=3)(x))(KEY, X),
    "two parameters": lambda f: f.init(lambda s: [s.param("a", ones, ()) for _ in "ab"])(KEY),
    "two scopes": lambda f: f.init(lambda s: [s.push("a"), s.push("a")])(KEY),
    "a parameter and a scope": lambda f: f.init(lambda s: [s.param("a", ones, ()), s.push("a")])(
        KEY
    ),
    "a scope and a parameter": lambda f: f.init(lambda s: [s.push("a"), s.param("a", ones, ())])(
        KEY
    ),
    "two collections": lambda f: f.init(
        lambda s: [s.param("a", ones, ()), s.variable("b", "a", lambda: 1).value]
    )(KEY),
    "names are strings": lambda f: f.init(lambda s: s.reserve(3))(KEY),
    "temporary": lambda f: f.init(temporary)(KEY),
    "ended, reading": lambda f: ended(f, lambda s: [s.get_variable("params", "w"), s.invalid]),
    "ended, param": lambda f: ended(f, lambda s: s.param("z", ones, ())),
    "ended, the same param": lambda f: ended(f, lambda s: s.param("w", ones, ())),
    "ended, put": lambda f: ended(f, lambda s: s.put_variable("params", "w", 1)),
    "ended, push": lambda f: ended(f, lambda s: s.push("a")),
    "ended, child": lambda f: ended(f, lambda s: s.child(dense)),
    "ended, rewound": lambda f: ended(f, lambda s: s.rewound()),
    "ended, make_rng": lambda f: ended(f, lambda s: s.make_rng("params")),
    "Scope": lambda f: (lambda s: [dense(s, X), s.variables()])(
        f.Scope({}, {"params": KEY}, mutable=True)
    ),
    "Scope, of given variables": lambda f: (lambda v: [count(f.Scope(v, mutable=True), 2)[0], v])(
        {"state": {"n": 1}}
    ),
    "Scope, name and path": lambda f: (lambda s: [s.name, list(s.path), data(s.make_rng())])(
        f.Scope({}, {"params": KEY}, name="b", path=["a", "b"])
    ),
    "Scope, lazy key": lambda f: data(
        f.Scope({}, {"params": f.scope.LazyRng.create(KEY, "a")}).push("b").make_rng()
    ),
    "LazyRng": lambda f: (
        lambda k: [data(k.as_jax_rng()), data(k.clear_suffix().as_jax_rng()), list(k.suffix)]
    )(f.scope.LazyRng.create(f.scope.LazyRng.create(KEY, "a", 1), "b")),
    "rngs of a scope": lambda f: f.init(
        lambda s: [list(s.push("a").rngs["params"].suffix), list(s.rngs)]
    )(KEY)[0],
    "filters": lambda f: [
        [f.scope.is_filter_empty(x) for x in (False, [], "a", f.DenyList(True), f.DenyList(False))],
        sorted(f.scope.filter_to_set(["a", "b"])),
        f.scope.in_filter(f.scope.union_filters("a", ["b"]), "b"),
        f.scope.in_filter(f.scope.subtract_filters(True, "a"), "a"),
        list(f.scope.group_collections({"a": {"x": 1}, "b": {"y": 2}}, ["a", True])),
    ],
    "a filter that is none": lambda f: f.scope.in_filter(3, "a"),
    "a module on a scope": lambda f: f.init(lambda s, x: f.linen.Dense(3, parent=s)(x))(KEY, X),
    "a module below a scope": lambda f: f.init(
        lambda s, x: f.linen.Dense(3, parent=s.push("d"), name="e")(x)
    )(KEY, X),
    "a module without parent": lambda f: f.init(lambda s, x: f.linen.Dense(3)(x))(KEY, X),
    "two modules on a scope": lambda f: f.init(
        lambda s, x: [f.linen.Dense(3, parent=s)(x) for _ in "ab"]
    )(KEY, X),
    "init of a module inside": lambda f: f.init(
        lambda s, x: s.param("p", lambda key: f.linen.Dense(3).init(key, x)["params"])["bias"]
    )(KEY, X),
}


@pytest.mark.parametrize("name", SCOPES)
def test_scopes(name):
    check(SCOPES[name])


def on(transform, variables=None, **options):
    """`init` of a lifted function, or `apply` with the variables given."""

    def program(f):
        fn = lambda scope, *args: transform(f, scope, *args)  # noqa: E731
        return f.init(fn)(KEY, X) if variables is None else f.apply(fn, **options)(variables, X)

    return program


def vmapped(f, fn=dense, axis=0, split=True, **options):
    return f.lift.vmap(fn, variable_axes={"params": axis}, split_rngs={"params": split}, **options)


def scanned(f, fn=step, **options):
    return f.lift.scan(fn, **options)


ALONG = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
KERNEL = {"params": {"kernel": jnp.linspace(-1, 1, 8).reshape(4, 2)}}


def gradients(f, scope, x, fn=dense, **options):
    y, backward, *aux = f.lift.vjp(fn, scope, x, **options)
    return y, backward(jnp.ones_like(y)), aux


def signed(f, scope, x, scale=None):
    def fn(scope, x, scale=1.0):
        return dense(scope, x) * scale

    def forward(scope, x, *scale):
        return f.lift.vjp(fn, scope, x, *scale)

    def backward(*args):
        *_, bwd, y_t = args
        variables_t, x_t, *_ = bwd(y_t)
        return jax.tree.map(jnp.sign, variables_t), x_t

    fixed = () if scale is None else (2,)
    lifted = f.lift.custom_vjp(fn, forward, backward, nondiff_argnums=fixed)
    return lifted(scope, x) if scale is None else lifted(scope, x, scale)


def signed_gradient(scale):
    def program(f):
        loss = f.apply(lambda scope, x: signed(f, scope, x, scale).sum())
        return jax.grad(loss, (0, 1))(KERNEL, X)

    return program


def loop(f, scope, _):
    scope.param("step", lambda _: 1)
    for name in ("p", "q"):
        scope.put_variable("state", name, jnp.zeros((2, 2), jnp.uint32))
    scope.put_variable("state", "i", 0)

    def body(scope, carry):
        i = scope.get_variable("state", "i")
        for name in ("p", "q"):
            kept = scope.get_variable("state", name)
            scope.put_variable("state", name, kept.at[i].set(data(scope.make_rng(name))))
        scope.put_variable("state", "i", i + scope.get_variable("params", "step"))
        return carry + 2

    go_on = lambda scope, carry: scope.get_variable("state", "i") < 2  # noqa: E731
    split = {"params": False, "p": False, "q": True}
    return f.lift.while_loop(go_on, body, scope, 0, carry_variables="state", split_rngs=split)


def branches(f, scope, x, pred):
    for name in ("true", "false"):
        scope.variable("state", name, lambda: 0)

    def of(name, sign):
        def branch(scope, x):
            scope.variable("state", name).value += 1
            return sign * scope.child(dense, "dense")(x)

        return branch

    return f.lift.cond(pred, of("true", 1), of("false", -1), scope, x)


def transposed(f, fn=dense, **options):
    flip = lambda tree: jax.tree.map(jnp.transpose, tree)  # noqa: E731
    return f.lift.map_variables(fn, "params", flip, flip, **options)


def packed(f, scope, x, out=(True,), **options):
    def fn(scope_fn, repack_fn, variables, keys, x):
        inner = scope_fn(variables, keys, **options)
        y = jax.tree.map(lambda s: dense(s, x), inner)
        return y, repack_fn(inner) if out else ()

    return f.lift.pack(fn, (True,), out, (True,))(scope, x)


def boxed(f, scope, x):
    init_fn = f.meta.with_partitioning(ones, ("a",))
    fn = lambda scope, x: x * scope.param("w", init_fn, (4,))  # noqa: E731
    return vmapped(f, fn, metadata_params={"partition_name": "z"})(scope, x)


def box_names(f):
    box = f.init(lambda scope, x: boxed(f, scope, x))(KEY, X)[1]["params"]["w"]
    return list(box.names), box.value


def late(f, scope, x, lifted):
    kept = []
    lifted(f, lambda scope, x: kept.append(scope) or x)(scope, x)
    kept[0].put_variable("params", "late", 1)


LIFTED = {
    "vmap": on(lambda f, s, x: vmapped(f)(s, x)),
    "vmap of a child": on(lambda f, s, x: s.child(vmapped(f))(x)),
    "vmap of children": on(lambda f, s, x: vmapped(f, two_layers)(s, x)),
    "vmap, twice": on(lambda f, s, x: [vmapped(f, two_layers)(s, x) for _ in "ab"]),
    "vmap, shared": on(lambda f, s, x: vmapped(f, axis=None, split=False)(s, x)),
    "vmap, axes": on(lambda f, s, x: vmapped(f, in_axes=1, out_axes=1)(s, x)),
    "vmap, size": on(
        lambda f, s, x: vmapped(f, lambda s: s.param("w", normal, ()), axis_size=3)(s)
    ),
    "vmap, no size": on(lambda f, s, x: vmapped(f, lambda s: s.param("w", normal, ()))(s)),
    "vmap, other sizes": on(lambda f, s, x: vmapped(f, lambda s, x, y: x)(s, x, x[:2])),
    "vmap, no params": on(lambda f, s, x: f.lift.vmap(dense, {}, {"params": True})(s, x)),
    "vmap, no keys": on(lambda f, s, x: f.lift.vmap(dense, {"params": 0}, {})(s, x)),
    "vmap, an output": on(
        lambda f, s, x: f.lift.vmap(
            lambda s, x: s.put_variable("state", "a", x.sum()), {"state": f.lift.Out(0)}, {}
        )(s, x)
    ),
    "vmap of two scopes": on(
        lambda f, s, x: vmapped(f, lambda ss, x: [dense(s, x) for s in ss])(
            [s.push("a"), s.push("b")], x
        )
    ),
    "vmap of a scope and one below": on(
        lambda f, s, x: vmapped(f, lambda ss, x: [s.param("w", normal, ()) for s in ss])(
            [s, s.push("b")], x
        )
    ),
    "vmap of boxes": box_names,
    "vmap, then writing": on(lambda f, s, x: late(f, s, x, vmapped)),
    "scan": on(lambda f, s, x: scanned(f, **ALONG)(s, x[0], x)),
    "scan, broadcast": on(
        lambda f, s, x: scanned(f, variable_broadcast="params", split_rngs={"params": False})(
            s, x[0], x
        )
    ),
    "scan, broadcast with split keys": on(
        lambda f, s, x: scanned(f, variable_broadcast="params", split_rngs={"params": True})(
            s, x[0], x
        )
    ),
    "scan, length": on(
        lambda f, s, x: scanned(f, lambda s, c: step(s, c, 1.0), length=2, **ALONG)(s, x[0])
    ),
    "scan, options": on(
        lambda f, s, x: scanned(f, in_axes=1, out_axes=0, reverse=True, unroll=2, **ALONG)(
            s, jnp.ones(4), x[:1]
        )
    ),
    "scan, carry": on(
        lambda f, s, x: scanned(f, lambda s, c, x: (c, count(s, 1)[0]), variable_carry="state")(
            s, x[0], x
        ),
        {"state": {"n": 0}},
        mutable=["state"],
    ),
    "scan, shared output": on(
        lambda f, s, x: scanned(f, lambda s, c, x: (c, (x, 3)), out_axes=(0, f.core.broadcast))(
            s, x[0], x
        )
    ),
    "scan, unequal carry": on(lambda f, s, x: scanned(f, lambda s, c, x: (c[:2], x))(s, x[0], x)),
    "remat": on(lambda f, s, x: f.lift.remat(two_layers)(s, x)),
    "remat, static": on(
        lambda f, s, x: f.lift.checkpoint(dense, static_argnums=(1,), prevent_cse=False)(s, x, 3)
    ),
    "remat_scan": on(
        lambda f, s, x: f.lift.remat_scan(lambda s, x: step(s, x, 0.0)[0], (2, 2))(s, x)
    ),
    # Flax caches the effects of a trace by the first argument, so each program has its own.
    "jit": on(lambda f, s, x: f.lift.jit(lambda s, _, x: two_layers(s, x))(s, "a", x)),
    "jit, static": on(
        lambda f, s, x: f.lift.jit(lambda s, *args: dense(s, *args[1:]), static_argnums=(2,))(
            s, "b", x, 3
        )
    ),
    "jit, keys": on(
        lambda f, s, x: [
            f.lift.jit(lambda s, _: data(s.make_rng()))(s, "c"),
            data(s.make_rng()),
        ]
    ),
    "fold_rngs": on(lambda f, s, x: f.lift.fold_rngs(lambda s, _, x: two_layers(s, x))(s, "d", x)),
    "vjp, init": on(gradients),
    "vjp": on(gradients, KERNEL),
    "vjp, aux": on(
        lambda f, s, x: gradients(f, s, x, lambda s, x: (dense(s, x), 3.0), has_aux=True), KERNEL
    ),
    "vjp of two scopes": on(
        lambda f, s, x: gradients(
            f, [s.push("a"), s.push("b")], x, lambda ss, x: dense(ss[0], x) + dense(ss[1], x)
        ),
        {"params": {"a": KERNEL["params"], "b": KERNEL["params"]}},
    ),
    "vjp of state": on(
        lambda f, s, x: gradients(f, s, x, lambda s, x: dense(s, x) * count(s, 1)[0]),
        {**KERNEL, "state": {"n": 2}},
        mutable=["state"],
    ),
    "value_and_grad": on(
        lambda f, s, x: f.lift.value_and_grad(lambda s, x: dense(s, x).sum(), s, x), KERNEL
    ),
    "value_and_grad, aux": on(
        lambda f, s, x: f.lift.value_and_grad(
            lambda s, x, y: (dense(s, x * y).sum(), 3.0), s, x, x, has_aux=True
        ),
        KERNEL,
    ),
    "jvp": on(lambda f, s, x: f.lift.jvp(dense, s, (x,), (x,), KERNEL), KERNEL),
    "jvp of inputs": on(lambda f, s, x: f.lift.jvp(dense, s, (x,), (x,), {}), KERNEL),
    "jvp, init": on(lambda f, s, x: f.lift.jvp(dense, s, (x,), (x,), {})),
    "custom_vjp, init": on(signed),
    "custom_vjp": signed_gradient(None),
    "custom_vjp, nondiff": signed_gradient(3.0),
    "while_loop": lambda f: f.apply(lambda s: loop(f, s, X), mutable=True)(
        {}, rngs={"params": KEY, "p": jax.random.key(1), "q": jax.random.key(2)}
    ),
    "while_loop, not carried": on(
        lambda f, s, x: f.lift.while_loop(
            lambda s, c: c < 3, lambda s, c: c + count(s, 1)[0], s, 0
        ),
        {"state": {"n": 0}},
        mutable=True,
    ),
    "while_loop, written in the condition": on(
        lambda f, s, x: f.lift.while_loop(
            lambda s, c: count(s, 1)[0] < 3, lambda s, c: c, s, 0, carry_variables="state"
        ),
        {"state": {"n": 0}},
        mutable=True,
    ),
    "cond": on(lambda f, s, x: branches(f, s, x, True)),
    "cond, false": on(
        lambda f, s, x: branches(f, s, x, False),
        {"params": {"dense": KERNEL["params"]}, "state": {"true": 3, "false": 4}},
        mutable="state",
    ),
    "cond, other variables": on(
        lambda f, s, x: f.lift.cond(
            True, lambda s: s.param("a", ones, ()), lambda s: s.param("b", ones, ()), s
        )
    ),
    "switch": on(
        lambda f, s, x: f.lift.switch(
            1, [lambda s, x, k=k: k * s.child(dense, "d")(x) for k in range(3)], s, x
        )
    ),
    "map_variables": on(lambda f, s, x: transposed(f, init=True)(s, x)),
    "map_variables of children": on(lambda f, s, x: transposed(f, two_layers, init=True)(s, x)),
    "map_variables, apply": on(
        lambda f, s, x: transposed(f)(s, x), {"params": {"kernel": jnp.ones((2, 4))}}
    ),
    "map_variables, no init": on(lambda f, s, x: transposed(f)(s, x)),
    "map_variables, mutable": on(lambda f, s, x: transposed(f, mutable=True)(s, x)),
    "map_variables to nothing": on(
        lambda f, s, x: f.lift.map_variables(dense, "params", lambda tree: 3, init=True)(s, x)
    ),
    "swap_collection": on(
        lambda f, s, x: f.lift.swap_collection(
            lambda s: [s.get_variable("a", "x"), s.put_variable("a", "x", 9)], "a", "b"
        )(s),
        {"a": {"x": 1}, "b": {"x": 2}},
        mutable=True,
    ),
    "swap_collection, init": on(
        lambda f, s, x: f.lift.swap_collection(
            lambda s: s.variable("a", "x", lambda: 5).value, "a", "b"
        )(s)
    ),
    "pack": on(packed),
    "pack of two scopes": on(lambda f, s, x: packed(f, [s.push("a"), s.push("b")], x)),
    "pack, immutable": on(lambda f, s, x: packed(f, s, x, mutable_filter=False)),
    "pack, no outputs": on(lambda f, s, x: packed(f, s, x, out=()), KERNEL),
    "the outer scope inside": on(
        lambda f, s, x: vmapped(f, lambda inner, x: s.param("w", ones, ()) * x)(s, x)
    ),
    "axes_scan": lambda f: f.axes_scan.scan(
        lambda b, c, x, y: (b, c + x * y, (c, 7)), (0, f.core.broadcast), (0, f.core.broadcast)
    )(5, 1.0, jnp.arange(3.0), 2.0),
    "axes_scan, axis 1": lambda f: f.axes_scan.scan(lambda b, c, x: (b, c, x), (1,), 1)(5, 1.0, X),
    "axes_scan, shared from a step": lambda f: f.axes_scan.scan(
        lambda b, c: (c, c, c), (), 0, length=2
    )(5, 1.0),
    "axes_scan, no length": lambda f: f.axes_scan.scan(lambda b, c: (b, c, c), (), 0)(5, 1.0),
    "partial_eval": lambda f: f.partial_eval.lazy_init(lambda key, x: normal(key, x.shape))(
        KEY, jax.ShapeDtypeStruct((2,), jnp.float32)
    ),
    "partial_eval of an input": lambda f: f.partial_eval.lazy_init(lambda x: x)(
        jax.ShapeDtypeStruct((2,), jnp.float32)
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", LIFTED)
def test_lifted_functions(name):
    check(LIFTED[name])


IMAGES = jax.random.normal(jax.random.key(2), (2, 6, 6, 4))
TEXT = jax.random.normal(jax.random.key(3), (2, 5, 8))
KEYS = {"params": KEY, "dropout": jax.random.key(1)}
HEADS = [jax.random.normal(jax.random.key(i), (2, 5 if i == 4 else 6, 3, 4)) for i in (4, 5, 6)]
GRID = jax.random.normal(jax.random.key(7), (2, 3, 4, 2, 4))
PADDING = jnp.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], bool)[..., None]
STATISTICS = {
    "params": {"scale": jnp.full(4, 2.0), "bias": jnp.ones(4)},
    "batch_stats": {"mean": jnp.ones(4), "var": jnp.full(4, 2.0)},
}


def layer(name, *args, **kwargs):
    return lambda f: f.init(getattr(f.core.nn, name))(KEYS, *args, **kwargs)


def embed(method, *args):
    def fn(f):
        table = lambda scope: f.core.nn.embedding(scope, 5, 3)  # noqa: E731
        return f.init(lambda scope: getattr(table(scope), method)(*args))(KEY)

    return fn


def attend(*args, **kwargs):
    """The outputs at the real positions: those at the padding are not defined."""

    def fn(f):
        y, variables = layer("multi_head_dot_product_attention", *args, **kwargs)(f)
        return jnp.where(PADDING, y, 0), variables

    return fn


LAYERS = {
    "dense": layer("dense", TEXT, 3),
    "dense, options": layer("dense", TEXT, 3, bias=False, dtype=jnp.bfloat16),
    "dense, integers": layer("dense", jnp.ones((2, 3), jnp.int32), 3),
    "dense_general": layer("dense_general", TEXT, (3, 2)),
    "dense_general, axes": layer("dense_general", TEXT, (3, 2), axis=(-2, -1)),
    "dense_general, batch": layer("dense_general", IMAGES, 3, batch_dims=(0, 1)),
    "dense_general, not a batch": layer("dense_general", TEXT, 3, batch_dims=(1,)),
    "conv": layer("conv", IMAGES, 6, (3, 3)),
    "conv, options": layer(
        "conv",
        IMAGES,
        6,
        (3, 2),
        strides=(2, 1),
        padding="VALID",
        feature_group_count=2,
        bias=False,
    ),
    "conv, padding": layer("conv", TEXT, 6, (3,), padding=((1, 2),), kernel_dilation=(2,)),
    "conv_transpose": layer("conv_transpose", IMAGES, 6, (3, 3)),
    "conv_transpose, options": layer(
        "conv_transpose", TEXT, 6, (4,), strides=(2,), padding="VALID", bias=False
    ),
    "lookup": embed("lookup", jnp.array([[1, 2], [4, 0]])),
    "lookup, outside": embed("lookup", jnp.array([7, -1])),
    "lookup, floats": embed("lookup", jnp.array([1.0])),
    "attend": embed("attend", jnp.ones((2, 3))),
    "batch_norm": layer("batch_norm", IMAGES),
    "batch_norm, axes": layer("batch_norm", IMAGES, axis=(1, -1), scale=False, dtype=jnp.bfloat16),
    "batch_norm, kind": layer("batch_norm", IMAGES, kind="state", momentum=0.5, epsilon=0.1),
    "batch_norm, training": lambda f: f.apply(f.core.nn.batch_norm, mutable=["batch_stats"])(
        STATISTICS, IMAGES
    ),
    "batch_norm, kept": lambda f: f.apply(f.core.nn.batch_norm)(
        STATISTICS, IMAGES, use_running_average=True
    ),
    "batch_norm, immutable": lambda f: f.apply(f.core.nn.batch_norm)(STATISTICS, IMAGES),
    "layer_norm": layer("layer_norm", IMAGES),
    "layer_norm, options": layer("layer_norm", IMAGES, epsilon=0.1, bias=False, scale=False),
    "group_norm": layer("group_norm", IMAGES, num_groups=2),
    "group_norm, size": layer("group_norm", IMAGES, None, 2, scale=False, dtype=jnp.bfloat16),
    "group_norm, both": layer("group_norm", IMAGES, num_groups=2, group_size=2),
    "group_norm, neither": layer("group_norm", IMAGES, num_groups=None),
    "dropout": layer("dropout", TEXT, 0.5),
    "dropout, a key": layer("dropout", TEXT, 0.5, rng=jax.random.key(7)),
    "dropout, none": layer("dropout", TEXT, 0.5, deterministic=True),
    "dropout, all": layer("dropout", TEXT, 1.0),
    "dropout without a key": lambda f: f.apply(f.core.nn.dropout)({}, TEXT, 0.5),
    "attention": layer("dot_product_attention", *HEADS),
    "attention, bias": layer(
        "dot_product_attention", *HEADS, bias=jnp.ones((2, 3, 5, 6)).at[..., 0].set(-9.0)
    ),
    "attention, dropout": layer("dot_product_attention", *HEADS, dropout_rate=0.5),
    "attention, two axes": layer("dot_product_attention", GRID, GRID, GRID, axis=(1, 2)),
    "attention, the second axis": layer("dot_product_attention", GRID, GRID, GRID, axis=2),
    "attention along the batch": layer("dot_product_attention", GRID, GRID, GRID, axis=(0,)),
    "heads": attend(TEXT, TEXT, 2),
    "heads, features": attend(TEXT, None, 2, qkv_features=4, out_features=6, bias=False),
    "heads, causal": attend(TEXT, TEXT, 2, causal_mask=True, padding_mask=PADDING),
    "heads, segments": attend(
        TEXT, TEXT, 2, segmentation=jnp.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]])[..., None]
    ),
    "heads, dropout": attend(TEXT, TEXT, 2, dropout_rate=0.5),
    "heads, axes": layer(
        "multi_head_dot_product_attention", IMAGES, IMAGES, 2, attention_axis=(1,), causal_mask=True
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    check(LAYERS[name], near)


@pytest.mark.parametrize(
    "make",
    [
        lambda f: f.lift.vmap(dense, {}, {}),
        lambda f: f.lift.scan(dense),
        lambda f: f.lift.jit(dense),
        lambda f: f.lift.remat(dense),
        lambda f: f.lift.custom_vjp(dense, dense, dense),
        lambda f: f.lift.map_variables(dense, "params"),
        lambda f: f.lift.swap_collection(dense, "a", "b"),
        lambda f: f.lift.remat_scan(dense, (2,)),
        lambda f: f.lift.fold_rngs(dense),
        lambda f: f.lift.pack(dense, (), (), ()),
    ],
)
def test_a_lifted_function_has_the_name_that_flax_derives_keys_from(make):
    assert make(LINNET).__name__ == make(FLAX).__name__
