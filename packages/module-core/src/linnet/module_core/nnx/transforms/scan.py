"""`scan`: a loop over steps, with modules whose variables are carried, scanned or broadcast.

A leaf's spec decides what happens to it from step to step: `Carry` passes it to the next step, an
axis gives each step its slice (and stores the step's changes there), and None broadcasts it to all
steps, whose changes to it are dropped. A module argument with the spec `Carry` is carried whole. In
tree mode, where specs can't distinguish the leaves of a module, the leaves of a broadcast module
that steps write to are carried, too.

The loop carries the carried values and stacks outputs along an axis; the body closes over the rest,
which is therefore not an input of the loop. Carried values that no step writes to, such as the
parameters of a carried module, are returned from the body as the same objects; `jax.lax.scan`
treats those as constants, so a backward pass keeps no copy of them for each step.

A `jax.jit` around the loop, inlined in other programs, traces each structure once, however often it
is called. Numbers, text and flags that are broadcast are part of its cache key, since the function
may branch on them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import ArgumentError, ArgumentTypeError
from ...tracebacks import entry, named_after
from ...typing import Prefix, PyTree
from ..capturing import CAPTURES
from ..structure.bundle import detach_nodes, put_back
from ..structure.effect import After, Inside, Outcome, Plan
from ..structure.iteration import follow, iter_references
from ..variable.variable import Variable
from .calling import (
    Transformed,
    decorator,
    given,
    names_of,
    positional,
    refuse_bound_method,
    resolve,
)
from .lifting import AxisMetadata, Lifted, Run, Static, groups_of, put_together
from .naming import axis_misfit, places_of
from .prefixes import bare_specs, join_text
from .replacing import Carried, Kept, Replaced
from .scan_specs import Carry, OutAxes, ScanCall, call_of, carry_position, flat_specs, moved
from .tree_mode import Modes
from .vmap import StateAxes
from .wording import tree_text


class Scan(Transformed[..., Any]):
    """The result of `scan`."""

    def __init__(
        self,
        fun: Callable[..., Any],
        in_axes: Prefix,
        out_axes: Prefix,
        length: int | None,
        transform_metadata: Mapping[str, Any],
        modes: Modes,
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self._names = names_of(self._fun)
        self._wrap = wrap  # of the body as a function of arrays
        in_axes, out_axes = bare_specs(in_axes, StateAxes), bare_specs(out_axes, StateAxes)
        self._in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        self._out_axes = OutAxes(tuple(out_axes) if isinstance(out_axes, list) else out_axes)
        self._length = length
        self._metadata = AxisMetadata(transform_metadata)
        self._modes = modes
        modes.refuse_filters(self._in_axes, "in_axes")
        modes.refuse_filters(self._out_axes.axes, "out_axes")
        self._options = options
        carried_in = carry_position(self._in_axes, "in_axes")
        if (carried_in is None) != (self._out_axes.carried is None):
            raise ArgumentError(
                "Carry must be in both in_axes and out_axes, but only one has it:"
                f" in_axes={in_axes!r}, out_axes={out_axes!r}."
            )
        # Inlined, so that differentiating or batching the loop acts on jax.lax.scan itself.
        self._program = jax.jit(self._traced, static_argnums=(0,), inline=True)

    @entry
    def __call__(self, *args: object, **kwargs: object) -> object:
        args, kwargs = positional(self._fun, self._bound + args, kwargs)
        if kwargs:
            raise ArgumentError(
                f"nnx.scan takes positional arguments, got {', '.join(kwargs)} by keyword only."
            )
        in_axes = self._in_axes
        if not isinstance(in_axes, tuple):
            in_axes = (in_axes,) * (len(args) - len(self._bound))
        in_axes = (None,) * len(self._bound) + in_axes
        lifted = Lifted(in_axes, args, "scan in_axes", self._names, self._modes, "scan")
        call, given = call_of(lifted, in_axes)
        try:
            outcome = self._program(call, lifted.bundle.values(), given)
        except (ValueError, IndexError) as error:
            if isinstance(error, ArgumentError):
                raise
            places = places_of(lifted, in_axes, self._names, "scan in_axes")
            misfit = axis_misfit(places, "scan", self._length, "length")
            if misfit is None:
                raise
            raise misfit from error
        output, carried, unchanged, replaced = outcome.output
        if unchanged.value:
            leaves, structure = jax.tree_util.tree_flatten(carried)
            for i, k in unchanged.value:
                leaves[i] = given[k]
            carried = jax.tree_util.tree_unflatten(structure, leaves)
        if replaced is not None:
            values, kept = replaced
            outcome.output = output
            output = lifted.modes.apply(lifted.bundle, outcome, "scan")
            before = Carried(put_back(lifted.args[call.carried], lifted.bundle.roots))
            return self._out_axes.whole(output, before.after(carried, values, kept.value))
        if self._modes.structure:
            outcome.output = self._out_axes.whole(output, carried)
            return self._metadata.laid_out(lifted.modes.apply(lifted.bundle, outcome, "scan"))
        carried = self._modes.carried(lifted.bundle, outcome, carried)
        outcome.output = output
        output = self._metadata.laid_out(lifted.modes.apply(lifted.bundle, outcome, "scan"))
        return self._out_axes.whole(output, carried)

    def _traced(self, call: ScanCall, values: list[Any], given: list[Any]) -> Outcome:
        leaves = call.filled(given)
        handed_on: set[int] = set()
        while True:
            try:
                outcome = _Loop(self, call, values, leaves, handed_on).run()
                output, carried, replaced = outcome.output
                # Like jax.lax.scan, returns the same object for each value that no step changes.
                found = {id(x): k for k, x in enumerate(given)}
                ends = enumerate(jax.tree_util.tree_leaves(carried))
                unchanged = tuple([(i, found[id(x)]) for i, x in ends if id(x) in found])
                outcome.output = (output, carried, Static(unchanged), replaced)
                return outcome
            except _WrittenTo as found:
                handed_on |= found.leaves


class _WrittenTo(Exception):
    """Raised when steps wrote to broadcast leaves."""

    def __init__(self, leaves: Collection[int]) -> None:
        super().__init__(leaves)
        self.leaves = set(leaves)


class _Loop:
    """The loop of one call, inside its program: how each value is passed, and the body.

    Args:
      handed_on: leaves that are carried although their spec broadcasts them.
    """

    def __init__(
        self,
        scan: Scan,
        call: ScanCall,
        values: list[Any],
        leaves: list[Any],
        handed_on: Collection[int],
    ) -> None:
        self.scan = scan
        self.call = call
        self.values = values
        self.leaves = leaves
        self.specs: list[Any] = [
            Carry if i in handed_on else s for i, s in enumerate(call.form.specs)
        ]
        self.carried = [i for i, s in enumerate(self.specs) if s is Carry]
        self.sliced = [i for i, s in enumerate(self.specs) if isinstance(s, int)]
        found = groups_of(self.specs, call.in_axes, scan._out_axes.axes)
        self.groups = [g for g in found if isinstance(g, int)]
        self.args = jax.tree_util.tree_unflatten(call.structure, leaves)

    def run(self) -> Outcome:
        call, scan = self.call, self.scan
        carry = (
            [self.values[i] for i in self.carried],
            None if call.carried is None else self.args[call.carried],
        )
        xs = (
            [moved(self.values[i], self.specs[i], 0) for i in self.sliced],
            [
                moved(x, axis, 0)
                for axis, x in zip(call.axes, self.leaves, strict=True)
                if isinstance(axis, int)
            ],
        )
        if scan._length is None and not jax.tree_util.tree_leaves(xs):
            raise ArgumentError(
                "scan has no values to scan over, and `length` is missing.",
                hint="Give some argument an axis in in_axes, or pass length=.",
            )
        carry = jax.tree_util.tree_map(jnp.asarray, carry)

        def body(carry: PyTree, x: tuple[Any, Any]) -> tuple[Any, Any]:
            return self._body(carry, x)

        wrapped = body if scan._wrap is None else scan._wrap(body)
        (carried, carried_output), (groups, output) = jax.lax.scan(
            named_after(scan._fun, wrapped), carry, xs, length=scan._length, **scan._options
        )
        groups = [
            [moved(y, 0, axis) for y in group]
            for axis, group in zip(self.groups, groups, strict=True)
        ]
        values = put_together([*groups, [carried[i] for i in self.order]], self.layout)
        # Every carried value was sent; those that no step wrote to stay as they are.
        sent = dict(zip(self.sent, values, strict=True))
        effect = self.plan.effect([i for i in sent if i in self.written])
        axes, leaves, structure = flat_specs(scan._out_axes.prefix(), output)
        leaves = [jnp.moveaxis(y, 0, axis) for axis, y in zip(axes, leaves, strict=True)]
        output = jax.tree_util.tree_unflatten(structure, leaves)
        replaced = None
        if self.replaced is not None:
            leaves_replaced, kept = self.replaced
            replaced = ([carried[self.carried.index(i)] for i in leaves_replaced], Static(kept))
        return Outcome(
            (output, carried_output, replaced), [sent[i] for i in effect.changed], effect
        )

    def _body(self, carry: PyTree, x: tuple[Any, Any]) -> tuple[Any, Any]:
        call, scan = self.call, self.scan
        carried, carried_argument = carry
        sliced, sliced_leaves = x
        values = list(self.values)
        for i, value in zip(self.carried, carried, strict=True):
            values[i] = value
        for i, value in zip(self.sliced, sliced, strict=True):
            values[i] = value
        slices = iter(sliced_leaves)
        leaves = [
            next(slices) if isinstance(axis, int) else leaf
            for axis, leaf in zip(call.axes, self.leaves, strict=True)
        ]
        args = list(jax.tree_util.tree_unflatten(call.structure, leaves))
        if call.carried is not None:
            args[call.carried] = carried_argument
        # The next step receives a carried object with all changes that this step made to it.
        undone = scan._modes.tree and Carry not in call.form.specs
        run = Run(call.form, values, scan._metadata, undone)
        before = Carried(put_back(carried_argument, run.inside.roots))
        leaves_of_carry = self._leaves_of(run, before)
        output = run.call(scan._fun, tuple(args), {})
        scan._out_axes.check_count(output)
        rest, new = scan._out_axes.divided(output)
        replaced = self._replaced(run, before, new, carried_argument)
        if replaced is not None:
            rest = run.detach(scan._out_axes.prefix(), rest, "scan out_axes")
            carried_output = jax.tree_util.tree_unflatten(
                jax.tree_util.tree_structure(carried_argument),
                jax.tree_util.tree_leaves(replaced.detached),
            )
        else:
            output = run.detach(scan._out_axes.axes, output, "scan out_axes")
            rest, carried_output = scan._out_axes.divided(output)
            self._check_same(run, carried_argument, carried_output)
        after = run.finish()
        specs = [
            spec if source is None else self.specs[source]
            for spec, source in zip(run.specs, after.sources, strict=True)
        ]
        self._look_for_lost(after, specs)
        # Broadcast values are not passed on; carried values come from the last step.
        outcome = run.inside.outcome(rest, after, lambda i: self._sends(specs[i], after, i))
        groups: list[list[Any]] = [[] for _ in self.groups]
        layout: list[int] = []
        last: dict[int, Any] = {}
        for i, value in zip(outcome.effect.changed, outcome.values, strict=True):
            spec, source = specs[i], after.sources[i]
            if isinstance(spec, int):
                group = self.groups.index(spec)
                layout.append(group)
                groups[group].append(value)
            elif spec is Carry and source is not None:
                layout.append(len(self.groups))
                last[source] = value
            else:
                self._refuse_new(run, after, i, spec)
        if sorted(last) != self.carried:
            self._refuse_new(run, after, None, Carry)
        self._refuse_moved(run, after)
        self.written = after.written()
        self.replaced: tuple[list[int], Kept] | None = None
        if replaced is not None:
            last.update(zip(leaves_of_carry, replaced.values, strict=True))
            self.replaced = leaves_of_carry, replaced.kept
            kept = zip(leaves_of_carry, replaced.kept.leaves, strict=True)
            lost = {i for i, is_kept in kept if not is_kept}
            self.written -= {i for i, source in enumerate(after.sources) if source in lost}
        after_carried = [self._checked(last[i], carried[k], i) for k, i in enumerate(self.carried)]
        # Static results; the last trace of the body stores them on this loop.
        self.plan: Plan = after.plan
        self.sent = outcome.effect.changed
        self.layout = tuple(layout)
        self.order = tuple(map(self.carried.index, last))  # the order of carried values as sent
        return (after_carried, carried_output), (groups, outcome.output)

    def _sends(self, spec: object, after: After, i: int) -> bool:
        return spec is Carry or (isinstance(spec, int) and after.is_changed(i))

    def _look_for_lost(self, after: After, specs: Sequence[Any]) -> None:
        """In tree mode, raises `_WrittenTo` for broadcast leaves that steps wrote to."""
        if not self.scan._modes.tree:
            return
        lost = {
            source
            for i, source in enumerate(after.sources)
            if source is not None and specs[i] is None and after.is_changed(i)
        }
        if lost:
            raise _WrittenTo(lost)

    def _replaced(self, run: Run, before: Carried, new: object, carried: object) -> Replaced | None:
        """The new carry of a step that didn't return the objects that came in; None otherwise."""
        if self.scan._modes.tree:
            return None
        roots = list(run.inside.roots)
        found = detach_nodes(new, roots, {id(r): i for i, r in enumerate(roots)})
        structures: list[Any] = [jax.tree_util.tree_structure(x) for x in (carried, found)]
        return None if structures[0] == structures[1] else before.replaced(new)

    def _leaves_of(self, run: Run, before: Carried) -> list[int]:
        """The index of each leaf of the carry's objects."""
        index_of = {id(run.inside.values[i]): i for i in self.carried}
        index_of.update({id(v): i for i, v in run.inside.variables.items()})
        return [index_of[id(leaf)] for leaf in before.walk.leaves]

    def _check_same(self, run: Run, before: object, now: object) -> None:
        """Checks that a step returned the objects that were carried in, changed in place."""
        structures: list[Any] = [jax.tree_util.tree_structure(x) for x in (before, now)]
        if structures[0] == structures[1]:
            return
        roots = run.inside.roots
        raise ArgumentError(
            "A step returned modules other than those that were carried in: the carry was"
            f" {tree_text(before, roots)} and became"
            f" {tree_text(now, roots)}.",
            hint="Return the same module that was carried in, changed in place.",
        )

    def _checked(self, new: Any, old: Any, i: int) -> object:
        shapes = [jax.tree_util.tree_map(jnp.shape, x) for x in (old, new)]
        cls, _ = self.call.form.graphdef.leaf_types[i]
        if shapes[0] != shapes[1] and cls and CAPTURES in self.call.form.graphdef.paths[i]:
            names = ", ".join([repr(name) for name in new if name not in old]) or "values"
            raise ArgumentError(
                f"A step of nnx.scan sowed {names} as nnx.{cls.__name__}, which is carried: a"
                " carried value has the same structure at every step.",
                hint="Give the type an axis, along which each step has its own:"
                f" nnx.StateAxes({{nnx.{cls.__name__}: 0, ...: nnx.Carry}}).",
            )
        if shapes[0] != shapes[1]:
            raise ArgumentError(
                f"The carried variable at {self.call.form.where(i)} changes its"
                f" shape from {shapes[0]} to {shapes[1]} in a step of nnx.scan.",
                hint="A carried variable has the same shape at every step.",
            )
        for before, after in zip(*map(jax.tree_util.tree_leaves, (old, new)), strict=True):
            types = jnp.result_type(before), jnp.result_type(after)
            if types[0] != types[1] and not getattr(before, "weak_type", True):
                raise ArgumentTypeError(
                    f"The carried variable at {self.call.form.where(i)} changes its type from"
                    f" {types[0]} to {types[1]} in a step of nnx.scan.",
                    hint=f"Set it to value.astype({str(types[0])!r}), or make it of type"
                    f" {types[1]} before the loop.",
                )
        return new

    def _refuse_new(self, run: Run, after: After, i: int | None, spec: object) -> None:
        kind = "carried" if spec is Carry else "broadcast"
        what = "A variable"
        if i is not None:
            leaf = after.walk.leaves[i]
            name = type(leaf).__name__ if isinstance(leaf, Variable) else "array"
            what = f"A new {name} at {run.where(after, i)}"
        raise ArgumentError(
            f"{what} {'was added to' if i is not None else 'vanished from'} a {kind} object in a"
            " step of nnx.scan.",
            hint="Broadcast and carried objects keep their structure. Give what a step creates an"
            " axis (nnx.StateAxes), or create it before the loop.",
        )

    def _refuse_moved(self, run: Run, after: After) -> None:
        """Checks that the next step will find each variable at the same place as this one."""
        if after.in_place:
            return
        form = self.call.form
        before = Inside(form.graphdef, self.values)
        now = {id(n): m for n, m in zip(before.nodes, run.inside.nodes, strict=True)}
        carried = {id(run.inside.variables[i]) for i in self.carried if i in run.inside.variables}
        for path, variable in iter_references(before.roots):
            wanted = now[id(variable)]
            if id(wanted) not in carried:
                continue
            found = follow(run.inside.roots, path)
            if found is not wanted:
                where = join_text(form.of_root[path[0]].where, path[1:])
                raise ArgumentError(
                    f"{where} is a carried {type(wanted).__name__}, and a step of nnx.scan"
                    f" {'removes it' if found is None else 'puts something else there'}. The"
                    " function is traced for one step, which stands for all of them.",
                    hint="Steps may set the values of carried variables, but not move them. Remove"
                    " or replace them before or after the loop.",
                )


@decorator
def scan(
    f: Callable[..., Any] | None = None,
    *,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    in_axes: Prefix = (Carry, 0),
    out_axes: object = (Carry, 0),
    transform_metadata: Mapping[str, Any] = {},
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Scan:
    """`jax.lax.scan` for functions of modules.

    Args:
      f: the function of one step; if omitted, a decorator is returned.
      length: the number of steps, needed if no argument is scanned.
      reverse: whether to run from the last step to the first.
      unroll: the number of steps in one iteration of the loop; True for all of them.
      in_axes: for each argument, `Carry` (at most once), an axis, None, or, for modules,
        `StateAxes`, which may contain `Carry`, too.
      out_axes: `Carry` where the function returns the carry, and an axis for its other outputs.
      transform_metadata: under `nnx.PARTITION_NAME`, the name of the axis in sharding metadata.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes of structure.

    Changes to broadcast variables (None) are dropped.

    Raises:
      ArgumentError: a carry is missing or there are several, a structure changes, or an axis
        doesn't exist.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> @scan(in_axes=(Carry, 0), out_axes=(Carry, 0))
    ... def cumulate(total, x):
    ...     return total + x, total + x
    >>> cumulate(jnp.zeros(()), jnp.arange(4.0))
    (Array(6., dtype=float32), Array([0., 1., 3., 6.], dtype=float32))
    """
    refuse_bound_method(f, "scan")
    return Scan(
        given(f),
        in_axes,
        out_axes,
        length,
        transform_metadata,
        Modes(graph, graph_updates),
        reverse=reverse,
        unroll=unroll,
        _split_transpose=_split_transpose,
    )
