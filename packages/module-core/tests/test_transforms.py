"""Lifted transforms: what is lifted, which keys are drawn, what comes back, what is rejected."""

import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.boxes import AxisMetadata
from linnet.module_core.errors import (
    ArgumentError,
    InvalidRngError,
    JaxTransformError,
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
    TransformedMethodReturnValueError,
    TransformTargetError,
)
from linnet.struct import PyTreeNode

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3)
ones = jax.nn.initializers.ones


def fold(key, *tokens):
    data = b"".join(
        t.encode() if isinstance(t, str) else t.to_bytes((t.bit_length() + 7) // 8, "big")
        for t in tokens
    )
    return jax.random.fold_in(key, np.uint32(int.from_bytes(hashlib.sha1(data).digest()[:4])))


def bits(key):
    return jax.random.key_data(key)


class Draw(nn.Module):
    """A parameter that is its own key's data, and one that is the key of a draw in the body."""

    @nn.compact
    def __call__(self, x=None, _=None):
        key = self.param("key", lambda k: bits(k))
        return x, (key, bits(self.make_rng("noise")))


class Net(nn.Module):
    """Runs a body on itself: a place for transforms."""

    body: Any

    @nn.compact
    def __call__(self, *args):
        return self.body(self, *args)


def keys_of(body, *args):
    rngs = {"params": KEY, "noise": jax.random.key(1)}
    return Net(body).init_with_output(rngs, *args)


NOISE = jax.random.key(1)


def test_vmap_splits_the_roots_or_shares_them():
    Split = nn.vmap(
        Draw, variable_axes={"params": 0}, split_rngs={"params": True, "noise": False}, axis_size=3
    )
    (_, (_, noise)), variables = keys_of(lambda self: Split()())
    expected = [bits(fold(k, "VmapDraw_0", 1)) for k in jax.random.split(KEY, 3)]
    np.testing.assert_array_equal(variables["params"]["VmapDraw_0"]["key"], jnp.stack(expected))
    np.testing.assert_array_equal(noise[1], bits(fold(NOISE, "VmapDraw_0", 1)))


def test_scan_counts_the_draws_of_both_traces():
    Scanned = nn.scan(
        Draw, variable_axes={"params": 0}, split_rngs={"params": True, "noise": False}, length=3
    )
    (_, (_, noise)), variables = keys_of(lambda self: Scanned()(0.0, None))
    expected = [bits(fold(k, "ScanDraw_0", 2)) for k in jax.random.split(KEY, 3)]
    np.testing.assert_array_equal(variables["params"]["ScanDraw_0"]["key"], jnp.stack(expected))
    np.testing.assert_array_equal(noise[0], bits(fold(NOISE, "ScanDraw_0", 2)))


def test_scan_makes_broadcast_parameters_in_the_first_trace():
    Scanned = nn.scan(
        Draw, variable_broadcast="params", split_rngs={"params": False, "noise": True}, length=3
    )
    (_, (_, noise)), variables = keys_of(lambda self: Scanned()(0.0, None))
    key = variables["params"]["ScanDraw_0"]["key"]
    np.testing.assert_array_equal(key, bits(fold(KEY, "ScanDraw_0", 1)))
    split = [bits(fold(k, "ScanDraw_0", 2)) for k in jax.random.split(NOISE, 3)]
    np.testing.assert_array_equal(noise, jnp.stack(split))


def test_jit_folds_the_path_into_the_keys_and_counts_on():
    def body(self):
        jitted = nn.jit(Draw)()
        first, second = jitted(), jitted()
        return first[1], second[1], bits(self.make_rng("noise"))

    model = Net(body)
    rngs = {"params": KEY, "noise": NOISE}
    (first, second, after), variables = model.init_with_output(rngs)
    base = fold(KEY, "JitDraw_0", 1)
    np.testing.assert_array_equal(variables["params"]["JitDraw_0"]["key"], bits(fold(base, 2)))
    np.testing.assert_array_equal(first[1], bits(fold(fold(NOISE, "JitDraw_0", 1), 2)))
    np.testing.assert_array_equal(second[1], bits(fold(fold(NOISE, "JitDraw_0", 3), 4)))
    np.testing.assert_array_equal(after, bits(fold(NOISE, 1)))
    once = model.apply(variables, rngs=rngs)
    again = model.apply(variables, rngs=rngs)
    jax.tree.map(np.testing.assert_array_equal, once, again)


def test_jit_traces_equal_modules_once():
    traces = []

    class Layer(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            traces.append(1)
            return x * self.param("w", ones, (self.features,))

    Jitted = nn.jit(Layer)
    model = Net(lambda self, x: Jitted(3, name="a")(x))
    variables = model.init(KEY, X)
    traces.clear()
    for _ in range(3):
        model.apply(variables, X)
    assert len(traces) == 1
    model.apply(variables, X[:1])
    assert len(traces) == 2


def test_remat_keeps_keys_and_gradients():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", jax.nn.initializers.normal(), (3,))
            return jnp.sin(x * w) + jax.random.normal(self.make_rng("noise"), (3,))

    plain, remat = (Net(lambda self, x, c=c: c(name="l")(x)) for c in (Layer, nn.remat(Layer)))
    variables = plain.init({"params": KEY, "noise": NOISE}, X)
    jax.tree.map(
        np.testing.assert_array_equal, variables, remat.init({"params": KEY, "noise": NOISE}, X)
    )

    def loss(model):
        return jax.grad(lambda v: model.apply(v, X, rngs={"noise": NOISE}).sum())(variables)

    jax.tree.map(np.testing.assert_allclose, loss(plain), loss(remat))


def test_while_loop_gives_each_step_a_key_and_carries_variables():
    def body(self, x):
        n = self.variable("state", "n", lambda: jnp.zeros((), jnp.int32))
        if self.is_initializing():
            return x

        def do(m, c):
            m.put_variable("state", "n", m.get_variable("state", "n") + 1)
            return (
                *c[:1],
                c[1].at[m.get_variable("state", "n") - 1].set(bits(m.make_rng("noise"))),
            )

        init = (x, jnp.zeros((3, 2), jnp.uint32))
        _, drawn = nn.while_loop(
            lambda m, c: m.get_variable("state", "n") < 3,
            do,
            self,
            init,
            carry_variables="state",
            split_rngs={"noise": True},
        )
        return drawn, n.value

    (drawn, n), changed = Net(body).apply(
        Net(body).init(KEY, X), X, rngs={"noise": NOISE}, mutable=["state"]
    )
    expected = [bits(fold(jax.random.fold_in(NOISE, i), 1)) for i in range(3)]
    np.testing.assert_array_equal(drawn, jnp.stack(expected))
    assert n == changed["state"]["n"] == 3


def test_branches_draw_one_after_the_other():
    def body(self, pred):
        branch = lambda m: bits(m.make_rng("noise"))  # noqa: E731
        chosen = nn.cond(pred, branch, branch, self)
        return chosen, bits(self.make_rng("noise"))

    for pred, n in ((True, 1), (False, 2)):
        chosen, after = Net(body).apply({}, pred, rngs={"noise": NOISE})
        np.testing.assert_array_equal(chosen, bits(fold(NOISE, n)))
        np.testing.assert_array_equal(after, bits(fold(NOISE, 3)))


class Scale(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * self.param("s", ones, ())


class Count(nn.Module):
    @nn.compact
    def __call__(self, x):
        n = self.variable("state", "n", lambda: jnp.zeros(()))
        n.value = n.value + x.sum()
        return x


def test_axes_of_variables_and_arguments():
    Mapped = nn.vmap(
        Count, variable_axes={"state": -1}, in_axes=1, out_axes=1, split_rngs={"params": True}
    )
    y, changed = Mapped().apply({}, X, mutable=["state"])
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(changed["state"]["n"], X.sum(0))


def test_collections_that_only_go_in_or_come_out():
    given = {"state": {"n": jnp.array([10.0, 20.0])}}
    In = nn.vmap(Count, variable_axes={"state": nn.In(0)})
    with pytest.raises(ModifyScopeVariableError, match="state"):
        In().apply(given, X, mutable=["state"])
    Out = nn.vmap(Count, variable_axes={"state": nn.Out(0)})
    _, changed = Out().apply(given, X, mutable=["state"])
    np.testing.assert_array_equal(changed["state"]["n"], X.sum(1))


def test_scan_carries_and_stacks_state_and_broadcasts_arguments():
    def body(self, x):
        self.variable("state", "n", lambda: jnp.zeros(()))

        def step(m, carry, x, shift):
            m.put_variable("state", "n", m.get_variable("state", "n") + x.sum())
            return carry + shift, m.get_variable("state", "n")

        return nn.scan(step, variable_carry="state", in_axes=(0, nn.broadcast))(self, 0.0, x, 2.0)

    (carry, sums), changed = Net(body).apply({}, X, mutable=["state"])
    assert carry == 4
    np.testing.assert_array_equal(sums, X.sum(1).cumsum())
    assert changed["state"]["n"] == X.sum()


def test_broadcast_outputs_are_found_before_the_loop():
    def step(m, carry, x):
        return carry, (x, jnp.ones(2) * 3)

    out = nn.scan(step, out_axes=(0, nn.broadcast))
    _, (xs, constant) = Net(lambda self, x: out(self, 0.0, x)).apply({}, X)
    np.testing.assert_array_equal(xs, X)
    np.testing.assert_array_equal(constant, [3.0, 3.0])
    bad = nn.scan(lambda m, c, x: (c, x), out_axes=nn.broadcast)
    with pytest.raises(ArgumentError, match="broadcast, but depends"):
        Net(lambda self, x: bad(self, 0.0, x)).apply({}, X)


def test_keyword_arguments_are_kept():
    class Shift(nn.Module):
        def __call__(self, x, by=0.0):
            return x + by

    class Step(nn.Module):
        def __call__(self, carry, x, by=0.0):
            return carry + by, x

    np.testing.assert_array_equal(nn.vmap(Shift)().apply({}, X, by=jnp.ones(2)), X + 1)
    np.testing.assert_array_equal(nn.remat(Shift)().apply({}, X, by=1.0), X + 1)
    np.testing.assert_array_equal(nn.jit(Shift)().apply({}, X, by=1.0), X + 1)
    assert nn.scan(Step)().apply({}, 0.0, X, by=2.0)[0] == 4


def test_static_arguments():
    class Switch(nn.Module):
        def __call__(self, x, flip):
            return -x if flip else x

    for transform in (nn.jit, nn.remat):
        model = transform(Switch, static_argnums=(2,))()
        np.testing.assert_array_equal(model.apply({}, X, True), -X)
        np.testing.assert_array_equal(model.apply({}, X, False), X)
    with pytest.raises(ArgumentError, match="names the module"):
        nn.remat(Switch, static_argnums=(0,))().apply({}, X, True)


def test_methods_of_a_class_are_transformed_by_name():
    class Pair(nn.Module):
        def setup(self):
            self.inner = Scale()

        def encode(self, x, y):
            return self.inner(x) + y

        def decode(self, x):
            return self.inner(x)

    options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    Mapped = nn.vmap(Pair, methods={"encode": {**options, "in_axes": (0, None)}, "decode": options})
    variables = Mapped().init(KEY, X, jnp.ones(3), method="encode")
    assert variables["params"]["inner"]["s"].shape == (2,)
    np.testing.assert_array_equal(Mapped().apply(variables, X, method="decode"), X)
    assert Mapped.__name__ == "VmapPair"
    with pytest.raises(AttributeError, match="nope"):
        nn.vmap(Pair, methods=["nope"])


def test_decorated_methods():
    class Model(nn.Module):
        def setup(self):
            self.inner = Scale()

        @nn.remat
        def rematted(self, x):
            return self.inner(x)

        @nn.jit
        def __call__(self, x):
            return self.rematted(x) * 2

    y, variables = Model().init_with_output(KEY, X)
    np.testing.assert_array_equal(y, 2 * X)
    assert variables == {"params": {"inner": {"s": 1.0}}}


def test_modules_passed_in_keep_their_parameters():
    class Twice(nn.Module):
        inner: Any

        @nn.compact
        def __call__(self, x):
            return self.inner(self.inner(x)) * self.param("t", ones, ())

    def body(self, x):
        shared = Scale(name="shared")
        x = shared(x)
        x = nn.remat(Twice)(shared, name="a")(x)
        return nn.jit(lambda m, inner, x: inner(m(x)))(Twice(shared, name="b"), shared, x)

    _, variables = Net(body).init_with_output(KEY, X)
    assert set(variables["params"]) == {"shared", "a", "b"}
    doubled = jax.tree.map(lambda s: 2 * s, variables)
    np.testing.assert_array_equal(Net(body).apply(doubled, X), 2**8 * X)


def test_tuples_of_modules():
    def body(self, x):
        a, b = Scale(name="a"), Scale(name="b")
        both = nn.vmap(lambda m, x: m[0](m[1](x)), variable_axes={"params": None})
        return both((a, b), x)

    variables = {"params": {"a": {"s": 2.0}, "b": {"s": 3.0}}}
    np.testing.assert_array_equal(Net(body).apply(variables, X), 6 * X)


def test_setup_runs_again_inside_and_leaves_no_tracer_behind():
    class Model(nn.Module):
        def setup(self):
            self.w = self.param("w", ones, (3,))
            self.inner = Scale()

        @nn.jit
        def inside(self, x):
            return self.inner(x) * self.w

        def __call__(self, x):
            return self.inside(x) * self.w

    bound = Model().bind(Model().init(KEY, X))
    np.testing.assert_array_equal(bound(X), X)
    assert not isinstance(bound.w, jax.core.Tracer)


def test_names_go_on_counting_across_a_transform():
    def body(self, x):
        x = Scale()(x)
        x = nn.remat(lambda m, x: Scale()(x))(self, x)
        return Scale()(x)

    assert set(Net(body).init(KEY, X)["params"]) == {"Scale_0", "Scale_1", "Scale_2"}


def test_nested_transforms():
    Layer = nn.scan(
        nn.remat(
            nn.vmap(
                lambda m, x, _: (m(x), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(0, None),
                out_axes=(0, None),
            )
        ),
        variable_axes={"params": 0},
        split_rngs={"params": True},
        length=4,
    )
    y, variables = Net(lambda self, x: Layer(Scale(name="s"), x, None)[0]).init_with_output(KEY, X)
    assert variables["params"]["s"]["s"].shape == (4, 2)
    np.testing.assert_array_equal(y, X)


def test_remat_scan():
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + self.param("w", ones, ())

    model = nn.remat_scan(Step, lengths=(3, 2))()
    y, variables = model.init_with_output(KEY, X)
    assert variables["params"]["w"].shape == (3, 2)
    np.testing.assert_array_equal(y, X + 6)
    grads = jax.grad(lambda v: model.apply(v, X).sum())(variables)
    np.testing.assert_array_equal(grads["params"]["w"], jnp.full((3, 2), 6.0))
    with pytest.raises(ArgumentError, match="lengths"):
        nn.remat_scan(Step)


def test_derivatives():
    def of(transform):
        return Net(lambda self, x: transform(lambda m, x: (m(x) ** 2).sum(), Scale(name="s"), x))

    variables = {"params": {"s": {"s": 3.0}}}
    (g,) = of(nn.grad).apply(variables, X)
    np.testing.assert_array_equal(g, 18 * X)
    value, (g,) = of(nn.value_and_grad).apply(variables, X)
    np.testing.assert_allclose(value, 9 * (X**2).sum())

    def backward(self, x):
        y, bwd = nn.vjp(lambda m, x: m(x), Scale(name="s"), x)
        return bwd(jnp.ones_like(y))

    params_t, x_t = Net(backward).apply(variables, X)
    assert params_t["params"]["s"] == X.sum()
    np.testing.assert_array_equal(x_t, jnp.full_like(X, 3.0))

    def forward(self, x):
        tangents = {"params": {"s": 1.0}}
        return nn.jvp(lambda m, x: m(x), Scale(name="s"), (x,), (jnp.ones_like(x),), tangents)

    _, tangent = Net(forward).apply(variables, X)
    np.testing.assert_array_equal(tangent, 3 + X)


def test_state_changed_under_a_derivative_is_kept():
    def body(self, x):
        count = Count(name="c")
        return nn.value_and_grad(lambda m, x: m(x).sum(), count, x)

    (value, (g,)), changed = Net(body).apply({}, X, mutable=["state"])
    assert changed["state"]["c"]["n"] == value == X.sum()
    np.testing.assert_array_equal(g, jnp.ones_like(X))


def test_custom_vjp():
    def f(m, x):
        return m(x)

    def forward(m, x):
        return nn.vjp(f, m, x)

    def backward(bwd, y_t):
        params_t, *inputs_t = bwd(y_t)
        return jax.tree.map(jnp.sign, params_t), *inputs_t

    model = Net(lambda self, x: nn.custom_vjp(f, forward, backward)(Scale(name="s"), x))
    variables = {"params": {"s": {"s": 3.0}}}
    np.testing.assert_array_equal(model.apply(variables, X), 3 * X)
    grads = jax.grad(lambda v: model.apply(v, X).sum())(variables)
    assert grads["params"]["s"]["s"] == 1


def test_map_variables():
    def halve(v):
        return jax.tree.map(lambda w: w / 2, v)

    def double(v):
        return jax.tree.map(lambda w: 2 * w, v)

    Mapped = nn.map_variables(Scale, "params", double, halve, init=True)
    y, variables = Mapped().init_with_output(KEY, X)
    np.testing.assert_array_equal(y, X)
    assert variables["params"]["s"] == 0.5
    np.testing.assert_array_equal(Mapped().apply(variables, X), X)
    with pytest.raises(ScopeCollectionNotFound):
        nn.map_variables(Scale, "params", double)().init(KEY, X)
    Writes = nn.map_variables(Count, "state", double)
    with pytest.raises(ModifyScopeVariableError, match="state"):
        Writes().apply({"state": {"n": 1.0}}, X, mutable=["state"])


@pytest.mark.parametrize("init", ["init", "lazy", "abstract", "jit"])
def test_every_way_to_initialize_a_scan(init):
    def body(self, x):
        shared = nn.scan(
            lambda m, c, x: (m(c), None), variable_broadcast="params", split_rngs={"params": False}
        )
        return shared(Scale(name="s"), x, jnp.ones(3))[0]

    model = Net(body)
    shape = jax.ShapeDtypeStruct(X.shape, X.dtype)
    variables = {
        "init": lambda: model.init(KEY, X),
        "lazy": lambda: model.lazy_init(KEY, shape),
        "abstract": lambda: jax.eval_shape(model.init, KEY, X),
        "jit": lambda: jax.jit(model.init)(KEY, X),
    }[init]()
    assert variables["params"]["s"]["s"].shape == ()
    if init != "abstract":
        assert variables["params"]["s"]["s"] == 1


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.vmap(3), TransformTargetError, "takes a module class"),
        (lambda: nn.vmap(Scale()), TransformTargetError, "not nn.vmap"),
        (lambda: nn.jit(lambda m: m, methods=["f"]), TransformTargetError, "is for classes"),
        (lambda: nn.remat(Scale, concrete=True), ArgumentError, "static_argnums"),
    ],
)
def test_bad_targets(make, error, words):
    with pytest.raises(error, match=words):
        make()


class Returns(nn.Module):
    what: Any = None

    @nn.compact
    def __call__(self, *args):
        return self.what(self, *args)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (
            lambda self, x: nn.jit(Returns)(lambda m: Scale())(),
            TransformedMethodReturnValueError,
            "Scale",
        ),
        (
            lambda self, x: nn.remat(Returns)(lambda m: m.variable("s", "n", jnp.ones, ()))(),
            TransformedMethodReturnValueError,
            "Variable",
        ),
        (
            lambda self, x: nn.vmap(Scale)()(x),
            ScopeCollectionNotFound,
            r"VmapScale_0 \(Scale\)(.|\n)*variable_axes",
        ),
        (
            lambda self, x: nn.vmap(Scale, variable_axes={"params": 0})()(x),
            InvalidRngError,
            r"VmapScale_0 \(Scale\)(.|\n)*split_rngs",
        ),
        (lambda self, x: nn.vmap(Scale, in_axes=None)()(x), ArgumentError, "axis_size should be"),
        (
            lambda self, x: nn.vmap(lambda m, x, y: x)(self, x, jnp.ones(5)),
            ArgumentError,
            r"Inconsistent batch axis sizes: \[2, 5\]",
        ),
        (lambda self, x: nn.vmap(Scale, in_axes=3)()(x), ArgumentError, "no axis 3"),
        (lambda self, x: nn.scan(lambda m, c: (c, 0))(self, x), ArgumentError, "length should be"),
        (
            lambda self, x: nn.scan(lambda m, c, x: (c, x), length=7)(self, 0.0, x),
            ArgumentError,
            r"Inconsistent scan lengths: \[2, 7\] \(with length=7\)",
        ),
        (lambda self, x: nn.scan(lambda m, c, x: c)(self, 0.0, x), ArgumentError, "must return"),
        (lambda self, x: nn.jit(lambda m, x: x)(3, x), TransformTargetError, "needs a module"),
        (
            lambda self, x: nn.jit(lambda m, other, x: x)(self, Scale(parent=None), x),
            JaxTransformError,
            "unbound Scale",
        ),
    ],
)
def test_what_a_body_may_not_do(body, error, words):
    with pytest.raises(error, match=words):
        Net(body).init(KEY, X)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        w = self.param("w", jax.nn.initializers.normal(), (3, 3))
        return jnp.tanh(x @ w), None


@pytest.mark.parametrize("lift", [nn.jit, nn.remat, lambda c: nn.remat(nn.jit(c)), nn.fold_rngs])
def test_a_scan_finds_what_its_steps_share_inside_of_compiled_bodies(lift):
    shared = {"variable_broadcast": "params", "split_rngs": {"params": False}, "length": 3}
    model = nn.scan(lift(Layer), **shared)()
    variables = model.init(KEY, X, None)
    assert variables["params"]["w"].shape == (3, 3)
    expected = X
    for _ in range(3):
        expected = jnp.tanh(expected @ variables["params"]["w"])
    np.testing.assert_allclose(model.apply(variables, X, None)[0], expected, rtol=1e-6)


def test_a_scan_finds_what_its_steps_share_inside_of_loops_and_branches():
    class Steps(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            inner = nn.scan(
                Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
            )
            x, _ = inner(name="inner")(x, None)
            last = Layer(name="last")
            return nn.cond(True, lambda m, x: m(x, None), lambda m, x: m(x, None), last, x)

    shared = {"variable_broadcast": "params", "split_rngs": {"params": False}, "length": 3}
    params = nn.scan(Steps, **shared)().init(KEY, X, None)["params"]
    assert jax.tree.map(jnp.shape, params) == {"inner": {"w": (2, 3, 3)}, "last": {"w": (3, 3)}}


def test_a_variable_that_depends_on_a_step_raises_an_error_inside_compiled_bodies():
    class Reads(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x, _):
            self.param("w", lambda key: x.sum())
            return x, None

    model = nn.scan(Reads, variable_broadcast="params", split_rngs={"params": False}, length=3)()
    with pytest.raises(ArgumentError, match="'w' of the collection 'params' is broadcast, but"):
        model.init(KEY, X, None)


def test_add_metadata_axis_keeps_what_it_does_not_name():
    class Meter(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("w", nn.with_partitioning(ones, ("in",)), (3,))
            total = self.variable("totals", "seen", lambda: jnp.zeros(()))
            total.value += x.sum()
            self.sow("seen", "x", x)
            return x * self.param("w2", ones, ())

    params = {nn.PARTITION_NAME: "layers"}
    model = nn.add_metadata_axis(Meter, {"params": 0}, metadata_params=params)()
    variables = model.init(KEY, X)
    assert variables["params"]["w"].names == ("layers", "in")
    assert variables["totals"]["seen"] == 15
    _, changed = model.apply(variables, X, mutable=True)
    assert changed["totals"]["seen"] == 30
    assert len(changed["seen"]["x"]) == 2
    assert changed["params"]["w"].names == ("layers", "in")


class Pooled(PyTreeNode, AxisMetadata):
    """A user-defined box: one value for all examples, their sum over the mapped axis."""

    value: Any

    def unbox(self):
        return self.value

    def replace_boxed(self, value):
        return self.replace(value=value)

    def add_axis(self, index, params):
        return self.replace(value=jnp.sum(self.value, axis=index))

    def remove_axis(self, index, params):
        n = params["members"]
        value = jnp.expand_dims(self.value / n, index)
        return self.replace(value=jnp.repeat(value, n, axis=index))


class Member(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        mass = self.variable("shared", "mass", lambda: Pooled(jnp.ones((2,))))
        assert mass.value.shape == (2,)
        if not self.is_initializing() and self.is_mutable_collection("shared"):
            mass.value = mass.value + 1
        return x, None


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("transform", ["vmap", "scan"])
def test_a_box_learns_about_an_axis_while_its_value_has_it(transform, axis):
    options = {"variable_axes": {"shared": axis}, "metadata_params": {"members": 3}}
    if transform == "vmap":
        model = nn.vmap(Member, axis_size=3, in_axes=None, **options)()
    else:
        model = nn.scan(Member, length=3, **options)()
    variables = model.init({}, jnp.zeros(()), None)
    assert variables["shared"]["mass"].value.tolist() == [3, 3]
    _, changed = model.apply(variables, jnp.zeros(()), None, mutable=True)
    assert changed["shared"]["mass"].value.tolist() == [6, 6]
    _, same = model.apply(variables, jnp.zeros(()), None, mutable="other")
    assert same == {}


class Counts(nn.Module):
    @nn.compact
    def __call__(self, c, _=None):
        return self.half(c + 1), None

    def half(self, c):
        return c / 2


STEPS = {"variable_axes": {"intermediates": 0}, "length": 2}


class DecoratedCounts(nn.Module):
    @functools.partial(nn.scan, **STEPS)
    @nn.compact
    def __call__(self, c, _):
        return (c + 1) / 2, None


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.scan(Counts, **STEPS)(name="steps"),
        lambda: nn.jit(nn.scan(Counts, **STEPS))(name="steps"),
        lambda: nn.scan(nn.remat(Counts), **STEPS)(name="steps"),
        lambda: DecoratedCounts(name="steps"),
    ],
)
def test_results_are_captured_inside_of_a_transform(make):
    model = Net(lambda self, x: make()(x, None)[0])
    for _ in range(2):
        _, state = model.apply({}, jnp.zeros(()), capture_intermediates=True)
        found = state["intermediates"]
        assert found["__call__"] == (0.75,)
        ((carries, _),) = found["steps"]["__call__"]
        assert carries.tolist() == [0.5, 0.75]


def test_what_a_transform_does_not_lift_is_not_captured():
    model = Net(lambda self, x: nn.remat(Counts, variables="params")(name="inner")(x)[0])
    _, state = model.apply({}, jnp.zeros(()), capture_intermediates=True)
    assert set(state["intermediates"]) == {"__call__"}


@pytest.mark.parametrize(
    ("axes", "cls", "names"),
    [
        ({}, "Boxed", (("in",), ("by",))),
        ({"params": 0}, "Map_variablesBoxed", (("new", "in"), ("by",))),
        ({("params", "state"): 0}, "Map_variablesBoxed", (("new", "in"), ("new", "by"))),
        (
            {"params": 1, "state": 0},
            "Map_variablesMap_variablesBoxed",
            (("in", "new"), ("new", "by")),
        ),
    ],
)
def test_add_metadata_axis_maps_the_variables_of_each_filter(axes, cls, names):
    class Boxed(nn.Module):
        @nn.compact
        def __call__(self):
            self.param("w", nn.with_partitioning(ones, ("in",)), (3,))
            self.variable("state", "n", lambda: nn.Partitioned(jnp.zeros(2), ("by",)))

    told = nn.add_metadata_axis(Boxed, axes, metadata_params={nn.PARTITION_NAME: "new"})
    variables = Net(lambda self: told()()).init(KEY)
    assert list(variables["params"]) == [f"{cls}_0"]
    inner = variables["params"][f"{cls}_0"]["w"], variables["state"][f"{cls}_0"]["n"]
    assert tuple(box.names for box in inner) == names


def test_map_variables_lifts_what_it_names_and_no_more():
    class Sows(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("seen", "x", x)
            self.variable("state", "n", jnp.zeros, ())
            return x * self.param("w", ones, ())

    mapped = nn.map_variables(Sows, "params", init=True, mutable=True, variables="state")
    assert set(mapped().init(KEY, X)) == {"params", "state"}
