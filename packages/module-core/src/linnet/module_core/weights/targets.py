"""The targets of loading: the variables and the layers of an nnx module or a linen module.

An nnx module holds both. Linen's variables don't say which layers they belong to, so a linen module
is called once, without computing anything, on inputs of which only the shapes matter.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from .. import linen, nnx
from ..boxes import AxisMetadata, contents, is_axis_metadata, replace_boxed
from ..errors import ArgumentError, ArgumentTypeError
from ..layers.torch_layout import Layout, Numbers
from ..linen.repeat import Repeat as LinenRepeat
from ..nnx.repeat import Repeat as NnxRepeat
from .placing import place_of, placed

Path: TypeAlias = tuple[str, ...]


@dataclasses.dataclass
class Leaf:
    """A variable to be loaded.

    Attributes:
      name: its name in messages.
      shape, dtype: shape and dtype of its value.
      required: whether loading must give it a value.
      get: the value.
      put: replaces it.
      place: gives the sharding of its next value.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    required: bool
    get: Callable[[], Any]
    put: Callable[[Any], None]
    place: Callable[[], Sharding | None]

    def store(self, value: Numbers, *, own: bool) -> None:
        """Replaces the value, keeping its dtype and its place.

        Unless the numbers are our `own`, they are copied: a PyTorch model may continue training in
        the same memory.
        """
        self.put(placed(value, self.dtype, self.place(), own=own))


@dataclasses.dataclass
class Target:
    """The variables and the layers of a module, by path.

    Attributes:
      leaves: the variables.
      layers: layers with a layout.
      places: for layers whose tensors PyTorch has under different paths: these paths, each with the
        suffix of the tensors' names.
      wrapped: for layers in a wrapper: the wrapper.
      stacks: the paths of `Repeat`s, with the number of layers in each, and of layers in a step.
      sequences: the paths of `Sequential`s, with the names of their layers.
      complete: whether all layers are known.
      result: gives the return value of `from_torch`.
    """

    leaves: dict[Path, Leaf] = dataclasses.field(default_factory=dict)
    layers: dict[Path, Any] = dataclasses.field(default_factory=dict)
    places: dict[Path, list[tuple[Path, str]]] = dataclasses.field(default_factory=dict)
    wrapped: dict[Path, Any] = dataclasses.field(default_factory=dict)
    stacks: list[tuple[Path, int, int]] = dataclasses.field(default_factory=list)
    sequences: list[tuple[Path, str]] = dataclasses.field(default_factory=list)
    complete: bool = True
    result: Callable[[], Any] = lambda: None

    def note(self, path: Path, layer: object, inner: Callable[[str], Path | None]) -> None:
        """Adds a layer; `inner` gives the path of a layer in one of its attributes."""
        if isinstance(layer, LinenRepeat | NnxRepeat):
            self.stacks.append((path, int(layer.length), int(layer.layers_per_block)))
        elif isinstance(layer, linen.Sequential | nnx.Sequential):
            names = "layers_{i}" if isinstance(layer, linen.Sequential) else "layers/{i}"
            self.sequences.append((path, names))
        layout: Layout | None = getattr(type(layer), "__torch_layout__", None)
        if layout is not None:
            self.layers[path] = layer
        cell = inner("cell")
        if cell is not None:
            self.places.setdefault(cell, []).append((path, "_l0"))
        for name, suffix in (("forward_rnn", "_l0"), ("backward_rnn", "_l0_reverse")):
            rnn = inner(name)
            if rnn is not None:
                # The inner layer may be noted before or after this one: both orders find its cell.
                self.places.setdefault(rnn, []).append((path, suffix))
        wrapped = inner("layer_instance")
        if wrapped is not None and layout is not None and layout.wraps is not None:
            self.wrapped[wrapped] = layer
            self.places.setdefault(wrapped, []).append((path, ""))

    def prefixes(self, path: Path) -> list[tuple[Path, str]]:
        """The paths that a layer's tensors may have in PyTorch, each with the names' suffix."""
        found: list[tuple[Path, str]] = []
        for place, suffix in self.places.get(path, []):
            found += [(outer, end) for outer, end in self.places.get(place, []) if end]
            found.append((place, suffix))
        return [*found, (path, "")]


def target_of(
    module: object,
    variables: Mapping[str, Any] | None,
    inputs: Sequence[object] | None,
    options: Mapping[str, Any] | None,
) -> Target:
    """The variables and layers of a module, for loading.

    Raises:
      ArgumentTypeError: `module` is not a module.
      ArgumentError: it is a linen module without variables and without inputs.
    """
    if isinstance(module, nnx.Module):
        if variables is not None:
            raise ArgumentError(
                "variables= is for linen modules; an nnx module holds its own.",
                hint="Leave it out.",
            )
        return _of_nnx(module)
    if isinstance(module, linen.Module):
        return _of_linen(module, variables, inputs, options or {})
    raise ArgumentTypeError(
        f"The target is a {type(module).__name__}, expected an nnx module or a linen module.",
        hint="Pass the module first, then the state dict.",
    )


def _of_nnx(module: nnx.Module) -> Target:
    target = Target(result=lambda: module)
    paths: dict[int, Path] = {}
    modules: list[tuple[Path, nnx.Module]] = []
    kept: list[tuple[tuple[Any, ...], Path]] = []
    for path, value in nnx.iter_graph(module):
        names = tuple(map(str, path))
        last = path[-1] if path else ""
        if isinstance(last, tuple):  # a wrapper's value for a parameter of its layer
            scale = ("scale",) if path[-2] == "scales" else ()
            names = _statistic(("layer_instance", *map(str, (*last, *scale))), names[:-2])
        if isinstance(value, nnx.Variable):
            _add_variable(target, names, value)
        elif isinstance(last, tuple) and isinstance(value, jax.Array):
            kept.append((path, names))
        elif isinstance(value, nnx.Module):
            paths[id(value)] = names
            modules.append((names, value))
    for path, names in kept:
        holder: Any = functools.reduce(_child, path[:-1], module)
        _add_item(target, names, holder, path[-1])
    for names, layer in modules:

        def inner(name: str, layer: nnx.Module = layer) -> Path | None:
            return paths.get(id(getattr(layer, name, None)))

        target.note(names, layer, inner)
    return target


def _child(parent: Any, name: object) -> Any:
    return getattr(parent, name) if isinstance(name, str) else parent[name]


def _add_item(target: Target, path: Path, items: dict[Any, Any], key: object) -> None:
    """Adds an array that is an item of a dict."""
    value = items[key]
    target.leaves[path] = Leaf(
        "/".join(path),
        tuple(value.shape),
        np.dtype(value.dtype),
        True,
        lambda: items[key],
        lambda new: items.__setitem__(key, new),
        lambda: place_of(items[key], "/".join(path)),
    )


def _add_variable(target: Target, path: Path, variable: nnx.Variable[Any]) -> None:
    value = variable.raw_value
    if not hasattr(value, "shape") or jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return
    target.leaves[path] = Leaf(
        "/".join(path),
        tuple(value.shape),
        np.dtype(value.dtype),
        isinstance(variable, nnx.Param | nnx.BatchStat),
        lambda: variable.raw_value,
        variable.set_value,
        lambda: place_of(variable.raw_value, "/".join(path), variable),
    )


def _statistic(inner: Path, wrapper: Path) -> Path:
    """The path of a wrapper's statistic, next to the parameter that it belongs to."""
    *above, parameter, name = inner
    return (*wrapper, *above, f"{parameter}:{name}")


def _of_linen(
    module: linen.Module,
    variables: Mapping[str, Any] | None,
    inputs: Sequence[object] | None,
    options: Mapping[str, Any],
) -> Target:
    target = Target()
    if inputs is not None and not isinstance(inputs, Sequence):
        raise ArgumentTypeError(
            f"inputs is a {type(inputs).__name__}, expected a list of a call's arguments.",
            hint="Pass inputs=[x].",
        )
    if inputs is None:
        if variables is None:
            raise ArgumentError(
                "A linen module has no variables of its own.",
                hint="Pass variables=, or inputs= for those that init makes, or both.",
            )
        target.complete = False
        _note_fields(target, module, ())
    else:
        shapes = _called(target, module, tuple(inputs), options)
        variables = shapes if variables is None else variables
    if not isinstance(variables, Mapping):
        raise ArgumentTypeError(
            f"variables is a {type(variables).__name__}, expected a mapping of collections.",
            hint='Pass what init returned: {"params": ...}.',
        )
    flat, structure = jax.tree_util.tree_flatten_with_path(variables, is_leaf=is_axis_metadata)
    values = [value for _, value in flat]
    for i, (keys, _) in enumerate(flat):
        collection, *names = (str(getattr(k, "key", getattr(k, "name", k))) for k in keys)
        if names and "/" in names[-1]:
            of_parameter = tuple(names[-1].split("/"))
            alone = of_parameter[0] == "layer_instance"
            names = list(_statistic(of_parameter, tuple(names[: -1 if alone else -2])))
        _add_value(target, tuple(names), collection, values, i)
    target.result = lambda: jax.tree_util.tree_unflatten(structure, values)
    return target


def _add_value(target: Target, path: Path, collection: str, values: list[Any], i: int) -> None:
    inside = contents(values[i])
    if not hasattr(inside, "shape") or jnp.issubdtype(inside.dtype, jax.dtypes.prng_key):
        return

    def put(value: object) -> None:
        box = values[i]
        values[i] = replace_boxed(box, value) if isinstance(box, AxisMetadata) else value

    target.leaves[path] = Leaf(
        "/".join((collection, *path)),
        tuple(inside.shape),
        np.dtype(inside.dtype),
        collection in ("params", "batch_stats"),
        lambda: contents(values[i]),
        put,
        lambda: place_of(contents(values[i]), "/".join((collection, *path))),
    )


def _note_fields(target: Target, module: linen.Module, path: Path) -> None:
    """The layers in the fields of a module that isn't called."""
    fields = [(f.name, getattr(module, f.name, None)) for f in dataclasses.fields(module)]
    inside = {n: v for n, v in fields if isinstance(v, linen.Module) and n != "parent"}
    target.note(path, module, lambda name: (*path, name) if name in inside else None)
    for name, value in inside.items():
        _note_fields(target, value, (*path, name))


def _called(
    target: Target, module: linen.Module, inputs: tuple[Any, ...], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Notes the layers that a call reaches; returns the shapes of the variables that it makes."""

    def interceptor(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: linen.InterceptorContext,
    ) -> object:
        result = next_fun(*args, **kwargs)
        for layer in _reached(context.module):
            path = tuple(layer.path)
            if path not in noted:
                noted.add(path)

                def inner(name: str, layer: linen.Module = layer) -> Path | None:
                    value = getattr(layer, name, None)
                    return tuple(value.path) if isinstance(value, linen.Module) else None

                target.note(path, layer.clone(parent=None), inner)
                # `note` keeps an unbound copy, but asks the bound one for its inner layers.
        return result

    noted: set[Path] = set()

    def init(key: Any, *args: Any) -> Any:
        with linen.intercept_methods(interceptor):
            return module.init(key, *args, **options)

    variables: Mapping[str, Any] = jax.eval_shape(init, jax.random.key(0), *inputs)
    return variables


def _reached(module: linen.Module) -> Iterator[linen.Module]:
    yield module
    for name in ("cell", "layer_instance"):
        inner = getattr(module, name, None)
        if isinstance(inner, linen.Module) and inner.scope is not None:
            yield inner
