"""The contract of every layer: one test for each promise, over a table of layers.

This module doesn't depend on the packages: the rows of a table give shapes, from which the promises
follow.
pytest finds it through the setting `pythonpath`. A test module with

    from contracts import *
    from .layer_table import LAYERS
    MODULES = linen

contains all the tests below, each over the rows of its `LAYERS` to which it applies (see
`pytest_generate_tests`), and fails if a module class in `MODULES` has no row. Classes that are not
layers, and so don't keep this contract, are in its `TESTED_APART`.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import layer_rules
import mesh_contract
from comparing import near, placed
from linnet.module_core.linen import Module

RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


class Input(NamedTuple):
    """An input, given by its shape and kind: floats, or integers below a bound."""

    shape: tuple[int, ...]
    below: int | None = None

    def array(self, dtype: Any = np.float32, *, seed: int = 0, batch: int | None = None) -> Any:
        """Values like those of a training set: not zero, and all different."""
        shape = self.shape if batch is None else (batch, *self.shape[1:])
        rng = np.random.default_rng(seed)
        if self.below is not None:
            return rng.integers(0, self.below, shape).astype(np.int32)
        return rng.normal(0.3, 1.0, shape).astype(dtype)


class Layer(NamedTuple):
    """A layer and what it declares.

    Attributes:
      name: the row's name.
      linen: makes the module; also takes fields to set.
      inputs: the inputs of a call, arrays or trees of arrays; the first dimension is the batch.
      params: shapes of the parameters.
      random: whether it draws from the stream "dropout".
      state: shapes of the variables in other collections; these are mutable in each call.
      call: keyword arguments of the call.
      wraps: whether another layer, or a state that is passed in, determines the output's type.
      carries: whether that state is one that the layer can create itself.
      share: the work that each of eight devices may do, in eighths of the work on one device.
      sums_batch: whether the layer's formula has a sum over the batch, such as a mean.
      sums_in_loop: whether each step of a loop adds to the gradient of its kernels, which is then
        summed over devices in each step.
      by_hand: the formula written out, a function of values and inputs; outputs are split over
        devices as JAX splits its result.
    """

    name: str
    linen: Callable[..., Any]
    inputs: tuple[Any, ...]
    params: Mapping[str, Any]
    random: bool = False
    state: Mapping[str, Mapping[str, Any]] = {}
    call: Mapping[str, Any] = {}
    wraps: bool = False
    carries: bool = False
    share: float = 1.1
    sums_batch: bool = False
    sums_in_loop: bool = False
    by_hand: Callable[..., Any] | None = None

    def has_field(self, name: str) -> bool:
        return name in inspect.signature(type(self.linen())).parameters

    def takes(self, argument: str) -> bool:
        """Whether a call takes an argument."""
        return argument in inspect.signature(type(self.linen()).__call__).parameters

    def declared(self) -> dict[str, Any]:
        return {**({"params": self.params} if self.params else {}), **self.state}

    def arrays(self, dtype: Any = np.float32, **options: Any) -> tuple[Any, ...]:
        """Random arrays for the inputs of a call, from `seed`, with `batch` examples."""
        shift = options.pop("seed", 0)
        leaves, tree = jax.tree.flatten(self.inputs, is_leaf=lambda i: isinstance(i, Input))
        arrays = (i.array(dtype, seed=n + shift, **options) for n, i in enumerate(leaves))
        inputs: tuple[Any, ...] = jax.tree.unflatten(tree, arrays)
        return inputs

    def start(self, *inputs: Any, **fields: Any) -> tuple[Module, Any]:
        """The module, and variables as its init declares them.

        Their values are drawn with NumPy: compiling initializers takes longer than everything else
        here. They are positive, since some are variances.
        """
        module = self.linen(**fields)
        shapes = jax.eval_shape(lambda *inputs: module.init(RNGS, *inputs, **self.call), *inputs)
        rng = np.random.default_rng(3)
        return module, jax.tree.map(
            lambda s: placed(rng.uniform(0.2, 1.5, s.shape), s.dtype), shapes
        )

    def run(self, module: Module, variables: Any, *inputs: Any) -> tuple[Any, Any]:
        """The output and the new state of a call."""
        rngs = {"dropout": RNGS["dropout"]} if self.random else None
        return module.apply(  # type: ignore[no-any-return]
            variables, *inputs, rngs=rngs, mutable=list(self.state), **self.call
        )

    def on_mesh(self, *inputs: Any) -> tuple[Callable[..., Any], Any]:
        """The layer as a function of variables and inputs, and variables; see `mesh_contract`."""
        module, variables = self.start(*inputs)
        return lambda variables, *inputs: self.run(module, variables, *inputs), variables

    def loss(self, module: Module, inputs: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """A smooth function of variables and floating inputs, to which every output contributes."""
        floating = [i for i in inputs if all(x.dtype.kind == "f" for x in jax.tree.leaves(i))]

        def weighted(y: jax.Array) -> jax.Array:
            weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            return jnp.sum(jnp.sin(y) * weights)

        def loss(variables: Any, *floats: Any) -> Any:
            outputs, _ = self.run(module, variables, *(floats or inputs))
            return sum(weighted(y) for y in jax.tree.leaves(outputs))

        return loss, floating


# Most of the time goes into compiling: what several tests compare with is compiled once per layer.
# A row holds dicts, so it is compared by identity.
_compiled: dict[tuple[int, str], tuple[Any, Any]] = {}


def compiled_once(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`make`, called once for each row, of either style's table."""

    @functools.wraps(make)
    def once(layer: Any) -> Any:
        key = (id(layer), make.__name__)
        if key not in _compiled:
            _compiled[key] = layer, make(layer)
        return _compiled[key][1]

    return once


@compiled_once
def forward(layer: Layer) -> Any:
    """The module, variables, and the jitted call of these and of inputs."""
    module, variables = layer.start(*layer.arrays())
    return module, variables, jax.jit(lambda v, *a: layer.run(module, v, *a))


@compiled_once
def slopes(layer: Layer) -> Any:
    """The loss, its arguments, and its value and gradient there, without a NaN along the way."""
    with jax.debug_nans(True):
        inputs = layer.arrays()
        module, variables = layer.start(*inputs)
        loss, floating = layer.loss(module, inputs)
        at = (variables, *floating)
        return loss, at, jax.jit(jax.value_and_grad(loss))(*at)


def shape_of(x: Any, shape: tuple[Any, ...] | None = None) -> Any:
    """The abstract value of `x` for a trace, with a different shape if one is given."""
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    return jax.ShapeDtypeStruct(x.shape if shape is None else shape, dtype)  # type: ignore[no-untyped-call]


def in_lanes(mapped: Callable[..., Any]) -> Callable[..., list[Any]]:
    """The first two entries of a function's result, separated in the same compiled program."""

    def lanes(*arguments: Any) -> list[Any]:
        y = mapped(*arguments)
        return [jax.tree.map(lambda x, i=i: x[i], y) for i in (0, 1)]

    return jax.jit(lanes)


def needs_field(name: str) -> Callable[[Any], Any]:
    """Runs a test only over layers that have this field and don't pass it to a wrapped layer."""

    def mark(test: Any) -> Any:
        test.needs_field = name
        return test

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "layer" in metafunc.fixturenames:
        field = getattr(metafunc.function, "needs_field", None)
        rows = [
            row
            for row in metafunc.module.LAYERS
            if field is None or (row.has_field(field) and not row.wraps)
        ]
        metafunc.parametrize("layer", rows, ids=[row.name for row in rows])


def test_every_layer_has_a_row(request: pytest.FixtureRequest) -> None:
    here = request.module
    classes = {
        c
        for c in vars(here.MODULES).values()
        # A class that cannot be called is a base class.
        if inspect.isclass(c)
        and issubclass(c, Module)
        and any("__call__" in vars(b) for b in c.mro())
    }
    assert classes
    apart = set(getattr(here, "TESTED_APART", ()))
    assert apart <= classes
    assert {type(layer.linen()) for layer in here.LAYERS} == classes - apart


def test_what_is_split_over_devices_stays_split(request: pytest.FixtureRequest) -> None:
    """Checks both styles: starting a process with eight devices takes as long as the checks."""
    failures = mesh_contract.failures(request.path, request.path.with_name("test_nnx_contract.py"))
    assert not failures, "\n".join(failures)


def test_init_declares_what_the_table_says(layer: Layer) -> None:
    module = layer.linen()
    variables = jax.jit(lambda: module.init(RNGS, *layer.arrays(), **layer.call))()
    assert jax.tree.map(jnp.shape, variables) == layer.declared()
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))


def test_init_of_shapes_alone(layer: Layer) -> None:
    module = layer.linen()
    inputs = jax.tree.map(shape_of, layer.arrays())
    abstract = jax.eval_shape(lambda *a: module.init(RNGS, *a, **layer.call), *inputs)
    assert jax.tree.map(lambda s: s.shape, abstract) == layer.declared()


def test_a_call_leaves_the_state_s_form(layer: Layer) -> None:
    inputs = layer.arrays()
    module, variables = layer.start(*inputs)
    _, state = jax.eval_shape(lambda v: layer.run(module, v, *inputs), variables)
    for name in layer.state:
        near_form(state[name], variables[name])


def near_form(ours: Any, expected: Any) -> None:
    forms = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (ours, expected)]
    assert forms[0] == forms[1]


@needs_field("dtype")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtype_is_that_of_the_output(layer: Layer, dtype: Any) -> None:
    module, variables = layer.start(*layer.arrays(), dtype=dtype)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    abstract, _ = jax.eval_shape(lambda v: layer.run(module, v, *layer.arrays()), variables)
    assert all(y.dtype == dtype for y in jax.tree.leaves(abstract))


def test_half_precision_is_near_the_full_one(layer: Layer) -> None:
    inputs = layer.arrays()
    _, variables, apply = forward(layer)
    full, _ = apply(variables, *inputs)
    halves = jax.tree.map(
        lambda x: np.asarray(x, jnp.bfloat16) if x.dtype.kind == "f" else x, (variables, *inputs)
    )
    half, _ = apply(*halves)
    assert layer.carries or all(y.dtype == jnp.bfloat16 for y in jax.tree.leaves(half))
    wide = jax.tree.map(lambda y: np.asarray(y, np.float32), half)
    near(wide, full, rtol=0.05, atol=0.1)


@needs_field("param_dtype")
def test_param_dtype_is_that_of_the_parameters(layer: Layer) -> None:
    _, variables = layer.start(*layer.arrays(), param_dtype=jnp.bfloat16)
    assert all(p.dtype == jnp.bfloat16 for p in jax.tree.leaves(variables["params"]))


def test_jit_changes_nothing(layer: Layer) -> None:
    inputs = layer.arrays()
    module, variables, jitted = forward(layer)
    near(layer.run(module, variables, *inputs), jitted(variables, *inputs))


def test_vmap_is_a_loop(layer: Layer) -> None:
    lanes = [layer.arrays(seed=s) for s in (0, 1)]
    _, variables, one = forward(layer)
    stacked = jax.tree.map(lambda *x: np.stack(x), *lanes)
    mapped = jax.vmap(one, in_axes=(None, *(0 for _ in stacked)))
    for y, inputs in zip(in_lanes(mapped)(variables, *stacked), lanes, strict=True):
        near(y, one(variables, *inputs))


@pytest.mark.usefixtures("x64")
def test_gradient_is_the_slope(layer: Layer) -> None:
    """The gradient equals central differences along a random direction, in float64."""
    fields = {"param_dtype": jnp.float64} if layer.has_field("param_dtype") else {}
    inputs = layer.arrays(np.float64)
    module, variables = layer.start(*inputs, **fields)
    loss, floating = layer.loss(module, inputs)
    params = variables.get("params", {})
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    at = (params, *floating)
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), at)

    def of(params: Any, *floats: Any) -> Any:
        return loss({"params": params, **rest}, *floats)

    @jax.jit
    def along(t: Any) -> Any:
        point = jax.tree.map(lambda x, d: x + t * d, at, direction)
        return jax.value_and_grad(of, argnums=tuple(range(len(at))))(*point)

    h = 1e-5
    differences = (along(h)[0] - along(-h)[0]) / (2 * h)
    _, gradient = along(0.0)
    slope = sum(
        np.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-8)


def test_remat_leaves_the_gradient(layer: Layer) -> None:
    loss, at, (_, plain) = slopes(layer)
    saved = jax.jit(jax.grad(jax.checkpoint(loss)))(*at)
    near(saved, plain)


@pytest.mark.usefixtures("x64")
def test_float64(layer: Layer) -> None:
    fields = {"param_dtype": jnp.float64} if layer.has_field("param_dtype") else {}
    inputs = layer.arrays(np.float64)
    module, variables = layer.start(*inputs, **fields)
    assert all(p.dtype == jnp.float64 for p in jax.tree.leaves(variables.get("params", {})))
    abstract, _ = jax.eval_shape(lambda v: layer.run(module, v, *inputs), variables)
    assert all(y.dtype == jnp.float64 for y in jax.tree.leaves(abstract))


def test_empty_batch(layer: Layer) -> None:
    module, variables = layer.start(*layer.arrays())
    full, _ = jax.eval_shape(lambda v: layer.run(module, v, *layer.arrays()), variables)
    nothing = layer.arrays(batch=0)
    empty, state = jax.jit(lambda v: layer.run(module, v, *nothing))(variables)
    for y, like in zip(jax.tree.leaves(empty), jax.tree.leaves(full), strict=True):
        assert y.shape == (0, *like.shape[1:])
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(state))
    _, same = layer.start(*nothing)
    near_form(same, variables)


def test_one_example(layer: Layer) -> None:
    one = layer.arrays(batch=1)
    module, variables = layer.start(*one)
    loss, floating = layer.loss(module, one)
    values = jax.jit(jax.value_and_grad(loss))(variables, *floating)
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(values))
    near_form(variables, layer.start(*layer.arrays())[1])


def test_any_batch_size_in_an_exported_program(layer: Layer) -> None:
    inputs = layer.arrays()
    module, variables, jitted = forward(layer)
    (batch,) = export.symbolic_shape("b")
    symbolic = jax.tree.map(lambda x: shape_of(x, (batch, *x.shape[1:])), inputs)
    abstract = jax.tree.map(shape_of, variables)
    program: Any = export.export(jax.jit(lambda v, *a: layer.run(module, v, *a)))(
        abstract, *symbolic
    )
    # The table's size is arbitrary: nothing in the program depends on it.
    near(program.call(variables, *inputs), jitted(variables, *inputs))


def test_copies_are_the_same_layer(layer: Layer) -> None:
    inputs = layer.arrays()
    module, variables = layer.start(*inputs)
    y, _ = layer.run(module, variables, *inputs)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), module.clone()):
        assert repr(twin) == repr(module)
        near(layer.run(twin, variables, *inputs)[0], y, rtol=0, atol=0)


def test_repr_names_class_and_fields(layer: Layer) -> None:
    module = layer.linen()
    text = repr(module)
    assert text.startswith(type(module).__name__)
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if parameter.default is parameter.empty:
            assert f"    {name} = " in text
        elif name in ("parent", "name") or getattr(module, name) is parameter.default:
            # A layer inside may have a field of that name, which is indented further.
            assert f"\n    {name} = " not in text


def test_strict_promotion(layer: Layer) -> None:
    with jax.numpy_dtype_promotion("strict"):
        inputs = layer.arrays()
        module, variables = layer.start(*inputs)
        loss, floating = layer.loss(module, inputs)
        jax.eval_shape(jax.grad(loss), variables, *floating)


def test_debug_nans(layer: Layer) -> None:
    _, _, (value, _) = slopes(layer)
    assert np.isfinite(value)


def test_input_and_variables_stay(layer: Layer) -> None:
    inputs = layer.arrays()
    module, variables = layer.start(*inputs)
    before = copy.deepcopy((inputs, variables))
    layer.run(module, variables, *inputs)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves((inputs, variables)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_arguments_raise_errors_by_one_rule(layer: Layer) -> None:
    module, inputs = layer.linen(), layer.arrays()
    fields = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]

    def call(**changed: Any) -> Any:
        other = module.clone(**changed)
        return jax.eval_shape(lambda: other.init(RNGS, *inputs, **layer.call))

    layer_rules.require_rules_of_arguments({n: getattr(module, n) for n in fields}, call)


def test_bad_inputs_raise_errors_by_one_rule(layer: Layer) -> None:
    module = layer.linen()
    if hasattr(module, "layer_instance"):
        pytest.skip("its inputs are those of the layer inside")

    def call(*inputs: Any) -> Any:
        return jax.eval_shape(lambda: module.init(RNGS, *inputs, **layer.call))

    layer_rules.require_rule_of_inputs(layer.arrays(), call)
