"""`Repeat`: n identical layers, traced and compiled once.

The loop is a lifted transform like `scan`, in which every collection has the layers along its first
axis. It differs in its keys: where `scan` splits the keys of a step, `Repeat` gives layer i the
keys of the module that a Python loop would have made, `Block_i`. A key is derived from the root key
by one number, a hash of the path and the count of draws (see `rng`), so the keys of all layers
differ in this number alone: in the body, it is taken from a table, by the number of the layer
(`_LayerHash`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ArgumentError, ArgumentTypeError, counted
from ..recomputing import Policy, recomputing, rematerialize
from ..repeating import Arguments, along_layers, arguments_of, divide, steps_of, unrolled, whole
from ..tracebacks import named_after
from ..typing import Output, PyTree
from .axes import add_axis, axis_sizes, one_size, remove_axis, variable_name
from .context import outside
from .lifting import Lift
from .methods import compact
from .module import Module
from .passages import Loop
from .rng import PathHash
from .sharding.partitioned import PARTITION_NAME

Block = Module | Callable[..., Module]


class Repeat(Module):
    """Applies n identical layers in sequence, and traces and compiles the layer once.

    Computes what `for layer in layers: x = layer(x)` computes, with the parameters that it would
    have; the time to trace and compile doesn't grow with the number of layers.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen as nn
    >>> class Block(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         kernel = self.param("kernel", jax.nn.initializers.lecun_normal(), (4, 4))
    ...         return x + jnp.tanh(x @ kernel)
    >>> model = nn.Repeat(Block, 24)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 4)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'block': {'kernel': (24, 4, 4)}}}
    >>> model.apply(variables, jnp.ones((2, 4))).shape
    (2, 4)

    Each variable is one array for all layers, [n, ...]; this includes batch statistics, caches and
    sown values. `stack_layers` and `unstack_layers` convert the variables, and
    optimizer states, of the Python loop.

    Attributes:
      block: the layer: a module, or a class or function without arguments that makes one. A
        sequence of them makes layers that alternate.
      length: n, the number of layers.
      carry: the number of leading positional arguments that a layer returns for the next one. A
        layer returns these, in a tuple if there are several, or a tuple that begins with them; the
        rest is stacked along a new first axis. All other arguments are the same for each layer.
      per_layer: numbers (from 0) and names of arguments with a value for each layer along their
        first axis, [n, ...].
      layers_per_block: the number of layers, k, in a step of the loop. `block` may then be a
        function of the number of the layer in its step, 0 to k - 1. The layers' variables are in
        "block_0" to "block_{k-1}", [n / k, ...].
      remat: what the backward pass recomputes instead of keeping. The default recomputes what is
        cheap, since a loop is faster if it stores less, but keeps everything in layers
        with loops or effects. False keeps everything, and True nothing. Otherwise, the name of a
        policy ("nothing", "dots", "dots_no_batch" or "everything", named for what is kept), or a
        policy of `jax.checkpoint_policies`, including one that offloads values by name.
      unroll: the number of steps in one iteration of the compiled loop; True for all of them.
      names: the names of the modules of the loop whose keys the layers draw, with "{i}" for the
        number of the layer. By default, "layers_{i}" if the module's name is "layers", and
        "Block_{i}" if it has an automatic one, with `i` continuing where other layers of the
        parent ended.
      draws: "loop", or "scan" for the keys of `nn.scan` with `split_rngs={True: True}`.
      axis_name: the name of the layers' axis in partitioning metadata.

    Raises:
      ArgumentError, ArgumentTypeError: an option is out of range; a layer doesn't return what it
        passes on.
      ShapeError: a layer's output has a different shape from its input, or the variables have a
        different number of layers.
    """

    block: Block | Sequence[Block]
    length: int
    carry: int = 1
    per_layer: Sequence[int | str] = ()
    layers_per_block: int = 1
    remat: bool | str | Policy | None = None
    unroll: int | bool = 1
    names: str | None = None
    draws: str = "loop"
    axis_name: str | None = None

    def __post_init__(self) -> None:
        blocks, each = _templates(self.block, self.layers_per_block)
        steps_of(self.length, each)
        rematerialize(self.remat)
        if self.draws not in ("loop", "scan"):
            raise ArgumentError(
                f"Repeat got draws={self.draws!r}.",
                hint='Pass "loop" for the keys of a Python loop, or "scan" for those of nn.scan.',
            )
        if self.names is not None and "{i}" not in self.names:
            raise ArgumentError(
                f"Repeat got names={self.names!r}, the same for all layers.",
                hint='Write "{i}" where the number of the layer belongs: names="block_{i}".',
            )
        attributes = self.__dict__
        _release(self.block)
        attributes["block"] = blocks[0] if len(blocks) == 1 else blocks
        attributes["layers_per_block"] = each
        automatic = self.name is None
        super().__post_init__()
        parent = self.parent
        if automatic and self.names is None and isinstance(parent, Module) and self.name:
            attributes["names"] = _go_on(parent, blocks, int(self.length))

    @property
    def _times(self) -> int:
        """How many times each of its layers exists; read by `summary`, which can't import this."""
        return steps_of(self.length, self.layers_per_block)

    @compact
    def __call__(self, *args: PyTree, **kwargs: PyTree) -> Output:
        """Applies the layers; the arguments are those of a layer."""
        return _repeat(self, args, kwargs)


def _templates(block: PyTree, each: PyTree) -> tuple[tuple[Module, ...], int]:
    """The layers of a step as unbound modules, and their number."""
    if isinstance(block, (list, tuple)):
        if each not in (1, len(block)):
            raise ArgumentError(
                f"Repeat got {counted(len(block), 'block')} and layers_per_block={each}.",
                hint="Leave layers_per_block out: it is the number of blocks.",
            )
        each = len(block)
        made = [_template(b, None) for b in block]
    else:
        steps_of(each, each)
        made = [_template(block, j if each > 1 else None) for j in range(each)]
    if not made:
        raise ArgumentError("Repeat got an empty sequence of blocks.")
    return tuple(made), each


def _template(block: PyTree, j: int | None) -> Module:
    if isinstance(block, Module):
        # A block that was made where Repeat is made has become a child of the same parent.
        return block.clone(parent=None, name=None)
    if not callable(block):
        raise ArgumentTypeError(
            f"block is {block!r:.60}, expected a module, or a class or function that makes one.",
            hint="Write nn.Repeat(Block, 24), or nn.Repeat(functools.partial(Block, width), 24).",
        )
    is_class = isinstance(getattr(block, "func", block), type)
    with outside():
        made = block() if j is None or is_class else block(j)
    if not isinstance(made, Module):
        raise ArgumentTypeError(
            f"block made {type(made).__name__}, expected a linen module.",
            hint="A block is a module, or a class or function without arguments that makes one.",
        )
    return made.clone(parent=None, name=None)


def _release(block: PyTree) -> None:
    """Takes a block out of the parent in whose compact method it was just made."""
    for made in block if isinstance(block, (list, tuple)) else [block]:
        parent = made.parent if isinstance(made, Module) else None
        if not isinstance(parent, Module) or made.scope is None or made.name is None:
            continue
        kind, _, number = made.name.rpartition("_")
        cursors = parent._state.cursors
        if kind == type(made).__name__ and number == str(cursors.get(kind, 0) - 1):
            cursors[kind] -= 1
            parent._state.children.pop(made.name, None)
            parent.scope.names.pop(made.name, None)  # type: ignore[union-attr]


def _go_on(parent: Module, blocks: Sequence[Module], length: int) -> str | None:
    """Takes the automatic names of a loop's layers in `parent`; returns the names' pattern."""
    kinds = {type(block).__name__ for block in blocks}
    if len(kinds) > 1:
        return None
    (kind,) = kinds
    cursors = parent._state.cursors
    first = cursors.get(kind, 0)
    cursors[kind] = first + length
    return f"{kind}_{{i}}" if first == 0 else f"{kind}_{{i+{first}}}"


def _names(module: Repeat, blocks: Sequence[Module]) -> list[str]:
    """The name that each layer has in the Python loop."""
    n = int(module.length)
    pattern = module.names
    if pattern is None and module.name is not None:
        pattern = f"{module.name}_{{i}}"
    if pattern is None:
        counts: dict[str, int] = {}
        names = []
        for i in range(n):
            kind = type(blocks[i % len(blocks)]).__name__
            names.append(f"{kind}_{counts.get(kind, 0)}")
            counts[kind] = counts.get(kind, 0) + 1
        return names
    return [_filled(pattern, i) for i in range(n)]


def _filled(pattern: str, i: int) -> str:
    head, _, rest = pattern.partition("{i+")
    if rest:
        first, _, tail = rest.partition("}")
        return f"{head}{i + int(first)}{tail}"
    return pattern.replace("{i}", str(i))


class _LayerHash(PathHash):
    """The hashes of all layers' paths; each step of a loop uses those of its own layer.

    Args:
      hashes: the hash of each layer, by step. In a loop within a loop, each of them holds the
        hashes of the outer loop's layers in turn.
      step: the number of the step, which may be traced.
    """

    __slots__ = ("_hashes", "_step")

    def __init__(self, hashes: Sequence[PathHash], step: PyTree) -> None:
        self.separate = hashes[0].separate
        self.names = hashes[0].names
        self._hashes = hashes
        self._step = step

    def child(self, name: str) -> PathHash:
        return _LayerHash([h.child(name) for h in self._hashes], self._step)

    def extended(self, suffix: Iterable[int | str]) -> PathHash:
        suffix = tuple(suffix)
        return _LayerHash([h.extended(suffix) for h in self._hashes], self._step)

    def number(self, n: int) -> np.uint32 | jax.Array:
        return self._of_step(lambda layer: layer.number(n))

    def numbers(self, n: int) -> np.ndarray[Any, Any]:
        table: np.ndarray[Any, Any] = self._table(lambda layer: layer.number(n))[0]
        return table.T

    def digest(self) -> np.uint32 | jax.Array:
        return self._of_step(lambda layer: layer.digest())

    def _of_step(self, number_of: Callable[[PathHash], Any]) -> jax.Array:
        table, steps = self._table(number_of)
        return jnp.asarray(table)[steps]

    def _table(self, number_of: Callable[[PathHash], Any]) -> tuple[Any, tuple[Any, ...]]:
        """The numbers of all layers, uint32 [steps, steps of the loop around it, ...]."""
        outer: tuple[Any, ...] = ()
        rows = []
        for layer in self._hashes:
            if isinstance(layer, _LayerHash):
                row, outer = layer._table(number_of)
            else:
                row = number_of(layer)
            rows.append(row)
        return np.array(rows, np.uint32), (self._step, *outer)


def _repeat(module: Repeat, args: Sequence[Any], kwargs: dict[str, Any]) -> PyTree:
    blocks: tuple[Module, ...] = _blocks_of(module)
    each = len(blocks)
    steps = steps_of(module.length, each)
    names = _names(module, blocks)
    assert module.scope is not None
    above = module.scope.hash_above()
    hashes = [above.child(name) for name in names]
    lift = Lift(lambda *_: None, module, args, kwargs)
    if len(lift.roots) > 1:
        shared = "/".join(lift.roots[1].path) or "the outermost module"
        raise ArgumentError(
            f"A layer of Repeat uses a module from outside it, at {shared}.",
            hint="Variables of Repeat exist once for each layer. Call the shared module outside,"
            " and pass its output as an argument.",
        )
    arguments = Arguments(
        lift.args, lift.kwargs, int(module.carry), module.per_layer, steps, each, blocks
    )
    metadata = {PARTITION_NAME: module.axis_name}
    # A box is updated while its value has the axis, because it may change the value, too.
    variables = remove_axis(lift.collections(True), 0, metadata)
    one_size([axis_sizes(0, variables, variable_name)], steps, "numbers of layers", "length")
    split = module.draws == "scan"
    keys = lift.keys(True)
    if split:
        keys = jax.tree.map(lambda key: jax.random.split(key, steps), keys)
    mutable = lift.mutable(True)
    draws = module.scope.draws
    counts = draws.snapshot()
    lift.follow_draws(lambda _: (Loop(steps, 0, split, numbered=not split),))

    def step(carried: PyTree, slices: PyTree, concrete: bool) -> PyTree:
        i, variables, sliced, own_keys = slices
        extras: list[Any] = []

        def run(clone: PyTree, *rest: PyTree, **named: PyTree) -> PyTree:
            nonlocal carried
            for j, block in enumerate(_blocks_of(clone)):
                if not split:
                    assert block.scope is not None
                    block.scope._hash = _LayerHash(hashes[j::each], i)
                    block.scope._above = block.scope._hash  # for a Repeat that is itself a layer
                args, kwargs = arguments_of(carried, (rest, named), arguments.which, sliced, j)
                output: PyTree = block(*args, **kwargs)  # type: ignore[operator]
                carried, extra = divide(output, carried, f"The layer {type(block).__name__}")
                extras.append(extra)

        if not split:
            draws.reset(counts)  # every layer counts its own draws
        _, changed = lift.run(
            variables,
            own_keys if split else keys,
            mutable,
            *arguments.shared,
            call=run,
            concrete=concrete,
        )
        return carried, (extras, changed)

    slices = (np.arange(steps), variables, arguments.sliced, keys if split else ())
    concrete = lift.frame.concrete
    if concrete:
        # With abstract inputs, initial values are computed in a Python loop, outside any trace.
        carried, found = arguments.carried, []
        for i in range(steps):
            carried, out = step(carried, jax.tree.map(lambda x, i=i: x[i], slices), True)
            found.append(out)
        extras, changed = _stacked(found)
    else:
        body: Callable[..., Any] = functools.partial(step, concrete=False)
        if not lift.frame.initializing:
            body = recomputing(body, module.remat, looped=not unrolled(module.unroll, steps))
        if split:
            # nn.scan traces its body twice, and counts the draws of both traces.
            jax.eval_shape(body, arguments.carried, jax.tree.map(lambda x: x[0], slices))
        carried, (extras, changed) = jax.lax.scan(
            named_after(type(blocks[0]).__call__, body),
            arguments.carried,
            slices,
            length=steps,
            unroll=module.unroll,
        )
    lift.store(add_axis(changed, 0, metadata))
    return whole(carried, along_layers(extras))


def _stacked(found: Sequence[Any]) -> PyTree:
    def stack(*values: PyTree) -> PyTree:
        if isinstance(values[0], jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct((len(values), *values[0].shape), values[0].dtype)  # type: ignore[no-untyped-call]
        return jnp.stack(values)

    return jax.tree.map(stack, *found)


def _blocks_of(module: Repeat) -> tuple[Module, ...]:
    block: PyTree = module.block
    return tuple(block) if isinstance(block, list | tuple) else (block,)
