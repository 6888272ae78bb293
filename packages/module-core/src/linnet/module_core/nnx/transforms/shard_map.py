"""`shard_map`: runs a function on the shards of modules.

As in `vmap`, each leaf has a spec, here a `PartitionSpec`; changes that the function makes are
returned according to the leaf's input spec.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from ..._compat import mesh_that_is_set
from ...tracebacks import entry
from .calling import (
    Transformed,
    decorator,
    given,
    names_of,
    positional,
    refuse_bound_method,
    resolve,
)
from .jit import StateSharding
from .lifting import AxisMetadata, Form, Lifted, Run, groups_of, put_together
from .naming import places_of, places_of_objects, sharding_misfit
from .placing import moved
from .prefixes import bare_specs, plain
from .tree_mode import Modes

_Spec: Any = jax.sharding.PartitionSpec


class ShardMap(Transformed[..., Any]):
    """The result of `shard_map`."""

    def __init__(
        self,
        fun: Callable[..., Any],
        in_specs: object,
        out_specs: object,
        modes: Modes,
        options: dict[str, Any],
    ) -> None:
        super().__init__(fun)
        self._fun, self._bound = resolve(fun)
        self._names = names_of(self._fun)
        in_specs = bare_specs(in_specs, StateSharding)
        self._in_specs = tuple(in_specs) if isinstance(in_specs, list) else in_specs
        self._out_specs = bare_specs(out_specs, StateSharding)
        self._modes = modes
        modes.refuse_filters(self._in_specs, "in_specs")
        modes.refuse_filters(self._out_specs, "out_specs")
        self._options = options

    @entry
    def __call__(self, *args: object, **kwargs: object) -> object:
        args, kwargs = positional(self._fun, self._bound + args, kwargs)
        in_specs = self._in_specs
        if not isinstance(in_specs, tuple) or isinstance(in_specs, _Spec):
            in_specs = (in_specs,) * (len(args) - len(self._bound))
        in_specs = (_Spec(),) * len(self._bound) + in_specs
        lifted = Lifted(in_specs, args, "shard_map in_specs", self._names, self._modes, "shard_map")
        whole = [_Spec() if s is None else s for s in lifted.specs]
        groups = groups_of(lifted.specs, in_specs, self._out_specs)
        split = tuple([_Spec() if g is None else g for g in groups])

        def run(values: list[Any], args: tuple[Any, ...]) -> tuple[Any, Any, Any]:
            run = Run(lifted.form, values, AxisMetadata(None), self._modes.tree)
            output = run.call(self._fun, args, kwargs)
            output = run.detach(self._out_specs, output, "shard_map out_specs")
            after = run.finish()
            outcome = run.inside.outcome(output, after)
            values_of, static = run.sorted_into(groups, after, outcome)
            return values_of, outcome.output, static

        mapped = jax.shard_map(
            run,
            in_specs=(whole, plain(in_specs, _Spec())),
            out_specs=(split, plain(self._out_specs, _Spec()), _Spec()),
            **self._options,
        )
        values = self._moved(lifted, whole)
        try:
            values_of, output, static = mapped(values, lifted.args)
        except ValueError as error:
            raise self._misfit(lifted, in_specs) or error from error
        effect, layout = static.value
        return lifted.apply(output, put_together(values_of, layout), effect)

    def _misfit(self, lifted: Lifted, in_specs: object) -> Exception | None:
        """The error that names an array whose spec doesn't fit, or None if all fit."""
        mesh = self._options["mesh"] or mesh_that_is_set()
        if mesh is None:
            return None
        places = places_of(lifted, in_specs, self._names, "shard_map in_specs")
        on_mesh = [
            p._replace(spec=NamedSharding(mesh, p.spec))
            for p in places
            if isinstance(p.spec, _Spec)
        ]
        return sharding_misfit(on_mesh, "shard_map")

    def _moved(self, lifted: Lifted, specs: list[Any]) -> list[Any]:
        """The values, moved to the mesh; the caller's variables keep the sharded arrays."""
        mesh = self._options["mesh"]
        if mesh is None:
            mesh = mesh_that_is_set()
        if not isinstance(mesh, Mesh):
            return lifted.bundle.values()
        shardings = [NamedSharding(mesh, s) for s in specs]
        try:
            return moved(lifted.bundle, shardings)
        except (ValueError, IndexError) as error:
            form = Form(lifted.bundle.graphdef, shardings, lifted.form.occurrences)
            places = places_of_objects(form, lifted.bundle)
            raise sharding_misfit(places, "shard_map") or error from error


@decorator
def shard_map(
    f: Callable[..., Any] | None = None,
    *,
    mesh: object = None,
    in_specs: object,
    out_specs: object,
    axis_names: Set[Any] = frozenset(),
    check_vma: bool = True,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> ShardMap:
    """`jax.shard_map` for functions of modules.

    Args:
      f: the function of shards; if omitted, a decorator is returned.
      mesh: the devices; None for the mesh that is set.
      in_specs: for each argument, a `PartitionSpec`, a tree of them, or, for modules,
        `StateSharding`.
      out_specs: the same for the output.
      axis_names: the mesh axes that are manual within the function; empty for all.
      check_vma: see `jax.shard_map`.
      graph: if False, shared references raise an error.
      graph_updates: if False, only values reach the caller's objects, not changes in structure.
    """
    refuse_bound_method(f, "shard_map")
    options: dict[str, Any] = {"mesh": mesh, "check_vma": check_vma}
    if axis_names:
        options["axis_names"] = set(axis_names)
    return ShardMap(given(f), in_specs, out_specs, Modes(graph, graph_updates), options)
