"""`Repeat`: n identical layers, traced and compiled once.

The constructor runs in a loop that carries the random streams, so that layer i draws what the i-th
constructor of a Python loop would draw; its variables come out stacked. Calls are `nnx.scan` over
the variables. A stream that a layer received from outside and keeps is not stacked: all layers
share it, and the loop carries it.
"""

from __future__ import annotations

import functools
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from ..errors import ArgumentError, ArgumentTypeError, counted
from ..recomputing import Policy, recomputing, rematerialize
from ..repeating import Arguments, along_layers, arguments_of, divide, steps_of, unrolled, whole
from ..stacking import renaming
from ..typing import Output, PyTree
from .filters import PathIn
from .module import Module
from .nodes.pytree import Pytree
from .streams.rngs import Rngs, RngStream
from .structure.graph import clone, merge, split, state
from .structure.iteration import follow, items_of, iter_graph
from .structure.states import Path, path_text
from .structure.updating import update
from .transforms.scan import Scan, scan
from .transforms.scan_specs import Carry
from .transforms.tree_mode import Modes
from .transforms.vmap import StateAxes
from .variable.sharding_metadata import PARTITION_NAME, add_axis_name, remove_axis_name
from .variable.variable import Variable

Block = Callable[..., Module]
Layer = TypeVar("Layer", bound=Module)
_Shared = (Pytree, Variable)


class Repeat(Module, Generic[Layer]):
    """Applies n identical layers in sequence, and traces and compiles the layer once.

    Computes the same result as a Python loop over a list of layers, with the same parameters, but
    the time to trace and compile doesn't grow with the number of layers.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Block(nnx.Module):
    ...     def __init__(self, width, rngs):
    ...         self.kernel = nnx.Param(rngs.params.normal((width, width)))
    ...     def __call__(self, x):
    ...         return x + jnp.tanh(x @ self.kernel)
    >>> model = nnx.Repeat(Block, 24, 4, rngs=nnx.Rngs(0))
    >>> model.block.kernel.shape
    (24, 4, 4)
    >>> model(jnp.ones((2, 4))).shape
    (2, 4)

    Each variable, including batch statistics, caches and sown values, is one array for all layers,
    [n, ...]. `stack_layers` and `unstack_layers` convert the state, and optimizer states, of a list
    of layers.

    Args:
      block: the class of the layer, or a function that makes it. A sequence of them makes layers
        that alternate.
      length: n, the number of layers.
      *args, **kwargs: the arguments of the layer's constructor.
      rngs: the layer's random streams, passed to its constructor if they are given.
      carry: the number of leading positional arguments that a layer returns for the next one. A
        layer returns these, in a tuple if there are several, or a tuple that begins with them; the
        rest is stacked along a new first axis. All other arguments are the same for each layer.
      per_layer: numbers (from 0) and names of arguments with a value for each layer along their
        first axis, [n, ...].
      layers_per_block: the number of layers, k, in a step of the loop. `block` may then be a
        function whose first argument is the number of the layer in its step, 0 to k - 1. The layers
        are the attributes `block_0` to `block_{k-1}`, with variables [n / k, ...].
      remat: what the backward pass recomputes instead of storing it. The default recomputes cheap
        operations, since a loop is faster with less to write, but stores everything in layers with
        loops or effects. False stores everything, and True nothing. Otherwise, the name of a
        policy ("nothing", "dots", "dots_no_batch", "everything": what is kept), or a policy of
        `jax.checkpoint_policies`, including one that offloads values by name.
      unroll: the number of steps in one iteration of the compiled loop; True for all of them.
      axis_name: the name of the layers' axis in sharding metadata.

    Attributes:
      block: the layer whose variables are those of all layers.
      length: n.

    Raises:
      ArgumentError, ArgumentTypeError: an option is out of range; a layer doesn't return what it
        passes on.
      ShapeError: a layer's output has a different shape from its input.
    """

    block: Layer

    def __init__(
        self,
        block: Callable[..., Layer] | Sequence[Callable[..., Layer]],
        length: int,
        /,
        *args: PyTree,
        rngs: Rngs | RngStream | None = None,
        carry: int = 1,
        per_layer: Sequence[int | str] = (),
        layers_per_block: int = 1,
        remat: bool | str | Policy | None = None,
        unroll: int | bool = 1,
        axis_name: str | None = None,
        **kwargs: PyTree,
    ) -> None:
        makers, each = _makers(block, layers_per_block)
        steps = steps_of(length, each)
        rematerialize(remat)
        self.length = int(length)
        self.carry = carry
        self.per_layer = tuple(per_layer)
        self.layers_per_block = each
        self.remat = remat
        self.unroll = unroll
        self.axis_name = axis_name
        blocks, found = _made(makers, steps, args, kwargs, rngs, axis_name)
        for name, made in zip(self._names, blocks, strict=True):
            setattr(self, name, made)
        self._shared = tuple(path for path, _ in found)
        originals = dict(iter_graph(rngs))
        for path, where in found:
            _put(blocks, path, originals[where])

    @property
    def _names(self) -> tuple[str, ...]:
        each = self.layers_per_block
        return ("block",) if each == 1 else tuple([f"block_{j}" for j in range(each)])

    def __len__(self) -> int:
        return self.length

    def __call__(self, *args: PyTree, **kwargs: PyTree) -> Output:
        """Applies the layers; the arguments are those of a layer."""
        each = self.layers_per_block
        steps = self.length // each
        blocks = [getattr(self, name) for name in self._names]
        given = Arguments(args, kwargs, self.carry, self.per_layer, steps, each, blocks)
        loop = _loop(
            steps, given.which, self.remat, self.unroll, self.axis_name, self._carried_paths()
        )
        carried, extras = loop(blocks, given.carried, given.shared, given.sliced)
        return whole(carried, along_layers(extras))

    def _first_step(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """The layers of the first step as separate modules, and a function that runs them.

        Used for tables, which show what happens inside a layer.
        """
        each = self.layers_per_block
        blocks = [getattr(self, name) for name in self._names]
        steps = self.length // each
        given = Arguments(args, kwargs, self.carry, self.per_layer, steps, each, blocks)
        shared = PathIn(*self._carried_paths())
        graphdef, same, stacked = split(blocks, shared, ...)
        first = merge(graphdef, same, jax.tree.map(lambda x: x[0], stacked))
        sliced = jax.tree.map(lambda x: x[0], given.sliced)
        return first, lambda: _step(first, given.carried, given.shared, given.which, sliced)

    def _carried_paths(self) -> tuple[Any, ...]:
        """The paths of variables that all layers share."""
        blocks = [getattr(self, name) for name in self._names]
        found: list[Any] = []
        for path in self._shared:
            held = follow(blocks, path)
            if isinstance(held, Variable):
                found.append(path)
            else:
                found += [(*path, *below) for below, _ in state(held).flat_state()]
        return tuple(found)


@functools.lru_cache(maxsize=256)
def _loop(
    steps: int,
    which: tuple[int | str, ...],
    remat: bool | str | Policy | None,
    unroll: int | bool,
    axis_name: str | None,
    shared: tuple[Any, ...],
) -> Callable[..., Any]:
    """The loop over the layers of each `Repeat` with these options, compiled once for each form."""

    def step(blocks: PyTree, carried: PyTree, rest: PyTree, sliced: PyTree) -> PyTree:
        return _step(blocks, carried, rest, which, sliced)

    axes: PyTree = StateAxes({PathIn(*shared): Carry, ...: 0}) if shared else 0
    looped = not unrolled(unroll, steps)
    return Scan(
        step,
        (axes, Carry, None, 0),
        (Carry, 0),
        steps,
        {PARTITION_NAME: axis_name},
        Modes(None, None),
        functools.partial(recomputing, remat=remat, looped=looped),
        unroll=unroll,
    )


def _step(
    blocks: Sequence[Any], carried: Any, rest: Any, which: Sequence[int | str], sliced: Any
) -> tuple[Any, list[Any]]:
    """Applies the layers of a step; returns the last one's carry, and the other results of each."""
    extras = []
    for j, block in enumerate(blocks):
        args, kwargs = arguments_of(carried, rest, which, sliced, j)
        output = block(*args, **kwargs)
        carried, extra = divide(output, carried, f"The layer {type(block).__name__}")
        extras.append(extra)
    return carried, extras


def _makers(block: PyTree, each: PyTree) -> tuple[list[Block], int]:
    """The constructors of the layers of a step, and their number."""
    if isinstance(block, (list, tuple)):
        if each not in (1, len(block)):
            raise ArgumentError(
                f"Repeat got {counted(len(block), 'block')} and layers_per_block={each}.",
                hint="Leave layers_per_block out: it is the number of blocks.",
            )
        if not block:
            raise ArgumentError("Repeat got an empty sequence of blocks.")
        made, each = list(block), len(block)
    else:
        steps_of(each, each)
        numbered = each > 1 and not isinstance(getattr(block, "func", block), type)
        made = [functools.partial(block, j) if numbered else block for j in range(each)]
    for one in made:
        if isinstance(one, Module) or not callable(one):
            raise ArgumentTypeError(
                f"block is {'an instance of ' if isinstance(one, Module) else ''}"
                f"{type(one).__name__}, expected a class or a function that makes a layer.",
                hint="Write nnx.Repeat(Block, 24, *arguments, rngs=rngs): each layer needs"
                " parameters of its own.",
            )
    return made, each


def _made(
    makers: Sequence[Block],
    steps: int,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    rngs: PyTree,
    axis_name: str | None,
) -> tuple[list[Any], list[tuple[Path, Path]]]:
    """The layers of a step, with stacked variables, and the objects that they share with `rngs`.

    The latter are listed as pairs: a path in the list of layers, and a path in `rngs`.
    """
    has_streams = isinstance(rngs, (Rngs, RngStream))
    found: list[tuple[Path, Path]] = []

    def make(carried: PyTree) -> tuple[Any, list[Any]]:
        # A copy, because an object that is carried can't come out stacked.
        streams = clone(carried) if has_streams else rngs
        named = kwargs if rngs is None else kwargs | {"rngs": streams}
        blocks = [_checked(maker(*args, **named)) for maker in makers]
        if has_streams:
            update(carried, state(streams))
            places = {id(n): p for p, n in iter_graph(streams) if isinstance(n, _Shared)}
            found[:] = _references(blocks, (), places, set())
        return carried, blocks

    loop = scan(
        make,
        length=steps,
        in_axes=(Carry,),
        out_axes=(Carry, 0),
        transform_metadata={PARTITION_NAME: axis_name},
    )
    _, blocks = loop(rngs if has_streams else jnp.zeros(()))
    return blocks, found


def _checked(made: PyTree) -> Module:
    if not isinstance(made, Module):
        raise ArgumentTypeError(
            f"block made {type(made).__name__}, expected an nnx module.",
            hint="A block is the class of a layer, or a function that makes one.",
        )
    return made


def _references(
    value: PyTree, path: Path, places: Mapping[int, Path], seen: set[int]
) -> Iterator[tuple[Path, Path]]:
    """The paths below `value` that lead to objects in `places`, each with the object's place."""
    if isinstance(value, _Shared):
        if id(value) in places:
            yield path, places[id(value)]
            return
        if id(value) in seen:
            return
        seen.add(id(value))
    for name, _, child in items_of(value):
        yield from _references(child, (*path, name), places, seen)


def _put(blocks: object, path: Path, new: object) -> None:
    holder = follow(blocks, path[:-1])
    key = next(key for name, key, _ in items_of(holder) if name == path[-1])
    if isinstance(holder, Pytree):
        setattr(holder, key, new)
    elif isinstance(holder, MutableMapping | MutableSequence):
        holder[key] = new
    else:
        raise ArgumentError(
            f"A layer of Repeat keeps a random stream in a {type(holder).__name__}, at"
            f" {path_text(path[1:])}.",
            hint="Keep it as an attribute of a module, or keep stream.fork().",
        )


def _rename_variables(tree: PyTree, axis_name: str | None, add: bool) -> PyTree:
    change = add_axis_name if add else remove_axis_name

    def renamed(leaf: PyTree) -> PyTree:
        if not isinstance(leaf, Variable):
            return leaf
        copy = leaf.copy()
        change(copy, 0, axis_name)
        return copy

    return jax.tree.map(renamed, tree, is_leaf=lambda x: isinstance(x, Variable))


renaming.append(_rename_variables)
