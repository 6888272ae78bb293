"""Places of errors: tracebacks without the library's frames, and paths in the model."""

import traceback

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen as nn
from linnet.module_core import nnx, tracebacks
from linnet.module_core.config import config, temp_flip_flag
from linnet.module_core.errors import ShapeError
from linnet.module_core.layers.nnx import names_layer

KEY = jax.random.key(0)
X = jnp.ones((1, 3))


class UsersError(Exception):
    pass


# A layer like those in the layer packages, and a user's models that contain it.


def refuse(x):
    raise ShapeError("inputs have 3 features")


def fail(how, x):
    """Fails in the requested place: in a layer's check, in jax, or in the user's code."""
    if how == "layer":
        refuse(x)
    if how == "jax":
        return x @ jnp.ones((5, 2))
    try:
        return {}["missing"]
    except KeyError as cause:
        raise UsersError("of the user") from cause


class Failing(nn.Module):
    how: str

    @nn.compact
    def __call__(self, x):
        return fail(self.how, x)


class Inner(nn.Module):
    how: str

    @nn.compact
    def __call__(self, x):
        marker = "here"  # noqa: F841, a debugger sees it
        return Failing(self.how)(x)


class Outer(nn.Module):
    how: str

    def setup(self):
        self.inner = Inner(self.how)

    def __call__(self, x):
        return self.inner(x)


class NnxFailing(nnx.Module):
    def __init__(self, how):
        self.how = how

    @names_layer
    def __call__(self, x):
        return fail(self.how, x)


class NnxInner(nnx.Module):
    def __init__(self, how):
        self.attention = NnxFailing(how)
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, x):
        return self.attention(x * self.scale)


class NnxOuter(nnx.Module):
    def __init__(self, how):
        self.blocks = nnx.List([NnxInner("jax"), NnxInner(how)])

    def __call__(self, x):
        return self.blocks[1](x)


def step(model, x):
    return model(x).sum()


LINEN = {
    "init": lambda how: Outer(how).init(KEY, X),
    "init_with_output": lambda how: Outer(how).init_with_output(KEY, X),
    "lazy_init": lambda how: Outer(how).lazy_init(KEY, X),
    "apply": lambda how: Outer(how).apply({}, X),
    "tabulate": lambda how: Outer(how).tabulate(KEY, X),
    "function": lambda how: nn.apply(lambda m, x: m(x), Outer(how))({}, X),
    "jax.jit": lambda how: jax.jit(Outer(how).apply)({}, X),
}

NNX = {
    "eager": lambda how: NnxOuter(how)(X),
    "jit": lambda how: nnx.jit(step)(NnxOuter(how), X),
    "grad": lambda how: nnx.grad(step)(NnxOuter(how), X),
    "value_and_grad": lambda how: nnx.value_and_grad(step)(NnxOuter(how), X),
    "remat": lambda how: nnx.remat(step)(NnxOuter(how), X),
    "vmap": lambda how: nnx.vmap(step, in_axes=(None, 0))(NnxOuter(how), X),
    "scan": lambda how: nnx.scan(lambda model, x: model(x), in_axes=(None, 0), out_axes=0)(
        NnxOuter(how), X
    ),
    "cond": lambda how: nnx.cond(True, step, step, NnxOuter(how), X),
    "nested": lambda how: nnx.jit(nnx.grad(step))(NnxOuter(how), X),
}

CALLS = {**LINEN, **{f"nnx {name}": call for name, call in NNX.items()}}
ERRORS = {"layer": ShapeError, "jax": TypeError, "user": UsersError}


def raised(call, how):
    with pytest.raises(ERRORS[how]) as caught:
        call(how)
    return caught.value


def library_frames(error):
    return [
        frame.filename
        for one in (error, error.__cause__, error.__context__)
        if one is not None
        for frame in traceback.extract_tb(one.__traceback__)
        if "/linnet/module_core/" in frame.filename
    ]


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_traceback_holds_the_user_s_lines(call, how):
    error = raised(call, how)
    text = "".join(traceback.format_exception(error))
    assert not library_frames(error)
    assert "Failing(self.how)(x)" in text or "self.attention(x * self.scale)" in text
    if how == "user":
        assert isinstance(error.__cause__, KeyError)
        assert '{}["missing"]' in text


@pytest.mark.parametrize("name", ["apply", "nnx jit"])
def test_switches_leave_the_frames_in(name):
    with temp_flip_flag("filter_frames", False):
        assert library_frames(raised(CALLS[name], "layer"))
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    try:
        assert library_frames(raised(CALLS[name], "layer"))
    finally:
        jax.config.update("jax_traceback_filtering", before)
    assert config.flax_filter_frames


def test_frames_can_be_hidden_and_left_in():
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "tracebackhide")
    try:
        error = raised(LINEN["apply"], "layer")
    finally:
        jax.config.update("jax_traceback_filtering", before)
    hidden = [
        frame.f_locals.get("__tracebackhide__", False)
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if "/linnet/module_core/linen/methods" in frame.f_code.co_filename
    ]
    assert hidden
    assert all(hidden)


def test_a_debugger_enters_at_the_user_s_lines():
    frames = [f for f, _ in traceback.walk_tb(raised(LINEN["apply"], "layer").__traceback__)]
    inner = next(f for f in frames if "marker" in f.f_locals)
    assert inner.f_locals["marker"] == "here"
    assert inner.f_back is not None


def test_what_an_error_came_from_is_kept_once():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first  # a cycle
    group = ExceptionGroup("both", [first])
    group.add_note("kept")
    tracebacks.strip(group)
    assert group.__notes__ == ["kept"]
    assert (first.__context__, second.__context__) == (second, first)


# The function that jax's messages name is the user's.


def looks(module, x):
    return (jnp.float32(x) if x.sum() > 0 else x), module


def looks_in_loop(*args):
    return looks(*args[-1])[::-1]


LOOKING = {
    "jit": lambda m, x: nnx.jit(looks)(m, x),
    "grad in jit": lambda m, x: nnx.jit(nnx.grad(looks, has_aux=True))(m, x),
    "remat": lambda m, x: nnx.remat(looks)(m, x),
    "cond": lambda m, x: nnx.cond(True, looks, looks, m, x),
    "switch": lambda m, x: nnx.switch(0, [looks, looks], m, x),
    "while_loop": lambda m, x: nnx.while_loop(lambda v: True, looks_in_loop, (m, x)),
    "fori_loop": lambda m, x: nnx.fori_loop(0, 2, looks_in_loop, (m, x)),
    "scan": lambda m, x: nnx.scan(looks, in_axes=(None, 0), out_axes=0)(m, x[None]),
}


@pytest.mark.parametrize("call", LOOKING.values(), ids=LOOKING)
def test_jax_names_the_user_s_function(call):
    with pytest.raises(
        jax.errors.TracerBoolConversionError, match=r"tracing the function looks"
    ) as e:
        call(nnx.Module(), X)
    assert f" at {__file__}:" in str(e.value)


class Looking(nn.Module):
    @nn.compact
    def __call__(self, x):
        return (x if x.sum() > 0 else -x), None


@pytest.mark.parametrize(
    "lifted", [nn.remat(Looking), nn.scan(Looking, length=2)], ids=["remat", "scan"]
)
def test_jax_names_the_user_s_method(lifted):
    with pytest.raises(jax.errors.TracerBoolConversionError, match="the function __call__ at") as e:
        lifted().apply({}, X)
    assert f" at {__file__}:" in str(e.value)


class BranchesDiffer(nn.Module):
    transform: str

    @nn.compact
    def __call__(self, x):
        def same(module, x):
            return x

        def first(module, x):
            return x[0]

        if self.transform == "cond":
            return nn.cond(True, same, first, self, x)
        return nn.switch(0, [same, first], self, x)


@pytest.mark.parametrize(
    "call",
    [
        lambda: nnx.cond(True, lambda x: x, lambda x: x[0], X),
        lambda: nnx.switch(0, [lambda x: x, lambda x: x[0]], X),
        lambda: BranchesDiffer("cond").apply({}, X),
        lambda: BranchesDiffer("switch").apply({}, X),
    ],
)
def test_jax_names_the_user_s_branches(call):
    with pytest.raises(TypeError, match="the shapes do not match") as e:
        call()
    assert str(e.value).count(f" at {__file__}:") == 2


def test_an_object_with_call_is_named_by_its_class():
    class Doubling(nnx.Module):
        def __call__(self, values):
            return 2 * values

    def run(values):
        return Doubling()(values)

    assert tracebacks.named_after(Doubling(), run).__name__ == "Doubling"
    assert not hasattr(run, "__wrapped__")


# Paths of nnx modules.


@pytest.mark.parametrize("call", NNX.values(), ids=NNX)
@pytest.mark.parametrize("how", ["jax", "user"])
def test_a_note_says_where_in_the_model_an_error_happened(call, how):
    notes = raised(call, how).__notes__
    expected = "In blocks[1].attention (NnxFailing), method __call__."
    assert [note for note in notes if note.startswith("In ")] == [expected]


@pytest.mark.parametrize("call", NNX.values(), ids=NNX)
def test_a_layer_s_error_says_where_in_the_model_it_happened(call):
    assert str(raised(call, "layer")).startswith("blocks[1].attention (NnxFailing): inputs have")


def test_a_module_from_elsewhere_is_named_by_its_class():
    class Borrowing(nnx.Module):
        def __call__(self, x):
            return NnxFailing("layer")(x)

    assert str(raised(lambda how: Borrowing()(X), "layer")).startswith("NnxFailing: inputs have")


def test_paths_through_dicts_and_lists():
    class Holding(nnx.Module):
        def __init__(self):
            self.parts = nnx.Dict({"left": nnx.List([NnxFailing("user")])})

        def __call__(self, x):
            return self.parts["left"][0](x)

    notes = raised(lambda how: Holding()(X), "user").__notes__
    assert notes[0] == "In parts.left[0] (NnxFailing), method __call__."


def test_call_keeps_its_signature():
    assert NnxInner.__call__.__name__ == "__call__"
    assert NnxInner.__call__.__wrapped__.__code__.co_varnames[:2] == ("self", "x")
