"""nnx.vmap, nnx.scan and related transforms give the same results as a loop over the steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import near
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, TraceContextError

from .nnx_models import Block, block, blocks, one_of

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
KEYED = nnx.StateAxes({nnx.Param: 0, nnx.RngState: 0, nnx.BatchStat: None})


def test_vmap_makes_and_calls_modules():
    many = blocks(4, noise=0.5)
    assert many.dense.kernel.shape == (4, 3, 3)
    expected = []
    for i, key in enumerate(jax.random.split(jax.random.key(7), 4)):
        one = Block(3, rngs=nnx.Rngs(key), noise=0.5)
        np.testing.assert_array_equal(one.dense.kernel[...], many.dense.kernel[i])
        expected.append(one(X[i]))
    near(nnx.vmap(lambda m, x: m(x))(many, X), expected)
    np.testing.assert_array_equal(many.calls[...], np.ones(4))
    np.testing.assert_array_equal(many.rngs.count[...], np.ones(4))


def test_vmap_of_one_module_over_inputs():
    m = block()
    near(nnx.vmap(lambda m, x: m(x), in_axes=(None, 0))(m, X), m.dense(X))
    assert float(m.calls[...]) == 1.0  # the same at every step, so it is one value


def test_vmap_by_filters_and_along_other_axes():
    make = nnx.vmap(
        lambda key: Block(3, rngs=nnx.Rngs(key)),
        out_axes=nnx.StateAxes({nnx.Param: 1, nnx.BatchStat: None, ...: 0}),
    )
    many = make(jax.random.split(jax.random.key(7), 4))
    assert many.dense.kernel.shape == (3, 4, 3)
    assert many.calls.shape == ()
    axes = nnx.StateAxes({nnx.Param: 1, nnx.BatchStat: None, ...: 0})
    y = nnx.vmap(lambda m, x: m(x), in_axes=(axes, 0), out_axes=1)(many, X)
    assert y.shape == (3, 4)
    near(y, nnx.vmap(lambda m, x: m(x))(blocks(4), X).T)


def test_vmap_hands_out_new_variables_and_removes_old_ones():
    many = blocks(4)

    @nnx.vmap
    def edit(m, x):
        m.seen = nnx.Intermediate(x.sum())
        del m.calls

    edit(many, X)
    near(many.seen[...], X.sum(1))
    assert not hasattr(many, "calls")


def test_vmap_keeps_identities_and_sharing():
    a = block()
    a.again = a.dense
    kernel = a.dense.kernel

    @nnx.vmap(in_axes=(None, 0), out_axes=(None, 0))
    def double(m, x):
        m.again.kernel[...] *= 2
        return m, m.dense(x)

    before = kernel[...]
    out, y = double(a, X)
    assert out is a
    assert a.again is a.dense
    assert a.dense.kernel is kernel
    near(kernel[...], 2 * before)
    near(y, a.dense(X))


def test_vmap_takes_keywords_methods_and_states():
    near(nnx.vmap(lambda a, b: a * b, in_axes=(0, None))(X, b=2.0), 2 * X)

    class Model(Block):
        @nnx.vmap(in_axes=(None, 0))
        def mapped(self, x):
            return self(x)

    m = Model(3, rngs=nnx.Rngs(0))
    near(m.mapped(X), m.dense(X))
    near(nnx.vmap(m)(X), m.dense(X))
    graphdef, state = nnx.split(blocks(4))
    near(
        nnx.vmap(lambda s, x: nnx.merge(graphdef, s)(x))(state, X),
        nnx.vmap(lambda m, x: m(x))(blocks(4), X),
    )


def test_vmap_collectives_and_size():
    m = block()

    @nnx.vmap(in_axes=(None, 0), axis_name="batch")
    def mean(m, x):
        m.calls[...] = jax.lax.pmean(x.sum(), "batch")

    mean(m, X)
    near(m.calls[...], X.sum() / 4)
    assert nnx.vmap(lambda m: m(X[0]), in_axes=None, axis_size=5)(m).shape == (5, 3)


def test_sharding_names_follow_the_axes():
    @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
    def make(x):
        return nnx.Param(x, sharding_names=("in", "out"))

    param = make(jnp.ones((5, 2, 3)))
    assert param.sharding_names == ("layers", "in", "out")
    inside = []

    @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
    def look(p):
        inside.append(p.sharding_names)
        p[...] *= 2

    look(param)
    assert inside == [("in", "out")]
    assert param.sharding_names == ("layers", "in", "out")
    near(param[...], 2 * np.ones((5, 2, 3)))

    @nnx.scan(
        in_axes=(0, nnx.Carry), out_axes=nnx.Carry, transform_metadata={"partition_name": "x"}
    )
    def wrong(p, c):
        return c

    with pytest.raises(ArgumentError, match=r"Expected axis 'x' at index 0.*found 'layers'"):
        wrong(param, 0.0)


def test_transform_metadata_for_jax_itself():
    param = nnx.Param(jnp.ones((5, 2)), sharding_names=("layers", "in"))
    inside = []

    @nnx.transform_metadata(partition="layers")
    def f(p):
        inside.append(p.sharding_names)
        return nnx.Param(p[...] * 2, sharding_names=p.sharding_names)

    made = jax.vmap(f)(param)
    assert inside == [("in",)]
    assert made.sharding_names == ("layers", "in") == param.sharding_names


def test_vmap_mistakes():
    m, many = block(), blocks(4)
    with pytest.raises(ArgumentError, match=r"(?s)two prefixes.*a\..*: 0\n  b\..*: None"):
        nnx.vmap(lambda a, b: 1, in_axes=(0, None), axis_size=4)(many, many)
    with pytest.raises(ArgumentError, match=r"(?s)two prefixes.*output"):
        nnx.vmap(lambda a: a, out_axes=1)(many)
    with pytest.raises(ArgumentError, match="No axis found for calls"):
        nnx.vmap(lambda m: 1, in_axes=(nnx.StateAxes({nnx.Param: 0}),))(many)
    with pytest.raises(ArgumentError, match=r"(?s)over axis 0 of m.calls, .*the axis None"):
        nnx.vmap(lambda m, x: m(x))(m, X)
    with pytest.raises(ArgumentError, match="differs from one step to the next"):
        nnx.vmap(lambda m, x: m.calls.set_value(x.sum()), in_axes=(None, 0))(m, X)
    assert float(m.calls[...]) == 0.0
    with pytest.raises(ArgumentError, match="in_axes must be a tree prefix"):
        nnx.vmap(lambda a, b: a, in_axes=(0,))(X, X)
    with pytest.raises(ArgumentError, match="bound methods"):
        nnx.vmap(m.__call__)
    with pytest.raises(ArgumentError, match=r"(?s)ints or None.*nnx.Carry is for nnx.scan"):
        nnx.vmap(lambda c: c, in_axes=nnx.Carry)(X)
    with pytest.raises(TraceContextError, match="Cannot mutate 'BatchStat'"):
        nnx.vmap(lambda x: m(x))(X)
    twice = block()
    twice.again = twice.dense
    with pytest.raises(ArgumentError, match="Duplicate found"):
        nnx.vmap(lambda m, x: m(x), in_axes=(None, 0), graph=False)(twice, X)


def test_nothing_of_the_caller_s_changes_when_the_function_fails():
    many = blocks(2)
    before = many.calls[...]

    @nnx.vmap
    def fail(m):
        m(jnp.ones(3))
        m.new = nnx.Param(1.0)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail(many)
    assert many.calls[...] is before
    assert not hasattr(many, "new")


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_over_layers_is_a_loop(reverse):
    many = blocks(4, noise=0.1)
    loop = nnx.clone(many)

    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry, reverse=reverse)
    def forward(layer, x):
        return layer(x)

    y = forward(many, X)
    x = X
    for i in range(4)[:: -1 if reverse else 1]:
        x = one_of(loop, i)(x)
    near(y, x)
    np.testing.assert_array_equal(many.calls[...], np.ones(4))
    np.testing.assert_array_equal(many.rngs.count[...], np.ones(4))


def test_scan_carries_and_scans_parts_of_one_module():
    many = blocks(4)
    many.calls = nnx.BatchStat(jnp.zeros(()))
    axes = nnx.StateAxes({nnx.BatchStat: nnx.Carry, ...: 0})

    @nnx.scan(in_axes=(axes, nnx.Carry), out_axes=(nnx.Carry, 0))
    def forward(layer, x):
        return layer(x), layer.calls[...]

    y, seen = forward(many, X)
    assert float(many.calls[...]) == 4.0
    np.testing.assert_array_equal(seen, [1, 2, 3, 4])
    assert y.shape == X.shape


def test_scan_over_steps_with_a_carried_module():
    m, expected = block(), block()

    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 1))
    def steps(m, x):
        return m, m(x)

    out, ys = steps(m, X)
    assert out is m
    near(ys, np.stack([expected(x) for x in X], 1))
    assert float(m.calls[...]) == 4.0


def test_backward_pass_keeps_no_copy_of_a_carried_parameter_for_each_step():
    graphdef, params, rest = nnx.split(block(), nnx.Param, ...)

    def loss(params):
        m = nnx.merge(graphdef, params, jax.tree.map(lambda x: x, rest))
        step = nnx.scan(
            lambda m, c, x: (m(c + x), None),
            in_axes=(nnx.StateAxes({...: nnx.Carry}), nnx.Carry, 0),
            out_axes=(nnx.Carry, 0),
        )
        return step(m, X[0], jnp.ones((5, *X[0].shape)))[0].sum()

    # The block counts its calls, which a loop does carry.
    rows, columns = params["dense"]["kernel"].shape
    assert f"f32[5,{rows},{columns}]" not in str(jax.make_jaxpr(jax.grad(loss))(params))


def test_scan_of_plain_arrays_along_any_axis():
    total, ys = nnx.scan(lambda c, x: (c + x, x), in_axes=(nnx.Carry, 1), out_axes=(nnx.Carry, -1))(
        np.zeros(4, np.float32), X
    )
    near(total, X.sum(1))
    near(ys, X)
    near(nnx.scan(lambda x: 2 * x, in_axes=1, out_axes=1)(X), 2 * X)
    made = nnx.scan(lambda k: Block(3, rngs=nnx.Rngs(k)), in_axes=0, out_axes=0)(
        jax.random.split(jax.random.key(7), 4)
    )
    np.testing.assert_array_equal(made.dense.kernel[...], blocks(4).dense.kernel[...])
    assert nnx.scan(lambda c: c + 1, length=3, in_axes=nnx.Carry, out_axes=nnx.Carry)(0) == 3


def test_scan_drops_what_a_step_does_to_what_all_steps_see():
    m = block()
    ys = nnx.scan(lambda m, x: m(x), in_axes=(None, 0), out_axes=0)(m, X)
    near(ys, m.dense(X))
    assert float(m.calls[...]) == 0.0


def test_scan_stacks_new_variables():
    many = blocks(3)

    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
    def forward(m, c):
        m.seen = nnx.Intermediate(c)
        return c + 1

    forward(many, 0)
    np.testing.assert_array_equal(many.seen[...], [0, 1, 2])


def test_gradient_through_a_scan_in_jit():
    many, one = blocks(3), block()

    @nnx.jit
    @nnx.grad
    def gradient(many, x):
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        @nnx.remat
        def forward(layer, x):
            return layer(x)

        return forward(many, x).sum()

    def by_hand(kernels, x):
        for kernel in kernels:
            x = jnp.tanh(x @ kernel)
        return x.sum()

    near(gradient(many, X).dense.kernel[...], jax.grad(by_hand)(many.dense.kernel[...], X))
    np.testing.assert_array_equal(many.calls[...], np.ones(3))
    del one


def _shared():
    m = nnx.Dict(
        a=nnx.Param(jnp.ones(2)), w=nnx.Param(jnp.zeros(2)), inner=nnx.Dict(n=nnx.Param(X))
    )
    m.b, m.alias = m.a, m.inner
    return m


def _exchange(m):
    m.a, m.w = m.w, m.a


@pytest.mark.parametrize("how", ["argument", "part of the argument", "axes"])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m: delattr(m, "a"), r"a is a carried Param.*removes it"),
        (lambda m: delattr(m, "b"), r"b is a carried Param.*removes it"),
        (lambda m: delattr(m, "inner"), r"inner\.n is a carried Param.*removes it"),
        (lambda m: delattr(m, "alias"), r"alias\.n is a carried Param.*removes it"),
        (lambda m: setattr(m, "b", m.w), r"b is a carried Param.*puts something else there"),
        (_exchange, r"a is a carried Param.*puts something else there"),
    ],
)
def test_a_step_finds_carried_variables_where_they_were(how, edit, words):
    def step(m, x):
        edit(m["m"] if how == "part of the argument" else m)
        return x if how == "axes" else (m, x)

    axes = nnx.StateAxes({...: nnx.Carry}) if how == "axes" else nnx.Carry
    m = _shared()
    with pytest.raises(ArgumentError, match="(?s)" + words):
        nnx.scan(step, in_axes=(axes, 0), out_axes=0 if how == "axes" else (nnx.Carry, 0))(
            {"m": m} if how == "part of the argument" else m, X
        )
    assert m.a is m.b, "nothing is changed"
    assert m.inner is m.alias, "nothing is changed"


def test_steps_may_add_references_and_replace_the_objects_around_carried_variables():
    @nnx.scan
    def step(m, x):
        m.training = False
        m.again = m.a
        m.inner = nnx.Dict(n=m.inner.n)
        m.w[...] += x[:2]
        return m, x

    m = _shared()
    variables = m.a, m.inner.n, m.w
    step(m, X)
    assert (m.again, m.inner.n, m.w) == variables
    assert m.training is False
    assert m.alias.n is m.inner.n
    assert m.alias is not m.inner
    near(m.w[...], X[:, :2].sum(0))


def test_scan_mistakes():
    m, many = block(), blocks(3)
    carry, scan = nnx.Carry, nnx.scan
    with pytest.raises(ArgumentError, match="only one has it"):
        scan(lambda c, x: x, in_axes=(carry, 0), out_axes=0)
    with pytest.raises(ArgumentError, match=r"in_axes\[0\] and in_axes\[1\]"):
        scan(lambda a, b: a, in_axes=(carry, carry), out_axes=carry)
    with pytest.raises(ArgumentError, match="is nested in"):
        scan(lambda a: a, in_axes=((carry, 0),), out_axes=carry)
    with pytest.raises(ArgumentError, match="an output of its own"):
        scan(lambda x: x, in_axes=0, out_axes=None)
    with pytest.raises(ArgumentError, match="`length` is missing"):
        scan(lambda c: c, in_axes=carry, out_axes=carry)(0)
    with pytest.raises(ArgumentError, match="Return the same module that was carried in"):
        scan(lambda m: block(1), in_axes=carry, out_axes=carry, length=2)(m)
    with pytest.raises(ArgumentError, match="over axis 0 of m.calls, of shape"):
        scan(lambda m, c: c, in_axes=(0, carry), out_axes=carry)(m, 0)
    with pytest.raises(ArgumentError, match="A new Intermediate at m.new was added to a broadcast"):
        scan(lambda m, x: setattr(m, "new", nnx.Intermediate(x)), in_axes=(None, 0), out_axes=0)(
            m, X
        )
    with pytest.raises(ArgumentError, match=r"calls changes its shape from \(\) to \(2,\)"):
        scan(
            lambda m: (setattr(m.calls, "value", jnp.ones(2)), m)[1],
            in_axes=carry,
            out_axes=carry,
            length=2,
        )(m)
    with pytest.raises(ArgumentError, match="expects a function that returns 2 values"):
        scan(lambda c, x: c)(0, X)
    with pytest.raises(ArgumentError, match="bound methods"):
        scan(many.__call__)
    assert not hasattr(m, "new")
    assert float(m.calls[...]) == 0.0
