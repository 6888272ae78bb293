"""What `Repeat` means, in linen and in nnx.

`Repeat(Block, n)(x)` computes what a Python loop over n identical layers computes:

    for layer in layers:              # layer 0, 1, ..., n - 1
        x = layer(x, *others)

but traces and compiles the layer once. The variables of all layers are stored together, stacked
along a new first axis, and a `jax.lax.scan` runs over that axis. Layer i draws the keys that it
would draw in the loop, so parameters and dropout masks are the loop's bit for bit, and a model can
switch between the two forms; `stacking` converts what was trained in one form to the other.

The first `carry` arguments go from layer to layer. All other arguments are the same for each layer,
except for those named in `per_layer`, which hold a value for each layer along their first axis.
What a layer returns besides the carried values is stacked along a new first axis.

With `layers_per_block=k`, a step of the loop runs k layers, which may differ. Values stored or
passed for each of n layers, [n, ...], then correspond to values for each step, [n / k, k, ...].
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .arrays import strong
from .errors import ArgumentError, ArgumentTypeError, ShapeError, counted
from .typing import PyTree


def steps_of(length: object, layers_per_block: object) -> int:
    """The number of steps of the loop.

    Raises:
      ArgumentError, ArgumentTypeError: one of them is not a positive integer, or the number of
        layers is not a multiple of `layers_per_block`.
    """
    layers, each = positive(length, "length"), positive(layers_per_block, "layers_per_block")
    if layers % each:
        raise ArgumentError(
            f"Repeat has length={layers}, which is not a multiple of layers_per_block={each}.",
            hint=f"Every step runs {counted(each, 'layer')}: pass"
            f" length={layers - layers % each or each}, or a different layers_per_block.",
        )
    return layers // each


def positive(value: object, name: str) -> int:
    """A positive integer.

    Raises:
      ArgumentTypeError, ArgumentError: `value` isn't one.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(
            f"{name} must be an integer, got {value!r:.40} of type {type(value).__name__}."
        ) from None
    if number < 1 or isinstance(value, bool):
        raise ArgumentError(f"{name} must be at least 1, got {value!r}.")
    return number


class Arguments:
    """The arguments of a call, sorted by what happens to them from layer to layer.

    Args:
      args, kwargs: the arguments.
      carry: the number of leading arguments that go from layer to layer.
      per_layer: numbers and names of the arguments with a value for each layer.
      steps, each: the number of steps, and of layers in a step.
      layers: the layers of a step, whose signatures say where a named argument is.

    Attributes:
      carried: the carried arguments, as arrays of strong types.
      shared: the positional arguments after them, and the keyword arguments.
      which: the numbers and names of the arguments with a value for each layer.
      sliced: these arguments, [steps, each, ...].

    Raises:
      ArgumentError: an argument that `carry` or `per_layer` counts on is missing, or no layer
        takes it.
      ShapeError: an argument for each layer has a different number of values.
    """

    def __init__(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        carry: int,
        per_layer: Sequence[int | str],
        steps: int,
        each: int,
        layers: Sequence[object] = (),
    ) -> None:
        if len(args) < carry:
            raise ArgumentError(
                f"Repeat passes {counted(carry, 'positional argument')} from layer to"
                f" layer (carry={carry}), got {len(args)}.",
                hint="Pass by position what each layer returns for the next one.",
            )
        self.carried: tuple[Any, ...] = strong(jax.tree.map(jnp.asarray, tuple(args[:carry])))
        rest, named = list(args[carry:]), dict(kwargs)
        which: list[int | str] = []
        sliced: list[Any] = []
        for argument in per_layer:
            name = argument
            if isinstance(name, str) and name not in named:
                position = _position(name, layers)
                if position is None or position >= len(args):
                    continue  # left at the layer's default
                name = position
            if name in which:
                continue  # by its number and by its name
            if isinstance(name, str):
                value, named[name] = named[name], None
            elif carry <= name < len(args):
                value, rest[name - carry] = rest[name - carry], None
            else:
                raise ArgumentError(
                    f"per_layer names argument {name} (counted from 0); Repeat got"
                    f" {counted(len(args), 'positional argument')}, of which it passes"
                    f" {'the first' if carry == 1 else f'the first {carry}'} from layer to layer.",
                )
            which.append(name)
            sliced.append(
                jax.tree_util.tree_map_with_path(
                    lambda path, x, name=name: _in_steps(x, path, name, steps, each), value
                )
            )
        self.shared = (tuple(rest), named)
        self.which = tuple(which)
        self.sliced = tuple(sliced)


def _position(name: str, layers: Sequence[object]) -> int | None:
    """The number of a layer's argument, from 0; None if it is passed by name alone.

    Raises:
      ArgumentError: no layer takes an argument of this name.
    """
    known: list[str] = []
    for layer in layers:
        try:
            parameters = inspect.signature(layer).parameters.values()  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        for number, parameter in enumerate(parameters):
            if parameter.kind is parameter.VAR_KEYWORD:
                return None
            if parameter.name == name:
                return None if parameter.kind is parameter.KEYWORD_ONLY else number
            known.append(parameter.name)
    if layers:
        kinds = ", ".join(dict.fromkeys(type(layer).__name__ for layer in layers))
        raise ArgumentError(
            f"per_layer names {name!r}, which {kinds} doesn't take. Its arguments are:"
            f" {', '.join(dict.fromkeys(known))}."
        )
    return None


def arguments_of(
    carried: Sequence[Any],
    shared: tuple[Sequence[Any], Mapping[str, Any]],
    which: Sequence[int | str],
    sliced: Sequence[Any],
    j: int,
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the j-th layer of a step: positional ones, and by keyword.

    Args:
      carried: the values that the previous layer returned.
      shared, which: as in `Arguments`.
      sliced: the step's part of `Arguments.sliced`, each value [each, ...].
      j: the number of the layer in its step.
    """
    rest, named = shared
    args, kwargs = [*carried, *rest], dict(named)
    for name, value in zip(which, sliced, strict=True):
        mine = jax.tree.map(lambda x: x[j], value)
        if isinstance(name, str):
            kwargs[name] = mine
        else:
            args[name] = mine
    return args, kwargs


def _in_steps(x: PyTree, path: PyTree, which: int | str, steps: int, each: int) -> jax.Array:
    shape = jnp.shape(x)
    if not shape or shape[0] != steps * each:
        name = f"{which!r}" if isinstance(which, str) else f"number {which}"
        raise ShapeError(
            f"The argument {name}{jax.tree_util.keystr(path)} of Repeat has a value for each layer"
            f" (per_layer): expected the shape [{steps * each}, ...], got {shape}.",
            hint="Stack the layers' values along a new first axis.",
        )
    return jnp.reshape(x, (steps, each, *shape[1:]))  # [steps, each, ...]


def divide(output: PyTree, carried: Sequence[Any], layer: str) -> tuple[tuple[Any, ...], Any]:
    """The carried values and the rest of what a layer returned.

    Args:
      output: what the layer returned.
      carried: what it got.
      layer: names the layer in messages.

    Raises:
      ArgumentError: the layer doesn't return what it passes on.
      ShapeError, ArgumentTypeError: it returns it in a different shape, or of a different type.
    """
    if len(carried) == 1:
        structure: PyTree = jax.tree.structure(carried[0])
        if jax.tree.structure(output) == structure:
            return _same((output,), carried, layer), ()
        if isinstance(output, tuple) and output and (jax.tree.structure(output[0]) == structure):
            return _same(output[:1], carried, layer), output[1:]
        raise ArgumentError(
            f"{layer} got {structure} as its first argument and returned"
            f" {jax.tree.structure(output)}.",
            hint="Repeat passes a layer's output to the next layer: return a value like the first"
            " argument, or a tuple that begins with one.",
        )
    n = len(carried)
    if not isinstance(output, tuple) or len(output) < n:
        got = type(output).__name__
        if isinstance(output, tuple):
            got = counted(len(output), "value")
        raise ArgumentError(
            f"{layer} passes {counted(n, 'value')} to the next layer (carry={n}) and returned"
            f" {got}.",
            hint="Return a tuple that begins with the new values of the first"
            f" {counted(n, 'argument')}.",
        )
    for i, (new, old) in enumerate(zip(output, carried, strict=False)):
        structures: list[Any] = [jax.tree.structure(x) for x in (old, new)]
        if structures[0] != structures[1]:
            raise ArgumentError(
                f"{layer} got {structures[0]} as argument {i} and returned {structures[1]} for the"
                " next layer.",
                hint="What goes from layer to layer must keep its structure.",
            )
    return _same(output[:n], carried, layer), output[n:]


def _same(new: tuple[Any, ...], old: Sequence[Any], layer: str) -> tuple[Any, ...]:
    new = strong(jax.tree.map(jnp.asarray, new))
    for after, before in zip(jax.tree.leaves(new), jax.tree.leaves(tuple(old)), strict=True):
        if after.shape != before.shape:
            raise ShapeError(
                f"{layer} got an array of shape {before.shape} and returned one of {after.shape}.",
                hint="Equal layers need inputs of one shape: each one's output is the next one's"
                " input.",
            )
        if after.dtype != before.dtype:
            raise ArgumentTypeError(
                f"{layer} got an array of type {before.dtype} and returned one of {after.dtype}.",
                hint=f"Pass x.astype({str(after.dtype)!r}), or make the layer compute in"
                f" {before.dtype} (dtype=).",
            )
    return new


def unrolled(unroll: int | bool, steps: int) -> bool:
    """Whether a loop of this many steps is unrolled completely when it is compiled."""
    return steps <= (steps if unroll is True else max(int(unroll), 1))


def along_layers(outputs: Sequence[PyTree]) -> PyTree:
    """Joins the outputs of the layers of a step, each [steps, ...], to [steps · each, ...].

    Raises:
      ArgumentError: the layers of a step return different structures.
    """
    if len(outputs) == 1:
        return outputs[0]
    structures: list[Any] = [jax.tree.structure(y) for y in outputs]
    for j, structure in enumerate(structures):
        if structure != structures[0]:
            raise ArgumentError(
                f"The layers of a step return {structures[0]} (number 0) and {structure} (number"
                f" {j}) besides the carried values.",
                hint="Outputs of all layers are stacked, so their structures must agree.",
            )

    def join(*parts: PyTree) -> jax.Array:
        stacked = jnp.stack(parts, axis=1)  # [steps, each, ...]
        return jnp.reshape(stacked, (-1, *stacked.shape[2:]))  # [steps · each, ...]

    return jax.tree.map(join, *outputs)


def whole(carried: tuple[Any, ...], extra: tuple[Any, ...]) -> PyTree:
    """What a call returns, in the form in which a layer returns it."""
    if extra:
        return (*carried, *extra)
    return carried[0] if len(carried) == 1 else carried
