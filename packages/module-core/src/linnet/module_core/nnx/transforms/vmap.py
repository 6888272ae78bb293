"""`vmap` and `pmap`: map a function of modules over an axis of their variables.

Each leaf has an axis, or None if every step sees the whole leaf. Changes that the function makes
are returned along the leaf's input axis, and new variables along the axis of the object that holds
them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import ArgumentError
from ...tracebacks import entry
from ...typing import Prefix
from ..structure.effect import After, Outcome
from .calling import (
    Transformed,
    decorator,
    given,
    names_of,
    positional,
    refuse_bound_method,
    resolve,
)
from .lifting import AxisMetadata, Lifted, Run, groups_of, put_together
from .naming import Place, axis_misfit, places_of
from .prefixes import FilterMapping, bare_specs, place_text, plain, spread, with_path
from .tree_mode import Modes


class StateAxes(FilterMapping, Mapping[Any, Any]):
    """The axis of each leaf of a module, given by filters or, as a `State` of axes, by path.

    >>> from linnet.module_core import nnx
    >>> nnx.StateAxes({nnx.Param: 0, ...: None})
    StateAxes({<class 'linnet.module_core.nnx.variable.variable_types.Param'>: 0, Ellipsis: None})
    """

    _what = "axis"

    @property
    def axes(self) -> tuple[Any, ...]:
        """The axes, in the order of the filters."""
        return self._specs

    def __getitem__(self, filter: object) -> Any:
        for f, axis in zip(self._filters, self._specs, strict=True):
            if f == filter:
                return axis
        raise KeyError(filter)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._filters)

    def __len__(self) -> int:
        return len(self._filters)

    __eq__ = FilterMapping.__eq__
    __hash__ = FilterMapping.__hash__


class Vmap(Transformed[..., Any]):
    """The result of `vmap` and `pmap`."""

    def __init__(
        self,
        fun: Callable[..., Any],
        name: str,
        lift: Callable[..., Any],
        in_axes: Prefix,
        out_axes: Prefix,
        transform_metadata: Mapping[str, Any],
        modes: Modes,
        axis_size: int | None,
    ) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self._names = names_of(self._fun)
        self._name = name
        self._lift = lift
        self._in_axes = bare_specs(in_axes, StateAxes)
        self._out_axes = bare_specs(out_axes, StateAxes)
        self._metadata = AxisMetadata(transform_metadata)
        self._modes = modes
        self._axis_size = axis_size
        modes.refuse_filters(in_axes, "in_axes")
        modes.refuse_filters(out_axes, "out_axes")

    @entry
    def __call__(self, *args: object, **kwargs: object) -> object:
        args, kwargs = positional(self._fun, self._bound + args, kwargs)
        in_axes = self._in_axes
        if isinstance(in_axes, list):
            in_axes = tuple(in_axes)
        if not isinstance(in_axes, tuple):
            in_axes = (in_axes,) * (len(args) - len(self._bound))
        in_axes = (None,) * len(self._bound) + in_axes
        lifted = Lifted(
            in_axes, args, f"{self._name} in_axes", self._names, self._modes, self._name
        )
        groups = groups_of(lifted.specs, in_axes, self._out_axes)
        _check_axes(groups, self._name)
        suspects: list[str] = []

        def run(
            values: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[Any, Any, Any]:
            run = Run(lifted.form, values, self._metadata, self._modes.tree)
            output = run.call(self._fun, args, kwargs)
            output = run.detach(self._out_axes, output, f"{self._name} out_axes")
            after = run.finish()
            outcome = run.inside.outcome(output, after)
            self._check_out_axes(run, after, outcome)
            suspects[:] = _that_differ(run, after, outcome, values)
            values_of, static = run.sorted_into(groups, after, outcome)
            return values_of, outcome.output, static

        mapped = self._lift(
            run,
            in_axes=(lifted.specs, plain(in_axes), 0),
            out_axes=(tuple(groups), plain(self._out_axes), None),
        )
        try:
            values_of, output, static = mapped(lifted.bundle.values(), lifted.args, kwargs)
        except ValueError as error:
            raise self._explained(error, lifted, in_axes, kwargs, suspects) from error
        effect, layout = static.value
        return self._metadata.laid_out(
            lifted.apply(output, put_together(values_of, layout), effect)
        )

    def _check_out_axes(self, run: Run, after: After, outcome: Outcome) -> None:
        """Checks that outputs and variables can be stacked along their axes."""
        if self._out_axes == 0 and {0, None}.issuperset(run.specs):
            return
        prefix = plain(self._out_axes)
        specs, subtrees, structure = spread(prefix, outcome.output, f"{self._name} out_axes")
        for (start, axis), subtree in zip(with_path(structure, specs), subtrees, strict=True):
            for path, x in jax.tree_util.tree_flatten_with_path(subtree)[0]:
                self._check_out_axis(axis, x, f"the output{place_text((*start, *path))}")
        for i, value in zip(outcome.effect.changed, outcome.values, strict=True):
            self._check_out_axis(run.specs[i], value, run.where(after, i))

    def _check_out_axis(self, axis: int | None, value: object, where: str) -> None:
        for part in jax.tree_util.tree_leaves(value):
            ndim = jnp.ndim(part) + 1
            if axis is not None and not -ndim <= axis < ndim:
                raise ArgumentError(
                    f"nnx.{self._name} cannot stack {where} along axis {axis}: a step gives an "
                    f"array of shape {jnp.shape(part)} there.",
                    hint=f"Choose an axis from {-ndim} to {ndim - 1}.",
                )

    def _explained(
        self,
        error: ValueError,
        lifted: Lifted,
        in_axes: Prefix,
        kwargs: dict[str, Any],
        suspects: list[str],
    ) -> ValueError:
        """The error in terms of the user's program, or unchanged if the user's code raised it."""
        if isinstance(error, ArgumentError):
            return error
        name = self._name
        if "axis spec None but output was batched" in str(error):
            what = f"The new value of {', '.join(suspects[:4])}" if suspects else "A value"
            return ArgumentError(
                f"{what}, which nnx.{name} returns whole (axis None), differs from one step to "
                "the next.",
                hint="If it is an output, give it an axis in out_axes; if it is a variable that the"
                " function sets, give it one with nnx.StateAxes in in_axes, or reduce over the axis"
                " (jax.lax.pmean with axis_name) before it is set.",
            )
        places = places_of(lifted, in_axes, self._names, f"{name} in_axes")
        for path, value in jax.tree_util.tree_flatten_with_path(kwargs)[0]:
            places.append(Place(place_text(path, ()), 0, value))
        return axis_misfit(places, name, self._axis_size, "axis_size") or error


def _check_axes(axes: list[Any], name: str) -> None:
    for axis in axes:
        if not (axis is None or isinstance(axis, int)):
            raise ArgumentError(
                f"nnx.{name} takes axes that are ints or None, got {axis!r}.",
                hint="nnx.Carry is for nnx.scan."
                if isinstance(axis, type)
                else "For a module: nnx.StateAxes({filter: axis}).",
            )


def _that_differ(run: Run, after: After, outcome: Outcome, values: Sequence[Any]) -> list[str]:
    """The variables with axis None that were assigned a mapped value, as far as can be detected."""
    specs = run.form.specs
    mapped = next((type(v) for v, s in zip(values, specs, strict=True) if s is not None), None)
    found: list[str] = []
    for i, value in zip(outcome.effect.changed, outcome.values, strict=True):
        if run.specs[i] is not None or not isinstance(value, jax.core.Tracer):
            continue
        source = after.sources[i]
        if source is not None and (mapped is None or type(value) is mapped):
            found.append(run.where(after, i))
    return found


@decorator
def vmap(
    f: Callable[..., Any] | None = None,
    *,
    in_axes: Prefix = 0,
    out_axes: object = 0,
    axis_name: Hashable | None = None,
    axis_size: int | None = None,
    spmd_axis_name: object = None,
    transform_metadata: Mapping[str, Any] = {},
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Vmap:
    """`jax.vmap` for functions of modules.

    Args:
      f: the function; if omitted, a decorator is returned.
      in_axes: for each argument, an axis, None, a tree of them, or, for modules, `StateAxes`.
      out_axes: the same for the output.
      axis_name: name of the axis, for collectives.
      axis_size: size of the axis, needed if no argument has the axis.
      spmd_axis_name: see `jax.vmap`.
      transform_metadata: under `nnx.PARTITION_NAME`, the name of the axis in the sharding metadata
        of variables.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes of structure.

    Raises:
      ArgumentError: a leaf has no axis, or two different axes.

    >>> import jax
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.factor = nnx.Param(rngs.params.normal(()))
    >>> scales = vmap(lambda key: Scale(nnx.Rngs(key)))(jax.random.split(jax.random.key(0), 4))
    >>> scales.factor.shape
    (4,)
    """
    refuse_bound_method(f, "vmap")

    def lift(run: Callable[..., Any], in_axes: Prefix, out_axes: object) -> object:
        return jax.vmap(
            run,
            in_axes=in_axes,
            out_axes=out_axes,
            axis_name=axis_name,
            axis_size=axis_size,
            spmd_axis_name=spmd_axis_name,
        )

    modes = Modes(graph, graph_updates)
    return Vmap(given(f), "vmap", lift, in_axes, out_axes, transform_metadata, modes, axis_size)


@decorator
def pmap(
    f: Callable[..., Any] | None = None,
    *,
    axis_name: Hashable | None = None,
    in_axes: Prefix = 0,
    out_axes: Prefix = 0,
    static_broadcasted_argnums: object = (),
    devices: Sequence[object] | None = None,
    backend: str | None = None,
    axis_size: int | None = None,
    donate_argnums: object = (),
    transform_metadata: Mapping[str, Any] = {},
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Vmap:
    """`jax.pmap` for functions of modules: one step of `vmap` on each device.

    The arguments are those of `vmap` and `jax.pmap`. New programs use `nnx.jit` with shardings, or
    `nnx.shard_map`.

    Raises:
      ArgumentError: static or donated arguments are requested; `pmap` supports neither.
    """
    refuse_bound_method(f, "pmap")
    if static_broadcasted_argnums not in ((), None) or donate_argnums not in ((), None):
        raise ArgumentError(
            "nnx.pmap does not support static or donated arguments.",
            hint="Bind static arguments with functools.partial; use nnx.jit to donate.",
        )

    def lift(run: Callable[..., Any], in_axes: Prefix, out_axes: Prefix) -> object:
        return jax.pmap(
            run,
            axis_name=axis_name,
            in_axes=in_axes,
            out_axes=out_axes,
            devices=devices,
            backend=backend,
            axis_size=axis_size,
        )

    modes = Modes(graph, graph_updates)
    return Vmap(given(f), "pmap", lift, in_axes, out_axes, transform_metadata, modes, axis_size)
