"""The names of `flax.linen.summary`, and the table as rows, which other libraries lay out."""

from __future__ import annotations

from collections.abc import Callable as _Callable
from dataclasses import dataclass as _dataclass

from jax import ShapeDtypeStruct as _ArrayRepresentation  # noqa: F401  (kauldron)

from linnet.linen.summary import *  # noqa: F403
from linnet.module_core.linen import CollectionFilter as _CollectionFilter
from linnet.module_core.linen import DenyList as _DenyList
from linnet.module_core.linen import Module as _Module
from linnet.module_core.linen import summary as _summary
from linnet.module_core.linen.recording import Costs as _Costs
from linnet.module_core.linen.rng import LazyRng as LazyRng

_MADE_BY_INIT = _DenyList("intermediates")


@_dataclass
class _ObjectRepresentation:
    """Flax's wrapper for a value that is not an array. Linnet's rows have text instead."""

    obj: object


def _get_module_table(
    module: _Module,
    depth: int | None,
    show_repeated: bool,
    compute_flops: bool,
    compute_vjp_flops: bool,
) -> _Callable[..., _summary.Table]:
    """A function that returns the rows of `tabulate` for a call with `init`'s arguments."""
    costs = _Costs(compute_flops, compute_vjp_flops, depth, show_repeated)

    def rows(
        rngs: object,
        *args: object,
        mutable: _CollectionFilter = _MADE_BY_INIT,
        **kwargs: object,
    ) -> _summary.Table:
        return _summary.table(module, rngs, args, kwargs, mutable=mutable, costs=costs)

    return rows
