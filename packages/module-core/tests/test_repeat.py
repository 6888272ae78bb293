"""`Repeat` in both styles: the loop's parameters, masks, statistics, gradients and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparing import identical, near, sample
from linnet.module_core import linen as nn
from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError

N, WIDTH = 4, 3
X = sample((2, WIDTH), seed=7)  # [B, D]


class Block(nn.Module):
    """A parameter, a statistic, a mask and a sown value in each layer."""

    width: int = WIDTH

    @nn.compact
    def __call__(self, x, scale=1.0, train=False):
        kernel = self.param("kernel", jax.nn.initializers.uniform(), (self.width, self.width))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (self.width,))
        if train:
            assert isinstance(train, bool)  # a flag stays a Python value
            if not self.is_initializing():
                mean.value = 0.5 * mean.value + 0.5 * x.mean(0)
            x = x * jax.random.bernoulli(self.make_rng("dropout"), 0.5, x.shape)
        self.sow("intermediates", "x", x)
        return x + scale * jnp.tanh(x @ kernel - mean.value)


class Model(nn.Module):
    """N blocks, as a loop or repeated, with a block before and after them."""

    form: str
    options: tuple = ()

    @nn.compact
    def __call__(self, x, **kwargs):
        x = Block(name="first")(x)
        if self.form == "loop":
            for _ in range(N):
                x = Block()(x, **kwargs)
        else:
            x = nn.Repeat(Block() if self.form == "instance" else Block, N, **dict(self.options))(
                x, **kwargs
            )
        return Block()(x)


STEP = "Repeat_0/block"
FORMS = {
    "class": (Model("class"), STEP),
    "instance": (Model("instance"), STEP),
    "remat": (Model("class", (("remat", "dots"),)), STEP),
    "all kept": (Model("class", (("remat", False),)), STEP),
    "unrolled": (Model("class", (("unroll", True),)), STEP),
    "in steps": (Model("class", (("layers_per_block", 2),)), STEP + "_{j}"),
}
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def stacked(tree, path):
    """The loop's blocks stacked; the last block has the number after theirs in both forms."""
    last = {c: {"Block_4": t.pop("Block_4")} for c, t in tree.items() if "Block_4" in t}
    each = 2 if "{j}" in path else 1
    tree = nn.stack_layers(tree, "Block_{i}", path, layers_per_block=each)
    return {c: {**t, **last.get(c, {})} for c, t in tree.items()}


@pytest.fixture(scope="module")
def loop():
    """The loop's variables, and its output, changes and gradients in training."""
    return trained(Model("loop"))


def trained(model, variables=None):
    if variables is None:
        variables = model.init(KEYS["params"], X)

    @jax.jit
    def step(params):
        def loss(params):
            y, changed = model.apply(
                {**variables, "params": params},
                X,
                scale=0.5,
                train=True,
                rngs={"dropout": KEYS["dropout"]},
                mutable=["batch_stats", "intermediates"],
            )
            return (y**2).sum(), (y, changed)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, (y, changed)), gradients = step(variables["params"])
    return variables, y, changed, gradients


@pytest.mark.parametrize("name", FORMS)
def test_the_loop_s_bits(loop, name):
    """Parameters and dropout masks are the loop's bit for bit; training agrees up to rounding."""
    model, path = FORMS[name]
    variables, y, changed, gradients = trained(model)
    wanted = [jax.tree.map(lambda x: x, tree) for tree in loop]
    identical(variables, stacked(wanted[0], path))
    near(y, wanted[1])
    near(changed["batch_stats"], stacked({"c": wanted[2]["batch_stats"]}, path)["c"])
    near(gradients, stacked({"c": wanted[3]}, path)["c"])


def test_unstacking_reverses_stacking(loop):
    for path in (STEP, STEP + "_{j}"):
        there = stacked(jax.tree.map(lambda x: x, loop[0]), path)
        last = {c: t.pop("Block_4") for c, t in there.items()}
        back = nn.unstack_layers(there, path, "Block_{i}")
        identical({c: {**t, "Block_4": last[c]} for c, t in back.items()}, loop[0])


def test_names_in_setup():
    """A list in setup names its items after the attribute."""

    class Loop(nn.Module):
        def setup(self):
            self.layers = [Block() for _ in range(N)]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    class Repeated(nn.Module):
        def setup(self):
            self.layers = nn.Repeat(Block(), N)

        def __call__(self, x):
            return self.layers(x)

    wanted = Loop().init(KEYS["params"], X)
    found = Repeated().init(KEYS["params"], X)
    identical(found, nn.stack_layers(wanted, "layers_{i}", "layers/block"))


def test_chosen_names():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i in range(N):
                x = Block(name=f"h_{i}_x")(x)
            return x

    class Repeated(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Repeat(Block, N, names="h_{i}_x", name="h")(x)

    wanted = Loop().init(KEYS["params"], X)
    found = Repeated().init(KEYS["params"], X)
    identical(found, nn.stack_layers(wanted, "h_{i}_x", "h/block"))


def test_draws_of_scan():
    """With draws="scan", parameters are those of nn.scan in the same place."""

    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return Block(name="block")(x), None

    split = {True: True}
    scanned = nn.scan(Step, variable_axes={True: 0}, split_rngs=split, length=N)
    wanted = scanned().init(KEYS["params"], X, None)
    identical(nn.Repeat(Block, N, draws="scan").init(KEYS["params"], X), wanted)


class Pair(nn.Module):
    """Two values are carried on, and the third is one output per layer."""

    @nn.compact
    def __call__(self, x, y, rate, *, shift=0.0):
        bias = self.param("bias", jax.nn.initializers.uniform(), (WIDTH,))
        return x + rate * y, y + bias + shift, (x.sum(), rate)


@pytest.mark.parametrize("each", [1, 2])
def test_carries_and_values_of_each_layer(each):
    rates, shift = jnp.arange(1.0, N + 1), jnp.arange(N * 1.0)
    model = nn.Repeat(
        Pair, N, carry=2, per_layer=(2, "shift"), layers_per_block=each, names="l_{i}"
    )
    variables = model.init(KEYS["params"], X, X, rates, shift=shift)
    x, y, (sums, used) = model.apply(variables, X, X, rates, shift=shift)
    path = "block" if each == 1 else "block_{j}"
    biases = nn.unstack_layers(variables, path, "l_{i}")["params"]
    wanted_x = wanted_y = np.asarray(X)
    wanted_sums = []
    for i in range(N):
        wanted_sums.append(wanted_x.sum())
        bias = np.asarray(biases[f"l_{i}"]["bias"])
        wanted_x, wanted_y = wanted_x + (i + 1) * wanted_y, wanted_y + bias + i
    near((x, y, sums, used), (wanted_x, wanted_y, np.array(wanted_sums), rates))


def test_partitioning_has_the_axis_of_the_layers():
    class Sharded(nn.Module):
        @nn.compact
        def __call__(self, x):
            make = nn.with_partitioning(jax.nn.initializers.uniform(), ("in", "out"))
            return x @ self.param("kernel", make, (WIDTH, WIDTH))

    model = nn.Repeat(Sharded, N, axis_name="layers")
    variables = model.init(KEYS["params"], X)
    assert variables["params"]["block"]["kernel"].names == ("layers", "in", "out")
    layers = nn.unstack_layers(variables, "block", "l_{i}", axis_name="layers")
    assert layers["params"]["l_0"]["kernel"].names == ("in", "out")
    identical(nn.stack_layers(layers, "l_{i}", "block", axis_name="layers"), variables)
    wanted = X
    for i in range(N):
        wanted = wanted @ layers["params"][f"l_{i}"]["kernel"].value
    near(model.apply(variables, X), wanted)


def test_lazy_init_and_shapes():
    model = nn.Repeat(Block, N)
    spec = jax.ShapeDtypeStruct(X.shape, X.dtype)
    identical(model.lazy_init(KEYS["params"], spec), model.init(KEYS["params"], X))
    shapes = jax.eval_shape(model.init, KEYS["params"], X)
    assert shapes["params"]["block"]["kernel"].shape == (N, WIDTH, WIDTH)


def test_repeat_in_repeat():
    """Each layer of each layer has its own keys, those of a loop in a loop."""

    class Outer(nn.Module):
        form: str

        @nn.compact
        def __call__(self, x, **kwargs):
            if self.form == "repeat":
                return nn.Repeat(Block, 2)(x, **kwargs)
            for _ in range(2):
                x = Block()(x, **kwargs)
            return x

    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x, **kwargs):
            for _ in range(3):
                x = Outer("loop")(x, **kwargs)
            return x

    repeated = nn.Repeat(Outer("repeat"), 3)
    wanted = Loop().init(KEYS["params"], X)
    both = nn.stack_layers(wanted, "Block_{i}", "Repeat_0/block")
    both = nn.stack_layers(both, "Outer_{i}", "block")
    identical(repeated.init(KEYS["params"], X), both)
    options = {"train": True, "rngs": {"dropout": KEYS["dropout"]}, "mutable": ["batch_stats"]}
    near(repeated.apply(both, X, **options)[0], Loop().apply(wanted, X, **options)[0])


def test_a_repeat_as_a_layer_of_repeat():
    """All layers of all layers differ."""
    model = nn.Repeat(nn.Repeat(Block, 2), 3)
    kernels = model.init(KEYS["params"], X)["params"]["block"]["block"]["kernel"]
    assert len({kernel.tobytes() for row in np.asarray(kernels) for kernel in row}) == 6


def test_a_lifted_repeat_draws_the_same():
    class Outer(nn.Module):
        lift: bool

        @nn.compact
        def __call__(self, x):
            return (nn.remat(nn.Repeat) if self.lift else nn.Repeat)(Block, N, name="r")(x)

    identical(*[Outer(lift).init(KEYS["params"], X) for lift in (False, True)])


def test_traced_once():
    traces = []

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            traces.append(1)
            return x * self.param("s", jax.nn.initializers.ones, ())

    model = nn.Repeat(Counted, 50)
    variables = model.init(KEYS["params"], X)
    traces.clear()
    jax.jit(model.apply).lower(variables, X)
    assert len(traces) == 1


def test_tabulate_names_the_layers():
    assert f"Block x {N}" in nn.tabulate(nn.Repeat(Block, N), KEYS["params"])(X)


class Layer(nnx.Module):
    """The nnx counterpart of `Block`."""

    def __init__(self, width, *, keep=False, rngs):
        self.kernel = nnx.Param(rngs.params.uniform((width, width)))
        self.mean = nnx.BatchStat(jnp.zeros(width))
        self.noise = rngs.noise if keep else rngs.noise.fork()
        if keep:
            self.held = [rngs.noise]

    def __call__(self, x, scale=1.0, train=False):
        if train:
            assert isinstance(train, bool)
            self.mean[...] = 0.5 * self.mean[...] + 0.5 * x.mean(0)
            x = x * jax.random.bernoulli(self.noise(), 0.5, x.shape)
        return x + scale * jnp.tanh(x @ self.kernel - self.mean)


class Stack(nnx.Module):
    def __init__(self, form, *, keep=False, rngs, **options):
        make = partial(Layer, WIDTH, keep=keep, rngs=rngs)
        self.form = form
        if form == "loop":
            self.layers = nnx.List([make() for _ in range(N)])
        else:
            self.layers = nnx.Repeat(Layer, N, WIDTH, keep=keep, rngs=rngs, **options)
        self.rngs = rngs

    def __call__(self, x, **kwargs):
        if self.form == "repeat":
            return self.layers(x, **kwargs)
        for layer in self.layers:
            x = layer(x, **kwargs)
        return x


@nnx.jit
def nnx_step(model, x):
    def loss(model):
        y = model(x, scale=0.5, train=True)
        return (y**2).sum(), y

    (_, y), gradients = nnx.value_and_grad(loss, has_aux=True)(model)
    return y, gradients


OPTIONS = {
    "plain": {},
    "remat": {"remat": "nothing"},
    "all kept": {"remat": False},
    "unrolled": {"unroll": True},
    "in steps": {"layers_per_block": 2},
}


@pytest.mark.parametrize("keep", [False, True], ids=["own streams", "shared streams"])
@pytest.mark.parametrize("name", OPTIONS)
def test_nnx_equals_the_list(name, keep):
    """Parameters, streams, masks, statistics and gradients of two steps."""
    options = OPTIONS[name]
    each = options.get("layers_per_block", 1)
    loop = Stack("loop", keep=keep, rngs=nnx.Rngs(0, noise=1))
    repeat = Stack("repeat", keep=keep, rngs=nnx.Rngs(0, noise=1), **options)
    path = "layers/block" if each == 1 else "layers/block_{j}"

    def convert(state):
        return nnx.stack_layers(state, "layers/{i}", path, layers_per_block=each)

    kinds = (nnx.Param, nnx.BatchStat)
    identical(nnx.state(repeat, kinds), convert(nnx.state(loop, kinds)))
    identical(nnx.state(repeat.rngs), nnx.state(loop.rngs))
    for _ in range(2):
        y, gradients = nnx_step(loop, X)
        found, found_gradients = nnx_step(repeat, X)
        near(found, y)
        near(found_gradients, convert(gradients))
        near(nnx.state(repeat, nnx.BatchStat), convert(nnx.state(loop, nnx.BatchStat)))
        identical(nnx.state(repeat.rngs), nnx.state(loop.rngs))


def test_nnx_state_converts_back():
    repeat = Stack("repeat", rngs=nnx.Rngs(0, noise=1))
    loop = Stack("loop", rngs=nnx.Rngs(2, noise=3))
    there = nnx.unstack_layers(nnx.state(repeat), "layers/block", "layers/{i}")
    nnx.update(loop, there)
    near(loop(X), repeat(X))


def test_nnx_metadata_has_the_axis_of_the_layers():
    class Sharded(nnx.Module):
        def __init__(self, rngs):
            value = rngs.params.uniform((WIDTH, WIDTH))
            self.kernel = nnx.Param(value, sharding=("in", "out"))

        def __call__(self, x):
            assert self.kernel.out_sharding == ("in", "out")
            return x @ self.kernel

    model = nnx.Repeat(Sharded, N, rngs=nnx.Rngs(0), axis_name="layers")
    assert model.block.kernel.out_sharding == ("layers", "in", "out")
    model(X)
    assert model.block.kernel.out_sharding == ("layers", "in", "out")
    state = nnx.unstack_layers(nnx.state(model), "block", "l/{i}", axis_name="layers")
    assert state["l"][0]["kernel"].out_sharding == ("in", "out")


def test_nnx_tabulate_names_the_layers():
    model = Stack("repeat", rngs=nnx.Rngs(0, noise=1))
    assert f"Layer x {N}" in nnx.tabulate(model, X)


class Add(nnx.Module):
    def __call__(self, x, y, rate, *, shift=0.0):
        return x + rate * y, y + shift, rate


def test_nnx_carries_and_values_of_each_layer():
    rates = jnp.arange(1.0, N + 1)
    model = nnx.Repeat(Add, N, carry=2, per_layer=(2, "shift"))
    x, y, used = model(X, X, rates, shift=rates)
    wanted_x = wanted_y = np.asarray(X)
    for i in range(1, N + 1):
        wanted_x, wanted_y = wanted_x + i * wanted_y, wanted_y + i
    near((x, y, used), (wanted_x, wanted_y, rates))


@pytest.mark.parametrize("names", [("rate",), (2,), (2, "rate", "shift")])
def test_values_of_each_layer_are_found_by_name(names):
    """A name counts however the argument is passed; a keyword that is left out has its default."""
    rates = jnp.arange(1.0, N + 1)
    model = nn.Repeat(Pair, N, carry=2, per_layer=names)
    variables = model.init(KEYS["params"], X, X, rates)
    x, y, (_, used) = model.apply(variables, X, X, rates)
    near(used, rates)
    near(nnx.Repeat(Add, N, carry=2, per_layer=names)(X, X, rates)[2], rates)
    if names == ("rate",):
        identical(model.apply(variables, X, X, rate=rates)[:2], (x, y))


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.Repeat(Pair, N, carry=2, per_layer=("rates",)).init(KEYS["params"], X, X, 1.0),
        lambda: nnx.Repeat(Add, N, carry=2, per_layer=("rates",))(X, X, 1.0),
    ],
    ids=["linen", "nnx"],
)
def test_values_of_each_layer_that_no_layer_takes(call):
    with pytest.raises(ArgumentError, match="'rates', which .* are: x, y, rate, shift"):
        call()


def test_caches_made_later():
    """Variables that a method of the layer makes are made for each layer by `nnx.vmap`."""

    class Remembers(nnx.Module):
        def start(self, size):
            self.cache = nnx.Cache(jnp.zeros(size))
            self.count = nnx.Cache(jnp.zeros((), int))

        def __call__(self, x):
            self.cache[self.count[...]] = x.sum()
            self.count[...] += 1
            return x + self.cache.sum()

    model = nnx.Repeat(Remembers, N)
    nnx.vmap(lambda layer: layer.start(2), axis_size=N)(model.block)
    found = [model(jnp.ones(1)) for _ in range(2)]
    layers = [Remembers() for _ in range(N)]
    wanted = []
    for layer in layers:
        layer.start(2)
    for _ in range(2):
        x = jnp.ones(1)
        for layer in layers:
            x = layer(x)
        wanted.append(x)
    near(found, wanted)


def wider(x):
    return jnp.concatenate([x, x], -1)


class Bad(nn.Module):
    fn: object

    def __call__(self, x):
        return self.fn(x)


class BadLayer(nnx.Module):
    def __init__(self, fn):
        self.fn = nnx.static(fn)

    def __call__(self, x):
        return self.fn(x)


@pytest.mark.parametrize("style", ["linen", "nnx"])
@pytest.mark.parametrize(
    ("fn", "error", "said"),
    [
        (wider, ShapeError, r"Bad\w* got an array of shape \(2, 3\) and returned one of \(2, 6\)"),
        (lambda x: x.astype(jnp.bfloat16), ArgumentTypeError, "returned one of bfloat16"),
        (lambda x: {"x": x}, ArgumentError, "as its first argument and returned"),
    ],
)
def test_layers_that_cannot_follow_each_other(style, fn, error, said):
    model = nnx.Repeat(BadLayer, N, fn) if style == "nnx" else nn.Repeat(Bad(fn), N).bind({})
    with pytest.raises(error, match=said):
        model(X)


@pytest.mark.parametrize("make", [partial(nn.Repeat, Block), partial(nnx.Repeat, BadLayer)])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"length": 0}, ArgumentError, "length"),
        ({"length": 2.0}, ArgumentTypeError, "length"),
        ({"length": 3, "layers_per_block": 2}, ArgumentError, "multiple of layers_per_block=2"),
        ({"length": 2, "remat": "all"}, ArgumentError, "no policy remat='all'"),
        ({"length": 2, "remat": 1.5}, ArgumentTypeError, "remat must be"),
    ],
)
def test_options_out_of_range(make, options, error, said):
    options = dict(options)
    length = options.pop("length")
    with pytest.raises(error, match=said):
        make(length, **options)


def test_blocks_that_are_none():
    with pytest.raises(ArgumentTypeError, match="expected a module"):
        nn.Repeat(3, N)
    with pytest.raises(ArgumentTypeError, match="expected a class or a function"):
        nnx.Repeat(BadLayer(wider), N)
    with pytest.raises(ArgumentError, match="names='x', the same for all layers"):
        nn.Repeat(Block, N, names="x")


def test_variables_of_another_number_of_layers():
    variables = nn.Repeat(Block, N).init(KEYS["params"], X)
    with pytest.raises(ArgumentError, match=f"{N}.*{N + 1}|{N + 1}.*{N}"):
        nn.Repeat(Block, N + 1).apply(variables, X)


def test_a_module_from_outside():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            shared = Block(name="shared")

            class Uses(nn.Module):
                other: nn.Module

                @nn.compact
                def __call__(self, x):
                    return self.other(x)

            return nn.Repeat(Uses(shared), N)(x)

    with pytest.raises(ArgumentError, match="from outside it, at shared"):
        Outer().init(KEYS["params"], X)


@pytest.mark.parametrize(
    ("tree", "layers", "said"),
    [
        ({"a": {}}, "b_{i}", "no 'b_{i}'"),
        ({"a_0": 1, "a_2": 1}, "a_{i}", "none with the number 1"),
        ({"a_0": {"w": 1}, "a_1": {"v": 1}}, "a_{i}", "different variables"),
        ({"a_0": jnp.ones(2), "a_1": jnp.ones(3)}, "a_{i}", r"shape \(3,\) in layer 1"),
        ({"a_0": 1}, "a", "where the number"),
    ],
)
def test_trees_that_do_not_stack(tree, layers, said):
    with pytest.raises((ArgumentError, ShapeError), match=said):
        nn.stack_layers(tree, layers, "b")
