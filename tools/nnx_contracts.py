"""The contract of every nnx layer: one test for each promise, over a table of layers.

The counterpart of `contracts`, for modules that own their variables. A test module with

    from nnx_contracts import *
    from linnet.layers_norm import nnx as MODULES
    from .nnx_layer_table import LAYERS

contains all the tests below, each over the rows of its `LAYERS` to which it applies, and fails if a
module class in `MODULES` has no row.

Most tests treat a layer as a function of its state, as jax's transforms do: `Layer.function` takes
values by path, and returns the output and values by path.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import layer_rules
from comparing import near, placed
from contracts import Input, compiled_once, in_lanes, needs_field
from linnet.module_core import errors, nnx

Values = dict[str, Any]
"""The values of a module's variables, by path: "query/kernel"."""


class Layer(NamedTuple):
    """A layer and what it declares.

    Attributes:
      name: the row's name.
      make: makes the module from streams; also takes options of the constructor.
      inputs: the inputs of a call, arrays or trees of arrays; the first dimension is the batch.
      params: shapes of the parameters by path.
      state: shapes of all other variables and arrays by path, without streams of keys.
      call: keyword arguments of the call.
      twin: the output of linen's layer with the same parameters, given values by path and inputs.
      wraps: whether another layer, or a state that is passed in, determines the output's type.
      inexact: whether the gradient treats a value that depends on the parameters as a constant.
      share: the work that each of eight devices may do, in eighths of the work on one device.
    """

    name: str
    make: Callable[..., Any]
    inputs: tuple[Any, ...]
    params: Mapping[str, Any]
    state: Mapping[str, Any] = {}
    call: Mapping[str, Any] = {}
    twin: Callable[..., Any] | None = None
    wraps: bool = False
    inexact: bool = False
    share: float = 1.1

    @property
    def by_hand(self) -> Callable[..., Any] | None:
        """The function to compare with on a mesh: linen's layer, which splits its output alike."""
        return self.twin

    def module(self, **options: Any) -> Any:
        """The layer with random parameters, all positive, since some are variances."""
        module = self.make(nnx.Rngs(0), **options)
        rng = np.random.default_rng(3)
        for _, leaf in nnx.to_flat_state(nnx.state(module)):
            if isinstance(leaf, nnx.Param | nnx.BatchStat):
                leaf.value = placed(rng.uniform(0.2, 1.2, leaf.shape), leaf.dtype)
        return module

    def has_option(self, name: str) -> bool:
        parameters = inspect.signature(class_of(self).__init__).parameters
        passed_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        return name in parameters or passed_on

    def takes(self, argument: str) -> bool:
        """Whether a call takes an argument."""
        return argument in inspect.signature(class_of(self).__call__).parameters

    def arrays(self, dtype: Any = np.float32, **options: Any) -> tuple[Any, ...]:
        """Random arrays for the inputs of a call, from `seed`, with `batch` examples."""
        shift = options.pop("seed", 0)
        leaves, tree = jax.tree.flatten(self.inputs, is_leaf=lambda i: isinstance(i, Input))
        arrays = (i.array(dtype, seed=n + shift, **options) for n, i in enumerate(leaves))
        inputs: tuple[Any, ...] = jax.tree.unflatten(tree, arrays)
        return inputs

    def function(self, module: Any) -> tuple[Callable[..., tuple[Any, Values]], Values]:
        """The module as a function of values by path and inputs, and its values."""
        graphdef, state = nnx.split(module)
        leaves = list(nnx.to_flat_state(state))

        def function(values: Values, *inputs: Any) -> tuple[Any, Values]:
            new = [
                (path, leaf.replace(values[_text(path)]))
                if isinstance(leaf, nnx.Variable)
                else (path, values[_text(path)])
                for path, leaf in leaves
            ]
            made = nnx.merge(graphdef, nnx.from_flat_state(new))
            return made(*inputs, **self.call), values_of(made)

        return function, values_of(module)

    def on_mesh(self, *_: Any) -> tuple[Callable[..., Any], Values]:
        """The layer as a function of values and inputs, and values; see `mesh_contract`."""
        return self.function(self.module())

    def loss(self, module: Any, inputs: tuple[Any, ...]) -> tuple[Any, Values, list[Any]]:
        """A smooth function of parameters and floating inputs, and these arguments."""
        function, values = self.function(module)
        params = {path: values[path] for path in self.params}
        floating = [i for i in inputs if all(x.dtype.kind == "f" for x in jax.tree.leaves(i))]

        def weighted(y: Any) -> Any:
            weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            return jnp.sum(jnp.sin(y) * weights)

        def loss(params: Values, *floats: Any) -> Any:
            outputs, _ = function({**values, **params}, *(floats or inputs))
            return sum(weighted(y) for y in jax.tree.leaves(outputs))

        return loss, params, floating


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters by layer, as linen names them: an entry of a list has a number."""
    params: dict[str, Any] = {}
    for path, value in values.items():
        *layer, name = path.split("/")
        (params.setdefault("_".join(layer), {}) if layer else params)[name] = value
    return params


def twin(module: Any, **call: Any) -> Callable[..., Any]:
    """Linen's layer with the parameters of nnx's, which have the same names."""
    return lambda values, *inputs: module.apply({"params": nested(values)}, *inputs, **call)


@compiled_once
def class_of(layer: Layer) -> Any:
    """The layer's class, from a trace, so nothing is drawn or compiled to collect the tests."""
    found: list[type] = []
    jax.eval_shape(lambda: found.append(type(layer.make(nnx.Rngs(0)))))
    return found[0]


def _text(path: tuple[Any, ...]) -> str:
    return "/".join(
        "/".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in path
    )


def values_of(module: Any) -> Values:
    """The values of a module's variables and arrays, by path."""
    return {
        _text(path): leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
        for path, leaf in nnx.to_flat_state(nnx.state(module))
    }


def _comparable(tree: Any) -> Any:
    def one(x: Any) -> Any:
        key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if key else x

    return jax.tree.map(one, tree)


def same(ours: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    near(_comparable(ours), _comparable(expected), rtol, atol)


def _double(layer: Layer) -> dict[str, Any]:
    names = [n for n in ("param_dtype", "dtype") if layer.has_option(n)]
    return dict.fromkeys(names, jnp.float64)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "layer" in metafunc.fixturenames:
        option = getattr(metafunc.function, "needs_field", None)
        rows = [
            row
            for row in metafunc.module.LAYERS
            if option is None or (row.has_option(option) and not row.wraps)
        ]
        if metafunc.function is test_output_is_that_of_the_linen_layer:
            rows = [row for row in rows if row.twin is not None]
        metafunc.parametrize("layer", rows, ids=[row.name for row in rows])


def test_every_layer_has_a_row(request: pytest.FixtureRequest) -> None:
    here = request.module
    classes = {
        c
        for c in vars(here.MODULES).values()
        # A class whose instances cannot be called is a base class.
        if inspect.isclass(c)
        and issubclass(c, nnx.Module)
        and any("__call__" in vars(b) for b in c.mro())
        and not getattr(c, "__abstractmethods__", None)
    }
    assert classes
    assert {class_of(layer) for layer in here.LAYERS} == classes


def test_the_constructor_declares_what_the_table_says(layer: Layer) -> None:
    module = layer.make(nnx.Rngs(0))
    leaves = list(nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.RngState))))
    shapes = {_text(path): leaf.shape for path, leaf in leaves}
    assert shapes == {**layer.params, **layer.state}
    params = {_text(path) for path, leaf in leaves if isinstance(leaf, nnx.Param)}
    assert params == set(layer.params)
    assert all(leaf.dtype == jnp.float32 for _, leaf in leaves)


def test_construction_of_shapes_alone(layer: Layer) -> None:
    abstract = jax.eval_shape(lambda: values_of(layer.make(nnx.Rngs(0))))
    concrete = values_of(layer.make(nnx.Rngs(0)))
    assert {k: (v.shape, v.dtype) for k, v in abstract.items()} == {
        k: (v.shape, v.dtype) for k, v in concrete.items()
    }


def test_a_call_leaves_the_state_s_form(layer: Layer) -> None:
    function, values = layer.function(layer.module())
    _, after = jax.eval_shape(function, values, *layer.arrays())
    assert {k: (v.shape, v.dtype) for k, v in after.items()} == {
        k: (v.shape, v.dtype) for k, v in values.items()
    }


@needs_field("dtype")
def test_dtype_is_that_of_the_output(layer: Layer) -> None:
    module = layer.module(dtype=jnp.bfloat16)
    function, values = layer.function(module)
    assert all(values[path].dtype == jnp.float32 for path in layer.params)
    outputs, _ = jax.eval_shape(function, values, *layer.arrays())
    assert all(y.dtype == jnp.bfloat16 for y in jax.tree.leaves(outputs))


@needs_field("param_dtype")
def test_param_dtype_is_that_of_the_parameters(layer: Layer) -> None:
    values = jax.eval_shape(lambda: values_of(layer.make(nnx.Rngs(0), param_dtype=jnp.bfloat16)))
    assert all(values[path].dtype == jnp.bfloat16 for path in layer.params)


def test_jit_changes_nothing(layer: Layer) -> None:
    inputs = layer.arrays()
    eager, jitted = layer.module(), layer.module()
    variables = dict(nnx.to_flat_state(nnx.state(jitted)))
    call = nnx.jit(lambda module, *inputs: module(*inputs, **layer.call))
    for _ in range(2):
        near(call(jitted, *inputs), eager(*inputs, **layer.call), rtol=2e-5, atol=5e-6)
        same(values_of(jitted), values_of(eager), rtol=2e-5, atol=5e-6)
    for path, leaf in nnx.to_flat_state(nnx.state(jitted)):
        assert not isinstance(leaf, nnx.Variable) or variables[path] is leaf


def test_vmap_is_a_loop(layer: Layer) -> None:
    lanes = [layer.arrays(seed=s) for s in (0, 1)]
    function, values = layer.function(layer.module())
    one = jax.jit(function)
    stacked = jax.tree.map(lambda *x: np.stack(x), *lanes)
    mapped = jax.vmap(function, in_axes=(None, *(0 for _ in stacked)))
    for lane, inputs in zip(in_lanes(mapped)(values, *stacked), lanes, strict=True):
        same(lane, one(values, *inputs), rtol=2e-5, atol=5e-6)


@pytest.mark.usefixtures("x64")
def test_gradient_is_the_slope(layer: Layer) -> None:
    """The gradient equals central differences along a random direction, in float64."""
    module = layer.module(**_double(layer))
    loss, params, floating = layer.loss(module, layer.arrays(np.float64))
    at = (params, *floating)
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), at)

    @jax.jit
    def along(t: Any) -> Any:
        point = jax.tree.map(lambda x, d: x + t * d, at, direction)
        return jax.value_and_grad(loss, argnums=tuple(range(len(at))))(*point)

    _, gradient = along(0.0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    if layer.inexact:
        return
    h = 1e-5
    differences = (along(h)[0] - along(-h)[0]) / (2 * h)
    slope = sum(
        np.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("x64")
def test_float64(layer: Layer) -> None:
    function, values = layer.function(layer.module(**_double(layer)))
    assert all(values[path].dtype == jnp.float64 for path in layer.params)
    outputs, _ = jax.eval_shape(function, values, *layer.arrays(np.float64))
    assert all(y.dtype == jnp.float64 for y in jax.tree.leaves(outputs))


def test_empty_batch(layer: Layer) -> None:
    function, values = layer.function(layer.module())
    full, _ = jax.eval_shape(function, values, *layer.arrays())
    empty, state = jax.jit(function)(values, *layer.arrays(batch=0))
    for y, like in zip(jax.tree.leaves(empty), jax.tree.leaves(full), strict=True):
        assert y.shape == (0, *like.shape[1:])
    assert all(np.isfinite(s).all() for s in jax.tree.leaves(_comparable(state)))


def test_split_and_merge_give_the_same_layer(layer: Layer) -> None:
    module, inputs = layer.module(), layer.arrays()
    expected = layer.module()(*inputs, **layer.call)
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    again = nnx.merge(graphdef, params, rest)
    assert nnx.graphdef(again) == graphdef
    assert hash(nnx.graphdef(again)) == hash(graphdef)
    same(values_of(again), values_of(module), rtol=0, atol=0)
    near(again(*inputs, **layer.call), expected, rtol=0, atol=0)


def test_copies_are_layers_of_their_own(layer: Layer) -> None:
    module, inputs = layer.module(), layer.arrays()
    before = values_of(module)
    twins = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), nnx.clone(module)]
    assert repr(twins[0]) == repr(twins[1]) == repr(module)
    assert nnx.graphdef(twins[2]) == nnx.graphdef(module)
    outputs = [twin(*inputs, **layer.call) for twin in twins]
    same(values_of(module), before, rtol=0, atol=0)
    expected = module(*inputs, **layer.call)
    for y in outputs:
        near(y, expected, rtol=0, atol=0)


class ArrayLike:
    """Not an array, but can be converted to one."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __jax_array__(self) -> Any:
        return jnp.asarray(self.value)


class Indexed:
    """Not an array, but returns one like a variable: `parameter[...]`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]


def test_arrays_stand_for_parameters(layer: Layer) -> None:
    if any(path.startswith("layer_instance/") for path in layer.params):
        return  # its parameters are written to, so they must be variables
    module, inputs = layer.module(), layer.arrays()
    expected = layer.module()(*inputs, **layer.call)
    kinds: Iterator[Callable[..., Any]] = itertools.cycle(
        [np.asarray, ArrayLike, jnp.asarray, Indexed]
    )
    found = []
    for _, node in list(nnx.iter_graph(module)):
        for name, variable in list(vars(node).items() if isinstance(node, nnx.Module) else ()):
            if isinstance(variable, nnx.Param | nnx.BatchStat):
                array = next(kinds)(variable.get_value())
                is_array = isinstance(array, jax.Array | np.ndarray)
                setattr(node, name, (nnx.data if is_array else nnx.static)(array))
                found.append(name)
    assert len(found) >= len(layer.params)
    near(module(*inputs, **layer.call), expected, rtol=2e-5, atol=2e-6)


def test_streams_are_passed_by_name(layer: Layer) -> None:
    cls = class_of(layer)
    rngs = inspect.signature(cls).parameters.get("rngs")
    if rngs is None or rngs.kind is not rngs.KEYWORD_ONLY:
        return
    for stream in (nnx.Rngs(0), nnx.Rngs(0).params):
        with pytest.raises(errors.ArgumentTypeError, match=rf"{cls.__name__}: (?s:.*)rngs=\.\.\."):
            cls(stream)


def test_repr_names_class_and_variables(layer: Layer) -> None:
    text = repr(layer.make(nnx.Rngs(0)))
    assert text.startswith(class_of(layer).__name__)
    for path in layer.params:
        assert f"{path.split('/')[-1]}" in text


def test_strict_promotion(layer: Layer) -> None:
    with jax.numpy_dtype_promotion("strict"):
        loss, params, floating = layer.loss(layer.module(), layer.arrays())
        jax.eval_shape(jax.grad(loss), params, *floating)


def test_output_is_that_of_the_linen_layer(layer: Layer) -> None:
    assert layer.twin is not None
    inputs, module = layer.arrays(), layer.module()
    expected = layer.twin(values_of(module), *inputs)
    near(module(*inputs, **layer.call), expected, rtol=2e-5, atol=2e-6)


def test_bad_arguments_raise_errors_by_one_rule(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, arguments = class_of(layer), {}
    signature = inspect.signature(cls.__init__)
    make = cls.__init__

    def record(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments.update(bound.arguments)
        make(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(cls, "__init__", record)
        layer.make(nnx.Rngs(0))
    del arguments["self"]
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name))
    inputs = layer.arrays()

    def call(**changed: Any) -> Any:
        return cls(**{**arguments, **changed})(*inputs, **layer.call)

    layer_rules.require_rules_of_arguments(arguments, call)


def test_bad_inputs_raise_errors_by_one_rule(layer: Layer) -> None:
    module = layer.module()
    if hasattr(module, "layer_instance"):
        pytest.skip("its inputs are those of the layer inside")
    function, values = layer.function(module)

    def call(*inputs: Any) -> Any:
        return jax.eval_shape(lambda values: function(values, *inputs), values)

    layer_rules.require_rule_of_inputs(layer.arrays(), call)
