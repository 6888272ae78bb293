"""eval_shape and related functions, tabulate, display."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError

X = jnp.ones((4, 2))


class Linear(nnx.Module):
    def __init__(self, n_in, n_out, rngs):
        self.kernel = nnx.Param(rngs.params.normal((n_in, n_out)))
        self.bias = nnx.Param(jnp.zeros(n_out))

    def __call__(self, x):
        return x @ self.kernel + self.bias


class Noise(nnx.Module):
    def __init__(self, rngs):
        self.rngs = rngs.noise.fork()
        self.calls = nnx.BatchStat(jnp.int32(0))

    def __call__(self, x):
        self.calls.value = self.calls.value + 1
        return x + self.rngs.normal(x.shape)


class Model(nnx.Module):
    def __init__(self, rngs):
        self.first = Linear(2, 3, rngs)
        self.rest = [Noise(rngs), Linear(3, 3, rngs)]
        self.same = self.rest[1]
        self.scale = nnx.Param(jnp.ones(3))

    def __call__(self, x, *, factor=1.0, names=()):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return {"out": [self.same(x) * self.scale * factor], "name": names}

    def encode(self, x):
        return self.first(x)


# eval_shape.


def test_constructors_are_evaluated_by_shape():
    model = nnx.eval_shape(lambda: Model(nnx.Rngs(0)))
    assert type(model) is Model
    assert model.same is model.rest[1]
    leaves = nnx.to_flat_state(nnx.state(model)).leaves
    assert all(isinstance(v.raw_value, jax.ShapeDtypeStruct) for v in leaves)
    assert nnx.graphdef(model) == nnx.graphdef(Model(nnx.Rngs(0)))
    made = nnx.eval_shape(Model, nnx.Rngs(0))
    assert made.first.kernel.shape == (2, 3)


def test_arguments_stay_as_they_are():
    model = Model(nnx.Rngs(0))
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))

    def edit(model, x, word):
        model.first.kernel.value = model.first.kernel.value * 2
        model.new = nnx.Param(x)
        return model, model.first, {word: x.sum()}

    new, first, out = nnx.eval_shape(edit, model, jax.ShapeDtypeStruct((5,), jnp.bfloat16), "sum")
    assert new is not model
    assert new.first is first
    assert new.new.dtype == jnp.bfloat16
    assert out["sum"].shape == ()
    assert not hasattr(model, "new")
    jax.tree.map(
        np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(model, nnx.Param)), before
    )
    assert nnx.eval_shape(model, X)["out"][0].shape == (4, 3)
    assert nnx.eval_shape(model.encode, x=X).shape == (4, 3)


def test_flags_numbers_and_text_are_handed_on_as_they_are():
    def repeated(model, x, train, times, name="first"):
        for _ in range(times if train else 0):
            x = x @ getattr(model, name).kernel[:, :2]
        return x[:times]

    model = Model(nnx.Rngs(0))
    assert nnx.eval_shape(repeated, model, X, True, 2).shape == (2, 2)
    assert nnx.eval_shape(repeated, model, X, train=False, times=3, name="rest").shape == (3, 2)


def test_the_work_grows_with_the_number_of_layers():
    def equations(n):
        calls = []

        class Counted(nnx.Module):
            def __init__(self):
                calls.append(1)
                self.kernel = nnx.Param(jnp.zeros(2))

        model = nnx.eval_shape(lambda: nnx.Dict(layers=[Counted() for _ in range(n)]))
        assert len(nnx.to_flat_state(nnx.state(model))) == n
        return len(calls)

    assert [equations(n) for n in (3, 12)] == [3, 12]


def test_abstract_copies():
    model = Model(nnx.Rngs(0))
    abstract = nnx.as_abstract(model)
    assert isinstance(abstract.scale.raw_value, jax.ShapeDtypeStruct)
    assert isinstance(model.scale.raw_value, jax.Array)
    state = nnx.as_abstract(nnx.state(model))
    assert state.scale.shape == (3,)
    mesh = jax.make_mesh((1, 1), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def init():
        return nnx.Dict(w=nnx.Param(jnp.ones((2, 2)), out_sharding=("a", None)), b=nnx.Param(1.0))

    graphdef, state = nnx.get_abstract_model(init, mesh)
    assert tuple(state.w.raw_value.sharding.spec) == ("a", None)
    assert state.w.raw_value.sharding.mesh == mesh
    merged = nnx.merge(graphdef, state)
    assert merged.w.shape == (2, 2)
    named = nnx.Dict(w=nnx.Param(jax.ShapeDtypeStruct((2,), jnp.float32), out_sharding=("b",)))
    named.w.set_metadata(mesh=mesh)
    assert tuple(nnx.abstract_with_sharding(named).w.raw_value.sharding.spec) == ("b",)
    assert nnx.abstract_with_sharding(model).scale.raw_value is model.scale.raw_value


# tabulate.


def rows_of(text):
    return [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_rows_columns_and_totals():
    pytest.importorskip("rich")
    model = Model(nnx.Rngs(params=0, noise=1))
    text = nnx.tabulate(model, X, factor=2.0, names="n", console_kwargs={"width": 200})
    rows = rows_of(text)
    head = next(line for line in text.splitlines() if "path" in line)
    assert [c.strip() for c in head.split("┃")[1:-1]] == [
        "path",
        "type",
        "inputs",
        "outputs",
        "BatchStat",
        "Param",
        "RngState",
    ]
    named = {row[0]: row for row in rows if row[1]}
    assert list(named) == ["", "first", "rest/0", "rest/1"]
    assert named["first"][1:4] == ["Linear", "float32[4,2]", "float32[4,3]"]
    assert "kernel: float32[2,3]" in text
    assert rows[-1][-3:] == ["1 (4 B)", "24 (96 B)", "2 (12 B)"]
    assert "Total Parameters: 27 (112 B)" in text
    assert "scale: float32[3]" in text
    assert int(model.rest[0].calls.value) == 0


def test_choice_of_rows_and_method():
    model = Model(nnx.Rngs(0))
    text = nnx.tabulate(model, X, depth=1, row_filter=lambda row: row.type is not Model)
    assert "first" in text
    assert "rest" not in text
    shape = jax.ShapeDtypeStruct((7, 2), jnp.float32)
    encoded = nnx.tabulate(model, shape, method="encode", console_kwargs={"width": 200})
    assert "float32[7,2]" in encoded
    assert "rest" not in encoded
    with pytest.raises(ArgumentError, match="no method 'encod'. Did you mean 'encode'"):
        nnx.tabulate(model, X, method="encod")


def test_jitted_methods_are_looked_into():
    class Jitted(nnx.Module):
        def __init__(self):
            self.inner = Linear(2, 3, nnx.Rngs(0))

        @nnx.jit
        def __call__(self, x):
            return self.inner(x)

    assert "inner" in nnx.tabulate(Jitted(), X)
    assert isinstance(vars(Jitted)["__call__"], type(nnx.jit(abs)))


def test_costs_of_calls():
    from linnet.module_core.nnx.summary import calls_of

    model = Model(nnx.Rngs(0))
    calls = {c.path: c for c in calls_of(model, "encode", (X,), {}, flops=True, vjp_flops=True)}
    product = 2 * 4 * 2 * 3  # of [4, 2] and [2, 3]
    assert calls[("first",)].flops == product + 4 * 3
    assert calls[("first",)].vjp_flops >= 3 * product
    noisy = {c.path: c for c in calls_of(model, "__call__", (X,), {}, flops=True)}
    assert noisy[()].flops > noisy[("rest", 1)].flops > 0
    assert noisy[()].vjp_flops == -1


CALLS = []


class Coder(nnx.Module):
    """Methods of many kinds, and variables with metadata."""

    def __init__(self):
        self.inner = Linear(2, 3, nnx.Rngs(0))
        self.scale = nnx.Param(jnp.ones(3), unit="volt", axes=("a", None))

    def encode(self, x, options=None):
        CALLS.append("encode")
        return self._squared(self.inner(x))

    def _squared(self, x):
        return self.kept(x) ** 2

    @staticmethod
    def kept(x):
        return x

    def nothing(self):
        return None


class Whole(nnx.Module):
    def __init__(self):
        self.coders = nnx.List([Coder(), Coder()])
        self.count = nnx.BatchStat(jnp.int32(0))

    def scaled(self, x):
        self.count[...] += 1
        return x * self.coders[0].scale

    def __call__(self, x, train, times=1):
        CALLS.append("call")
        y = [coder.encode(x, options={}) for coder in self.coders] if train else [x] * times
        self.coders[1].nothing()
        self.set_attributes(deterministic=True, raise_if_not_found=False)
        self.scaled(y[0])
        return self.scaled(sum(y))


PLAIN = {"width": 220, "force_terminal": False, "no_color": True}


@pytest.mark.parametrize("costs", [{}, {"compute_flops": True, "compute_vjp_flops": True}])
def test_methods_have_rows_and_are_called_once(costs):
    pytest.importorskip("rich")
    whole = Whole()
    CALLS.clear()
    text = nnx.tabulate(whole, X, True, console_kwargs=PLAIN, **costs)
    assert CALLS == ["call", "encode", "encode"]
    assert int(whole.count[...]) == 0
    named = {row[0]: row for row in rows_of(text) if row[1]}
    coders = [("coders", i, name) for i in (0, 1) for name in ("encode", "inner")]
    expected = ["", *("/".join(map(str, p)) for p in coders), "coders/1/nothing", "scaled"]
    assert list(named) == expected
    assert named["coders/0/encode"][1:4] == ["Coder", "- float32[4,2]", "float32[4,3]"]
    assert "- options: {}" in text
    if costs:
        flops, pulled_back = ({p: row[i] for p, row in named.items()} for i in (4, 5))
        assert int(flops["coders/0/inner"]) == 2 * 4 * 2 * 3 + 4 * 3
        assert int(flops["coders/0/encode"]) > int(flops["coders/0/inner"])
        assert int(flops[""]) > 2 * int(flops["coders/0/encode"])
        assert int(pulled_back["coders/0/inner"]) >= 3 * 2 * 4 * 2 * 3


def test_flags_decide_what_the_table_shows():
    text = nnx.tabulate(Whole(), jnp.ones((4, 3)), train=False, times=2, console_kwargs=PLAIN)
    assert "encode" not in text
    assert "scaled" in text
    assert "coders/0/encode" in nnx.tabulate(Whole(), X, True, console_kwargs=PLAIN)


def test_metadata_of_variables_are_shown():
    text = nnx.tabulate(Coder(), X, method="encode", console_kwargs=PLAIN)
    for line in ("scale:", "axes:", "- 'a'", "unit: volt", "value: float32[3]"):
        assert line in text
    assert "12 (48 B)" in text


def test_classes_are_as_before_even_after_an_exception():
    before = dict(vars(Linear)), dict(vars(Model))

    class Child(Linear):
        pass

    with pytest.raises(TypeError):
        nnx.tabulate(Model(nnx.Rngs(0)), jnp.ones((4, 9)))
    nnx.tabulate(nnx.Sequential(Child(2, 3, nnx.Rngs(0))), X)
    assert before == (dict(vars(Linear)), dict(vars(Model)))
    assert "__call__" not in vars(Child)


# display.


def test_without_a_notebook_objects_are_printed(capsys):
    nnx.display(nnx.Param(1.0), "text")
    assert capsys.readouterr().out == "Param(\n  value=1.0\n)\ntext\n"


def test_in_a_notebook_treescope_draws(monkeypatch):
    shown = []
    viewer = types.ModuleType("treescope")
    viewer.ArrayAutovisualizer = object
    viewer.display = shown.append

    class Scoped:
        def set_scoped(self, value):
            return self

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    viewer.active_autovisualizer = Scoped()
    notebook = types.ModuleType("IPython")
    notebook.get_ipython = object
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "treescope", viewer)
    nnx.display(1, 2)
    assert shown == [1, 2]
    monkeypatch.setitem(sys.modules, "treescope", None)
    nnx.display()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from treescope's use of NumPy and jax
def test_treescope_shows_attributes_and_metadata():
    treescope = pytest.importorskip("treescope")
    text = treescope.render_to_text(nnx.Dict(s=[nnx.Param(jnp.ones(2), unit="volt")], name="x"))
    assert "Dict(" in text
    assert "unit='volt'" in text
    assert "name='x'" in text
