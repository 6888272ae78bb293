"""The documented behavior of `nnx.Module`, statement by statement.

Warnings are errors here, so all of it works without deprecation warnings.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet import nnx


class Net(nnx.Module):
    """Two layers, and the operations between them."""

    def __init__(self, between, rngs):
        self.first = nnx.Linear(3, 5, rngs=rngs)
        self.last = nnx.Linear(5, 2, rngs=rngs)
        self.between = between

    def __call__(self, x):
        return self.last(self.between(self, self.first(x)))


def net(between):
    return Net(between, nnx.Rngs(1))


INPUT = jnp.ones((4, 3))


def test_a_module_is_made_and_called():
    model = net(lambda self, h: nnx.relu(h))
    hidden = jnp.maximum(model.first(INPUT), 0)
    np.testing.assert_array_equal(model(INPUT), model.last(hidden))


class Stage(nnx.Module):
    """A layer of each kind that train() and eval() set, and one that they leave alone."""

    def __init__(self, rngs, off=False):
        self.mix = nnx.Linear(3, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.25, deterministic=off)
        self.norm = nnx.BatchNorm(4, use_running_average=off, rngs=rngs)

    def switches(self):
        return self.drop.deterministic, self.norm.use_running_average


def test_train_and_eval_set_what_the_layers_call_it():
    stage = Stage(nnx.Rngs(1))
    assert stage.switches() == (False, False)
    stage.eval()
    assert stage.switches() == (True, True)
    stage.train()
    assert stage.switches() == (False, False)
    made_off = Stage(nnx.Rngs(1), off=True)
    assert made_off.switches() == (True, True)
    made_off.train()
    assert made_off.switches() == (False, False)


def test_set_attributes_everywhere_or_where_a_filter_says():
    stage = Stage(nnx.Rngs(1))
    stage.set_attributes(deterministic=True, use_running_average=True)
    assert stage.switches() == (True, True)
    stage = Stage(nnx.Rngs(1))
    stage.set_attributes(nnx.Dropout, deterministic=True)
    assert stage.switches() == (True, False)


def test_children_and_modules_have_names_and_paths():
    class House(nnx.Module):
        def __init__(self, rngs):
            self.roof = nnx.Linear(4, 4, rngs=rngs)
            self.floor = Stage(rngs)

    house = House(nnx.Rngs(1))
    children = [(name, type(child).__name__) for name, child in house.iter_children()]
    assert children == [("floor", "Stage"), ("roof", "Linear")]
    modules = [(path, type(module).__name__) for path, module in house.iter_modules()]
    assert modules == [
        (("floor", "drop"), "Dropout"),
        (("floor", "mix"), "Linear"),
        (("floor", "norm"), "BatchNorm"),
        (("floor",), "Stage"),
        (("roof",), "Linear"),
        ((), "House"),
    ]


def test_the_gradient_of_a_value_between_two_layers():
    model = net(lambda self, h: self.perturb("between_grad", h))
    assert not hasattr(model, "between_grad")  # the first call determines its shape
    model(INPUT)
    assert model.between_grad.value.shape == (4, 5)

    wrt = nnx.DiffState(0, nnx.Any(nnx.Param, nnx.Perturbation))

    @nnx.grad(argnums=wrt)
    def slope(model):
        return (model(INPUT) ** 2).sum()

    grads = slope(model)
    by_hand = 2 * model(INPUT) @ model.last.kernel.value.T
    np.testing.assert_allclose(grads.between_grad.value, by_hand, rtol=1e-5)
    assert grads["first"]["kernel"].value.shape == (3, 5)


def test_sown_values_of_each_call_are_kept_in_order():
    shift = [0.0]

    def between(self, h):
        self.sow(nnx.Intermediate, "seen", h + shift[0])
        return h

    model = net(between)
    assert not hasattr(model, "seen")
    model(INPUT)
    assert [value.shape for value in model.seen.value] == [(4, 5)]
    shift[0] = 2.0
    model(INPUT)
    once, twice = model.seen.value
    np.testing.assert_array_equal(once + 2.0, twice)


def test_sown_values_are_reduced_by_a_function_from_a_start():
    def between(self, h):
        self.sow(nnx.Intermediate, "total", h, lambda old, new: old + new, lambda: 0)
        self.sow(
            nnx.Intermediate, "power", h, init_fn=lambda: 1, reduce_fn=lambda old, new: old * new
        )
        return h

    model = net(between)
    model(INPUT)
    hidden = model.first(INPUT)
    np.testing.assert_array_equal(model.total.value, hidden)
    np.testing.assert_array_equal(model.power.value, hidden)
    model(INPUT)
    np.testing.assert_array_equal(model.total.value, 2 * hidden)
    np.testing.assert_array_equal(model.power.value, hidden**2)


SIGNATURES = {
    "eval": "(self, **attributes)",
    "iter_children": "(self)",
    "iter_modules": "(self)",
    "perturb": f"(self, name, value, variable_type={nnx.Perturbation!r})",
    "set_attributes": "(self, *filters, raise_if_not_found=True, **attributes)",
    "sow": "(self, variable_type, name, value, reduce_fn=FUNCTION, init_fn=FUNCTION)",
    "train": "(self, **attributes)",
}
OWN = ("graph",)  # raises an error for shared references if False


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    whole = inspect.signature(getattr(nnx.Module, name))
    kept = []
    for p in whole.parameters.values():
        if p.name in OWN:
            assert p.kind is p.KEYWORD_ONLY
            continue
        kept.append(p.replace(annotation=p.empty))
        if name == "sow" and p.default is not p.empty:
            assert callable(p.default)
            kept[-1] = kept[-1].replace(default=_Function())
    assert str(whole.replace(parameters=kept, return_annotation=whole.empty)) == SIGNATURES[name]


class _Function:
    def __repr__(self):
        return "FUNCTION"


class SubModule(nnx.Module):
    def __init__(self, *, rngs):
        self.linear1 = nnx.Linear(2, 2, rngs=rngs)
        self.linear2 = nnx.Linear(2, 2, rngs=rngs)


class Block(nnx.Module):
    """Submodules as attributes, in a list and in a dict; one with both training switches."""

    def __init__(self, *, rngs):
        self.dropout = nnx.Dropout(0.5, deterministic=False)
        self.norms = [nnx.BatchNorm(2, rngs=rngs), nnx.BatchNorm(2, rngs=rngs)]
        self.submodule = SubModule(rngs=rngs)
        self.named = {"b": nnx.Dropout(0.1), "a": nnx.Dropout(0.2)}
        self.deterministic = False
        self.name = "block"


@pytest.fixture
def block():
    return Block(rngs=nnx.Rngs(0))


def switches(block):
    return [
        block.deterministic,
        block.dropout.deterministic,
        *(block.named[k].deterministic for k in "ab"),
        *(n.use_running_average for n in block.norms),
    ]


# The class.


def test_layers_and_models_derive_from_it():
    layers = [nnx.Linear, nnx.Conv, nnx.Embed, nnx.Dropout, nnx.BatchNorm, nnx.Sequential, nnx.List]
    assert all(issubclass(layer, nnx.Module) for layer in layers)


def test_submodules_are_assigned_in_init_as_ordinary_attributes(block):
    paths = nnx.to_flat_state(nnx.state(block, nnx.Param)).paths
    assert ("submodule", "linear1", "kernel") in paths
    assert ("norms", 0, "scale") in paths  # nested, to any depth
    assert block.submodule.linear1 is vars(block.submodule)["linear1"]


def test_any_method_may_be_the_forward_pass():
    class Coder(nnx.Module):
        def __init__(self, *, rngs):
            self.there = nnx.Linear(3, 2, rngs=rngs)
            self.back = nnx.Linear(2, 3, rngs=rngs)

        def encode(self, x):
            return self.there(x)

        def decode(self, z):
            return self.back(z)

        def __call__(self, x):  # called as the module itself
            return self.decode(self.encode(x))

    coder = Coder(rngs=nnx.Rngs(0))
    x = jnp.ones((4, 3))
    assert coder.encode(x).shape == (4, 2)
    np.testing.assert_array_equal(coder(x), coder.decode(coder.encode(x)))
    np.testing.assert_allclose(nnx.jit(Coder.encode)(coder, x), coder.encode(x), rtol=1e-6)


# eval, train.


def test_eval_and_train_set_both_switches_everywhere(block):
    assert switches(block) == [False] * 6
    block.eval()
    assert switches(block) == [True] * 6
    block.train()
    assert switches(block) == [False] * 6
    assert not hasattr(block.submodule.linear1, "deterministic")  # layers without a switch get none


def test_they_govern_what_dropout_and_batch_norm_do():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Dropout(0.5, rngs=rngs), nnx.BatchNorm(3, rngs=rngs))
    x = jnp.linspace(-1, 1, 24).reshape(8, 3)
    norm = model.layers[1]
    model.eval()
    np.testing.assert_allclose(model(x), x / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert not norm.mean.value.any()
    model.train()
    assert (np.abs(model(x) - x) > 0.1).any()
    assert norm.mean.value.any()


def test_they_pass_further_attributes_on(block):
    block.eval(rate=0.9)
    assert (block.dropout.rate, block.named["a"].rate) == (0.9, 0.9)
    block.train(name="other", deterministic=True)
    assert block.name == "other"
    assert switches(block)[:4] == [True] * 4
    assert switches(block)[4:] == [False] * 2
    block.train(nowhere=1)  # no error, as with raise_if_not_found=False
    assert not hasattr(block, "nowhere")


# iter_children, iter_modules.


def test_iter_children_is_a_generator_of_direct_submodules_by_name(block):
    children = block.iter_children()
    assert isinstance(children, Iterator)
    found = list(children)
    assert [(name, type(m)) for name, m in found] == [
        ("dropout", nnx.Dropout),
        ("submodule", SubModule),
    ]
    assert all(getattr(block, name) is m for name, m in found)


def test_iter_modules_is_a_generator_of_all_modules_by_path(block):
    modules = block.iter_modules()
    assert isinstance(modules, Iterator)
    found = list(modules)
    assert [path for path, _ in found] == [
        ("dropout",),
        ("named", "a"),
        ("named", "b"),
        ("norms", 0),
        ("norms", 1),
        ("submodule", "linear1"),
        ("submodule", "linear2"),
        ("submodule",),
        (),  # the module itself, last
    ]
    assert found[-1][1] is block
    assert dict(found)["norms", 1] is block.norms[1]
    assert all(isinstance(key, str | int) for path, _ in found for key in path)


def test_iter_modules_comes_upon_a_shared_module_once():
    layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    assert [path for path, _ in nnx.Dict(a=layer, b=layer).iter_modules()] == [("a",), ()]


# perturb.


class Perturbed(nnx.Module):
    def __init__(self, variable_type=nnx.Perturbation):
        self.kernel = nnx.Param(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        self.variable_type = variable_type

    def __call__(self, x):
        x = self.perturb("xgrad", x @ self.kernel, variable_type=self.variable_type)
        return jnp.sin(x)


X = jnp.array([[0.1, 0.2, 0.3]])


def test_perturb_adds_zeros_made_by_the_first_call():
    model = Perturbed()
    expected = jnp.sin(X @ model.kernel.value)
    assert not hasattr(model, "xgrad")
    np.testing.assert_array_equal(model(X), expected)
    assert type(model.xgrad) is nnx.Perturbation  # the default type
    assert model.xgrad.value.shape == (1, 2)  # one more variable, of the value's size
    assert not model.xgrad.value.any()
    model.xgrad.value = jnp.ones((1, 2))
    np.testing.assert_allclose(model(X), jnp.sin(X @ model.kernel.value + 1), rtol=1e-6)


def test_the_gradient_of_a_value_is_that_of_its_perturbation():
    model = Perturbed()
    model(X)
    graphdef, params, perturbations = nnx.split(model, nnx.Param, nnx.Perturbation)

    def loss(params, perturbations):
        model = nnx.merge(graphdef, params, perturbations)
        return jnp.sum(model(X) ** 2)

    found = jax.grad(loss, argnums=1)(params, perturbations).xgrad.value
    z = np.asarray(X @ model.kernel.value)
    np.testing.assert_allclose(found, 2 * np.sin(z) * np.cos(z), rtol=1e-6)


def test_perturb_with_another_type():
    class Noise(nnx.Variable[Any]):
        pass

    model = Perturbed(Noise)
    model(X)
    assert type(model.xgrad) is Noise


# set_attributes.


def test_set_attributes_includes_the_module_itself(block):
    block.set_attributes(name="new", deterministic=True)
    assert block.name == "new"
    assert switches(block)[:4] == [True] * 4
    assert switches(block)[4:] == [False] * 2


def test_an_attribute_is_ignored_where_a_module_has_none(block):
    block.set_attributes(use_running_average=True)
    assert not hasattr(block.dropout, "use_running_average")


@pytest.mark.parametrize(
    ("filters", "changed"),
    [
        ((nnx.Dropout,), [0, 1, 1, 1]),
        ((Block,), [1, 0, 0, 0]),
        ((nnx.PathContains("named"),), [0, 0, 1, 1]),
        ((nnx.PathContains("b"), Block), [1, 0, 0, 1]),
        ((nnx.All(nnx.Dropout, nnx.Not(nnx.PathContains("dropout"))),), [0, 0, 1, 1]),
        ((lambda path, module: path == ("named", "a"),), [0, 0, 1, 0]),
        ((...,), [1, 1, 1, 1]),
    ],
)
def test_filters_choose_the_modules(block, filters, changed):
    block.set_attributes(*filters, deterministic=True)
    assert [bool(s) for s in switches(block)[:4]] == list(map(bool, changed))


def test_an_attribute_of_none_of_the_modules_raises_an_error(block):
    with pytest.raises(ValueError, match="No module has the attribute.*'rte'"):
        block.set_attributes(rte=0.1)
    with pytest.raises(ValueError, match="deterministic"):  # although a different module has it
        block.set_attributes(nnx.BatchNorm, deterministic=True)
    block.set_attributes(rte=0.1, raise_if_not_found=False)
    assert not hasattr(block, "rte")


# sow.


class Sowing(nnx.Module):
    def __init__(self, *sown, **options):
        self.sown = sown or (nnx.Intermediate, "i")
        self.options = tuple(options.items())
        self.factor = nnx.Param(jnp.ones(()))

    def __call__(self, x):
        variable_type, name = self.sown
        self.sow(variable_type, name, x, **dict(self.options))
        return x * self.factor


def test_sown_values_are_appended_to_a_tuple_in_a_new_attribute():
    model = Sowing()
    assert not hasattr(model, "i")
    values = [jnp.ones(2), jnp.zeros(3)]
    for value in values:
        model(value)
    assert type(model.i) is nnx.Intermediate  # the given type of variable
    assert isinstance(model.i.value, tuple)
    assert len(model.i.value) == 2
    assert all(a is b for a, b in zip(model.i.value, values, strict=True))


def test_sown_values_are_filtered_by_type():
    model = Sowing()
    model(jnp.ones(2))
    _, intermediates, rest = nnx.split(model, nnx.Intermediate, ...)
    assert (list(intermediates), list(rest)) == (["i"], ["factor"])
    assert list(nnx.state(model, nnx.Intermediate)) == ["i"]
    popped = nnx.pop(model, nnx.Intermediate)
    assert (list(popped), hasattr(model, "i")) == (["i"], False)


def test_own_functions_to_start_and_to_reduce():
    calls = []

    def reduce(previous, value):
        calls.append((previous, value))
        return previous - value

    model = Sowing(nnx.BatchStat, "left", init_fn=lambda: 10, reduce_fn=reduce)
    model(1)
    model(2)
    assert calls == [(10, 1), (9, 2)]  # the first time, what init_fn returns
    assert type(model.left) is nnx.BatchStat
    assert model.left.value == 7


def test_sown_under_jit_comes_back():
    model = Sowing()
    call = nnx.jit(lambda model, x: model(x))
    call(model, jnp.ones(2))
    call(model, 2 * jnp.ones(2))
    assert [float(v[0]) for v in model.i.value] == [1.0, 2.0]
