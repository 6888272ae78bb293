"""What every layer promises, whatever it computes: one test a promise, over the table of layers."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.layers_linear import linen
from linnet.module_core.linen import Module

from .layer_table import LAYERS, Layer

RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def has_field(layer: Layer, name: str) -> bool:
    return name in inspect.signature(type(layer.linen())).parameters


each_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)


def each_layer_with(field: str) -> Any:
    rows = [layer for layer in LAYERS if has_field(layer, field)]
    return pytest.mark.parametrize("layer", rows, ids=lambda layer: layer.name)


def arrays(layer: Layer, dtype: Any = np.float32, **options: Any) -> tuple[Any, ...]:
    return tuple(i.array(dtype, seed=n, **options) for n, i in enumerate(layer.inputs))


def start(layer: Layer, *inputs: Any, **fields: Any) -> tuple[Module, Any]:
    """The module, and variables as its init declares them.

    Their values are drawn with NumPy: compiling initializers takes longer than all else here.
    """
    module = layer.linen(**fields)
    shapes = jax.eval_shape(lambda *inputs: module.init(RNGS, *inputs, **layer.call), *inputs)
    rng = np.random.default_rng(3)
    return module, jax.tree.map(
        lambda s: jnp.asarray(rng.normal(0.2, 0.5, s.shape), s.dtype), shapes
    )


def run(layer: Layer, module: Module, variables: Any, *inputs: Any) -> Any:
    rngs = {"dropout": RNGS["dropout"]} if layer.random else None
    return module.apply(variables, *inputs, rngs=rngs, **layer.call)


def loss_of(layer: Layer, module: Module, inputs: tuple[Any, ...]) -> Any:
    """A smooth function of variables and floating inputs, to which every output contributes."""
    floating = [i for i in inputs if i.dtype.kind == "f"]

    def loss(variables: Any, *floats: Any) -> jax.Array:
        y = run(layer, module, variables, *(floats or inputs))
        weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        return jnp.sum(jnp.sin(y) * weights)

    return loss, floating


def test_every_layer_has_a_row() -> None:
    classes = {c for c in vars(linen).values() if inspect.isclass(c) and issubclass(c, Module)}
    assert classes
    assert {type(layer.linen()) for layer in LAYERS} == classes


@each_layer
def test_init_declares_what_the_table_says(layer: Layer) -> None:
    module = layer.linen()
    variables = module.init(RNGS, *arrays(layer), **layer.call)
    declared = {"params": layer.params} if layer.params else {}
    assert jax.tree.map(jnp.shape, variables) == {**declared, **layer.state}
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))


@each_layer
def test_init_of_shapes_alone(layer: Layer) -> None:
    module = layer.linen()
    inputs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays(layer)]
    abstract = jax.eval_shape(lambda *a: module.init(RNGS, *a, **layer.call), *inputs)
    shapes = [s.shape for s in jax.tree.leaves(abstract)]
    assert sorted(shapes) == sorted(layer.params.values())


@each_layer_with("dtype")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtype_is_that_of_the_output(layer: Layer, dtype: Any) -> None:
    module, variables = start(layer, *arrays(layer), dtype=dtype)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    abstract = jax.eval_shape(lambda v: run(layer, module, v, *arrays(layer)), variables)
    assert abstract.dtype == dtype


@each_layer
def test_half_precision_is_near_the_full_one(layer: Layer) -> None:
    inputs = arrays(layer)
    module, variables = start(layer, *inputs)
    apply = jax.jit(lambda v, *a: run(layer, module, v, *a))
    full = np.asarray(apply(variables, *inputs), np.float32)
    halves = [x.astype(jnp.bfloat16) if x.dtype.kind == "f" else x for x in inputs]
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), variables)
    half = apply(narrow, *halves)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), full, rtol=0.05, atol=0.1)


@each_layer_with("param_dtype")
def test_param_dtype_is_that_of_the_parameters(layer: Layer) -> None:
    _, variables = start(layer, *arrays(layer), param_dtype=jnp.bfloat16)
    assert all(p.dtype == jnp.bfloat16 for p in jax.tree.leaves(variables))


@each_layer
def test_jit_changes_nothing(layer: Layer) -> None:
    inputs = arrays(layer)
    module, variables = start(layer, *inputs)
    eager = run(layer, module, variables, *inputs)
    jitted = jax.jit(lambda v, *a: run(layer, module, v, *a))(variables, *inputs)
    assert eager.dtype == jitted.dtype
    np.testing.assert_allclose(eager, jitted, rtol=1e-5, atol=1e-6)


@each_layer
def test_vmap_is_a_loop(layer: Layer) -> None:
    lanes = [tuple(i.array(seed=s) for i in layer.inputs) for s in (0, 1)]
    module, variables = start(layer, *lanes[0])
    one = jax.jit(lambda v, *a: run(layer, module, v, *a))
    stacked = [np.stack(x) for x in zip(*lanes, strict=True)]
    mapped = jax.jit(jax.vmap(one, in_axes=(None, *(0 for _ in stacked))))(variables, *stacked)
    for y, inputs in zip(mapped, lanes, strict=True):
        np.testing.assert_allclose(y, one(variables, *inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
@each_layer
def test_gradient_is_the_slope(layer: Layer) -> None:
    """Against central differences along a random direction, in float64."""
    fields = {"param_dtype": jnp.float64} if has_field(layer, "param_dtype") else {}
    inputs = arrays(layer, np.float64)
    module, variables = start(layer, *inputs, **fields)
    loss, floating = loss_of(layer, module, inputs)
    at = (variables, *floating)
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), at)

    @jax.jit
    def along(t: Any) -> Any:
        return loss(*jax.tree.map(lambda x, d: x + t * d, at, direction))

    h = 1e-5
    differences = (along(h) - along(-h)) / (2 * h)
    gradient = jax.jit(jax.grad(loss, argnums=tuple(range(len(at)))))(*at)
    slope = sum(
        np.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-8)


@each_layer
def test_remat_leaves_the_gradient(layer: Layer) -> None:
    inputs = arrays(layer)
    module, variables = start(layer, *inputs)
    loss, floating = loss_of(layer, module, inputs)
    plain = jax.jit(jax.grad(loss))(variables, *floating)
    saved = jax.jit(jax.grad(jax.checkpoint(loss)))(variables, *floating)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(saved), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
@each_layer
def test_float64(layer: Layer) -> None:
    fields = {"param_dtype": jnp.float64} if has_field(layer, "param_dtype") else {}
    inputs = arrays(layer, np.float64)
    module, variables = start(layer, *inputs, **fields)
    assert all(p.dtype == jnp.float64 for p in jax.tree.leaves(variables))
    abstract = jax.eval_shape(lambda v: run(layer, module, v, *inputs), variables)
    assert abstract.dtype == jnp.float64


@each_layer
def test_empty_batch(layer: Layer) -> None:
    module, variables = start(layer, *arrays(layer))
    full = jax.eval_shape(lambda v: run(layer, module, v, *arrays(layer)), variables)
    nothing = arrays(layer, batch=0)
    empty = jax.jit(lambda v: run(layer, module, v, *nothing))(variables)
    assert empty.shape == (0, *full.shape[1:])
    _, same = start(layer, *nothing)
    assert jax.tree.map(jnp.shape, same) == jax.tree.map(jnp.shape, variables)


@each_layer
def test_any_batch_size_in_an_exported_program(layer: Layer) -> None:
    module, variables = start(layer, *arrays(layer))
    (batch,) = jax.export.symbolic_shape("b")
    symbolic = [
        jax.ShapeDtypeStruct((batch, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype))
        for x in arrays(layer)
    ]
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    program = jax.export.export(jax.jit(lambda v, *a: run(layer, module, v, *a)))(
        abstract, *symbolic
    )
    inputs = arrays(layer, batch=5)
    np.testing.assert_allclose(
        program.call(variables, *inputs),
        run(layer, module, variables, *inputs),
        rtol=1e-5,
        atol=1e-6,
    )


@each_layer
def test_copies_are_the_same_layer(layer: Layer) -> None:
    inputs = arrays(layer)
    module, variables = start(layer, *inputs)
    y = run(layer, module, variables, *inputs)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), module.clone()):
        assert repr(twin) == repr(module)
        np.testing.assert_array_equal(run(layer, twin, variables, *inputs), y)


@each_layer
def test_repr_names_class_and_fields(layer: Layer) -> None:
    module = layer.linen()
    text = repr(module)
    assert text.startswith(type(module).__name__)
    for name in inspect.signature(type(module)).parameters:
        assert (f"{name} = " in text) == (name not in ("parent", "name"))


@each_layer
def test_strict_promotion(layer: Layer) -> None:
    with jax.numpy_dtype_promotion("strict"):
        inputs = arrays(layer)
        module, variables = start(layer, *inputs)
        loss, floating = loss_of(layer, module, inputs)
        jax.eval_shape(jax.grad(loss), variables, *floating)


@each_layer
def test_debug_nans(layer: Layer) -> None:
    with jax.debug_nans(True):
        inputs = arrays(layer)
        module, variables = start(layer, *inputs)
        loss, floating = loss_of(layer, module, inputs)
        value, _ = jax.jit(jax.value_and_grad(loss))(variables, *floating)
        assert np.isfinite(value)


@each_layer
def test_input_and_variables_stay(layer: Layer) -> None:
    inputs = arrays(layer)
    module, variables = start(layer, *inputs)
    before = copy.deepcopy((inputs, variables))
    run(layer, module, variables, *inputs)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves((inputs, variables)), strict=True):
        np.testing.assert_array_equal(a, b)
