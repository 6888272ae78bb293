"""`cond` and `switch`, `while_loop` and `fori_loop` with modules among the operands.

All branches, and all iterations of a loop, return every value, so that jax sees the same outputs
whichever values a branch changed; the resulting structures must be equal, too. Only values that
some branch or iteration wrote to reach the caller's objects.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ...errors import ArgumentError, ArgumentTypeError
from ...tracebacks import entry, named_after
from ...typing import Output, PyTree
from ..structure.bundle import Bundle, Hole, detach_nodes, put_back
from ..structure.effect import After, Effect, Inside
from ..structure.states import path_text
from .calling import names_of, resolve
from .prefixes import join_text, place_text
from .replacing import Carried, Kept
from .tree_mode import Modes
from .wording import form_text, tree_text

C = TypeVar("C")  # a carry: a tree of arrays and modules
R = TypeVar("R")


def _bundled(tree: PyTree, modes: Modes, name: str) -> tuple[Any, Bundle]:
    roots: list[Any] = []
    modes.check(tree, name)
    tree = detach_nodes(tree, roots, {})
    return tree, Bundle(roots)


def _same_effects(effects: Sequence[Effect], names: Sequence[str], what: str) -> None:
    first = effects[0]
    for effect, name in zip(effects[1:], names[1:], strict=True):
        if effect == first:
            continue
        a, b = set(first.graphdef.paths), set(effect.graphdef.paths)
        only = [f"{names[0]} has {path_text(p)}" for p in sorted(a - b, key=str)]
        only += [f"{name} has {path_text(p)}" for p in sorted(b - a, key=str)]
        raise ArgumentError(
            f"nnx.{what} branch outputs must have the same pytree structure, but the modules that"
            f" {names[0]} and {name} leave behind differ"
            + (f": {'; '.join(only[:4])}." if only else " in static attributes or sharing."),
            hint="Make new variables before the branch, and only set values in it.",
        )


def _where(i: int, bundle: Bundle, detached: object, names: Sequence[str] | None = None) -> str:
    """The location of a leaf among the operands, as the user would write it."""
    path = bundle.graphdef.paths[i]
    root, path = (path[0], path[1:]) if bundle.graphdef.num_roots != 1 else (0, path)
    found, _ = jax.tree_util.tree_flatten_with_path(detached, is_leaf=lambda x: type(x) is Hole)
    place = next(p for p, x in found if type(x) is Hole and x.index == root)
    return join_text(place_text(place, names), path)


def _types(value: object) -> list[tuple[tuple[int, ...], Any]]:
    """The shapes and dtypes of the arrays in a value."""
    leaves = jax.tree_util.tree_leaves(value)
    return [(getattr(x, "shape", ()), getattr(x, "dtype", type(x))) for x in leaves]


def _type_text(types: Iterable[tuple[tuple[int, ...], Any]]) -> str:
    return ", ".join(
        [f"{getattr(d, 'name', d)}[{','.join(map(str, shape))}]" for shape, d in types]
    )


class _Done:
    """The effect of a branch or iteration on its objects, without references to them."""

    def __init__(self, after: After, values: Sequence[Any], output: Output) -> None:
        self.plan = after.plan
        self.form = _shape(output)
        self.types = list(map(_types, values))
        self.written = after.written()
        self.effect = self.plan.effect(range(len(after.sources)))


def _branches(
    functions: Sequence[Callable[..., Any]], bundle: Bundle, done: dict[int, _Done], modes: Modes
) -> list[Callable[..., Any]]:
    def branch(i: int) -> Callable[..., Any]:
        fun, bound = resolve(functions[i])

        def run(values: list[Any], operands: tuple[Any, ...]) -> object:
            inside = Inside(bundle.graphdef, values, modes.tree)
            output = inside.call(fun, (*bound, *operands), {})
            outcome = inside.leave(output, everything=True)
            done[i] = _Done(inside.after, outcome.values, outcome.output)
            return outcome.output, outcome.values

        return named_after(fun, run)

    return [branch(i) for i in range(len(functions))]


def _select(
    select: Callable[..., Any],
    functions: Sequence[Callable[..., Any]],
    operands: tuple[Any, ...],
    modes: Modes,
    name: str,
) -> Any:  # the outputs of the branches
    detached, bundle = _bundled(operands, modes, name)
    done: dict[int, _Done] = {}
    names = [f"branch {i} ({getattr(f, '__name__', 'function')})" for i, f in enumerate(functions)]
    branches = _branches(functions, bundle, done, modes)
    try:
        output, values = select(branches, bundle.values(), detached)
    except TypeError:
        # jax only reports a different number of outputs where the structures differ.
        if len(done) == len(functions):
            _same_effects([done[i].effect for i in range(len(functions))], names, name)
            _same_outputs(done, names, name, bundle)
            _same_types(done, names, name, bundle, detached, names_of(resolve(functions[0])[0]))
        raise
    ran = [done[i] for i in range(len(functions)) if i in done]
    _same_effects([d.effect for d in ran], names, name)
    written = frozenset[int]().union(*[d.written for d in ran])
    return modes.apply(bundle, ran[0].plan.only(written, values, output), name)


def _same_outputs(done: dict[int, _Done], names: Sequence[str], what: str, bundle: Bundle) -> None:
    """Checks that all branches return trees of the same structure."""
    for k, name in enumerate(names):
        if done[k].form != done[0].form:
            raise ArgumentTypeError(
                f"nnx.{what} branch outputs must have the same pytree structure, but {names[0]}"
                f" returns {form_text(done[0].form, bundle.roots)} and {name} returns"
                f" {form_text(done[k].form, bundle.roots)}.",
                hint=(
                    "Return the same tree from all branches: a branch that has nothing to "
                    "return can return its input, or zeros."
                ),
            )


def _same_types(
    done: dict[int, _Done],
    names: Sequence[str],
    what: str,
    bundle: Bundle,
    detached: object,
    arguments: Sequence[str],
) -> None:
    """Checks that all branches leave the variables with the same shapes and dtypes."""
    first = done[0]
    for i, (source, wanted) in enumerate(zip(first.plan.sources, first.types, strict=True)):
        for k, name in enumerate(names):
            if done[k].types[i] != wanted and source is not None:
                raise ArgumentTypeError(
                    f"nnx.{what} branches must have equal output types, but {names[0]} leaves"
                    f" {_where(source, bundle, detached, arguments)} as {_type_text(wanted)} and"
                    f" {name} as {_type_text(done[k].types[i])}.",
                    hint="A branch that doesn't set the variable leaves it as it was: set values of"
                    " the same shape and type.",
                )


@entry
def cond(
    pred: ArrayLike,
    true_fun: Callable[..., R],
    false_fun: Callable[..., R],
    *operands: object,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> R:
    """`jax.lax.cond` with modules among the operands.

    Args:
      pred: a boolean scalar.
      true_fun, false_fun: functions of the operands, with outputs of the same structure and types.
      *operands: trees of arrays and modules.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes of structure.

    >>> cond(True, lambda x: x + 1, lambda x: x - 1, 1)
    Array(2, dtype=int32, weak_type=True)
    """

    def select(branches: Sequence[Callable[..., Any]], *flat: object) -> object:
        return jax.lax.cond(pred, *branches, *flat)

    modes = Modes(graph, graph_updates)
    chosen: R = _select(select, (true_fun, false_fun), operands, modes, "cond")
    return chosen


@entry
def switch(
    index: ArrayLike,
    branches: Sequence[Callable[..., R]],
    *operands: object,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> R:
    """`jax.lax.switch` with modules among the operands; see `cond`.

    >>> switch(1, [lambda x: x + 1, lambda x: x - 1], 1)
    Array(0, dtype=int32, weak_type=True)
    """

    def select(branches: Sequence[Callable[..., Any]], *flat: object) -> object:
        return jax.lax.switch(index, branches, *flat)

    modes = Modes(graph, graph_updates)
    chosen: R = _select(select, tuple(branches), operands, modes, "switch")
    return chosen


class _Loop:
    """The value of a loop, split into its objects and the rest.

    Args:
      init_val: the initial value.
      modes: see `Modes`.
      name: the name of the transform.
    """

    def __init__(self, init_val: object, modes: Modes, name: str) -> None:
        self.detached, self.bundle = _bundled(init_val, modes, name)
        self.modes = modes
        self.name = name
        self.done: list[_Done] = []
        self.kept: list[Kept] = []

    def start(self) -> tuple[Any, Any]:
        return self.bundle.values(), self.detached

    def inside(self, state: tuple[Any, Any]) -> tuple[Inside, Any]:
        values, detached = state
        inside = Inside(self.bundle.graphdef, values)
        return inside, detached

    def turn(
        self, fun: Callable[..., Any], state: tuple[Any, Any], *first: object
    ) -> tuple[Any, Any]:
        inside, detached = self.inside(state)
        fun, bound = resolve(fun)
        before = Carried(put_back(detached, inside.roots))
        output = inside.call(fun, (*bound, *first, detached), {})
        outcome = inside.leave(output, everything=True)
        self.done.append(_Done(inside.after, outcome.values, outcome.output))
        returned, values = outcome.output, outcome.values
        same = inside.after.in_place and _shape(outcome.output) == _shape(detached)
        replaced = None if same or self.modes.tree else before.replaced(output)
        if replaced is not None:
            self.kept.append(replaced.kept)
            returned, values = replaced.detached, replaced.values
        elif not same:
            roots = self.bundle.roots
            raise ArgumentError(
                f"The body of nnx.{self.name} must return the structure that it takes:"
                f" {tree_text(detached, roots)} became {tree_text(outcome.output, roots)}"
                + _difference(self.bundle.graphdef.paths, outcome.effect.graphdef.paths),
                hint="Return the same modules that came in, with values set in place.",
            )
        for i, (old, new) in enumerate(zip(inside.values, values, strict=True)):
            shape, now = [jax.tree_util.tree_map(jnp.shape, x) for x in (old, new)]
            if shape != now:
                raise ArgumentError(
                    f"The variable at {_where(i, self.bundle, self.detached)} changes its shape"
                    f" from {shape} to {now} in nnx.{self.name}.",
                )
            weak = any(getattr(x, "weak_type", True) for x in jax.tree_util.tree_leaves(old))
            if not weak and _types(old) != _types(new):
                raise ArgumentTypeError(
                    f"The variable at {_where(i, self.bundle, self.detached)} changes its type from"
                    f" {_type_text(_types(old))} to {_type_text(_types(new))} in nnx.{self.name}.",
                    hint="Set it to a value of its own type: value.astype(...).",
                )
        return values, returned

    def finish(self, state: tuple[Any, C]) -> C:
        values, detached = state
        if not self.done:  # no iteration, and nothing traced
            return put_back(detached, self.bundle.roots)
        if self.kept:
            kept = functools.reduce(operator.and_, self.kept)
            before = Carried(put_back(self.detached, self.bundle.roots))
            return before.after(detached, values, kept)
        written = frozenset[int]().union(*[d.written for d in self.done])
        outcome = self.done[0].plan.only(written, values, None)
        if self.modes.tree:
            detached = self.modes.carried(self.bundle, outcome, detached)
        else:
            outcome.output = detached
        output = self.modes.apply(self.bundle, outcome, self.name)
        value: C = detached if self.modes.tree else output
        return value


def _shape(tree: PyTree) -> object:
    return jax.tree_util.tree_structure(tree)


def _difference(before: Sequence[Any], after: Sequence[Any]) -> str:
    lost = [path_text(p) for p in before if p not in set(after)]
    new = [path_text(p) for p in after if p not in set(before)]
    parts = ([f"lost {', '.join(lost[:4])}"] if lost else []) + (
        [f"new {', '.join(new[:4])}"] if new else []
    )
    return f" ({'; '.join(parts)})." if parts else "."


@entry
def while_loop(
    cond_fun: Callable[[C], ArrayLike],
    body_fun: Callable[[C], C],
    init_val: C,
    *,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> C:
    """`jax.lax.while_loop` with modules in its value.

    Args:
      cond_fun: takes the value and returns whether to continue. Its changes to modules are dropped.
      body_fun: maps the value to the next value; modules keep their structure.
      init_val: a tree of arrays and modules.
      graph: if False, shared references raise an error.
      graph_updates: accepted; structure doesn't change here.

    >>> while_loop(lambda i: i < 3, lambda i: i + 1, 0)
    Array(3, dtype=int32, weak_type=True)
    """
    loop = _Loop(init_val, Modes(graph, graph_updates), "while_loop")

    def go_on(state: tuple[Any, C]) -> object:
        inside, detached = loop.inside(state)
        fun, bound = resolve(cond_fun)
        return inside.call(fun, (*bound, detached), {})

    def turn(state: tuple[Any, C]) -> tuple[Any, C]:
        return loop.turn(body_fun, state)

    end = jax.lax.while_loop(
        named_after(cond_fun, go_on), named_after(body_fun, turn), loop.start()
    )
    last: C = loop.finish(end)
    return last


@entry
def fori_loop(
    lower: ArrayLike,
    upper: ArrayLike,
    body_fun: Callable[[Any, C], C],
    init_val: C,
    *,
    unroll: int | bool | None = None,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> C:
    """`jax.lax.fori_loop` with modules in its value.

    Args:
      lower, upper: the first index, and the index after the last.
      body_fun: maps index and value to the next value; modules keep their structure.
      init_val: a tree of arrays and modules.
      unroll: see `jax.lax.fori_loop`.
      graph: if False, shared references raise an error.
      graph_updates: accepted; structure doesn't change here.

    >>> fori_loop(0, 4, lambda i, total: total + i, 0)
    Array(6, dtype=int32, weak_type=True)
    """
    loop = _Loop(init_val, Modes(graph, graph_updates), "fori_loop")

    def turn(i: object, state: tuple[Any, C]) -> tuple[Any, C]:
        return loop.turn(body_fun, state, i)

    end = jax.lax.fori_loop(lower, upper, named_after(body_fun, turn), loop.start(), unroll=unroll)
    last: C = loop.finish(end)
    return last
