"""Calls an attention function with the arguments that it accepts.

A user's function need only accept query, key and value, and the options that it uses. If the layer
is called with an option that the function has no parameter for, the call raises an error, because
the option would otherwise be ignored silently.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.layers import Array

from ._checks import sizes_of
from ._limits import Window, visible
from .masks import combine_masks

# Keyed weakly by function, because a function may close over a whole model.
_known: WeakKeyDictionary[Callable[..., Any], Mapping[str, inspect.Parameter]] = WeakKeyDictionary()


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        known = _known.get(function)
    except TypeError:  # not hashable (a partial that holds an array), or not weakly referenceable
        return inspect.signature(function).parameters
    if known is None:
        known = _known[function] = inspect.signature(function).parameters
    return known


def parameters_of(function: object) -> frozenset[str]:
    """The names of a function's parameters.

    Raises:
      ArgumentTypeError: it is not a function.
    """
    if not callable(function):
        raise ArgumentTypeError(
            f"'attention_fn' must be a function of query, key and value, got {function!r}."
        )
    return frozenset(_parameters(function))


def _takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function has `**kwargs`."""
    return any(p.kind is p.VAR_KEYWORD for p in _parameters(function).values())


def call_attention_fn(
    function: Callable[..., Array],
    query: Array,
    key: Array,
    value: Array,
    options: Mapping[str, Any],
    *,
    module: object,
    implementation: str,
    is_causal: bool,
    query_offset: int | Array,
    key_positions: Array | None = None,
    window: Window = None,
    segment_ids: Array | None = None,
    key_segment_ids: Array | None = None,
    any_keyword: frozenset[str] = frozenset(),
) -> Array:
    """Calls `function(query, key, value, ...)` with the options that it accepts.

    Options that determine which keys a query sees are passed as a mask if the function lacks a
    parameter for them.

    Args:
      function: the function, with parameters named as in `dot_product_attention`.
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      value: [*B, K, H/G, E].
      options: the options; an option that is off is omitted if the function has no such parameter.
      module: the module to sow the weights in, or None.
      implementation: "auto" is omitted if the function has no such parameter.
      is_causal: a query sees no later keys.
      query_offset: the position of the first query among the keys.
      key_positions: positions of the keys.
      window: how many positions a query sees.
      segment_ids: segments of the queries.
      key_segment_ids: segments of the keys.
      any_keyword: names that are also passed to a function with `**kwargs`.

    Raises:
      ArgumentError: the function lacks a required parameter.
    """
    names = parameters_of(function)
    if any_keyword and _takes_any(function):
        names |= any_keyword | {n for n in _OF_LOGITS if options.get(n) is not None}
    given = {name: value for name, value in options.items() if name in names}
    for name, wish in _WISHES.items():
        if options.get(name) is not None and not _is_off(name, options):
            _require(name, names, wish)
    if implementation != "auto" or "implementation" in names:
        _require("implementation", names, f"implementation={implementation!r}")
        given["implementation"] = implementation
    if module is not None:
        _require("module", names, "sow_weights=True")
        given["module"] = module
    sees: dict[str, Any] = {
        "is_causal": is_causal or None,
        "window": window,
        "segment_ids": segment_ids,
        "key_segment_ids": key_segment_ids,
    }
    sees = {name: value for name, value in sees.items() if value is not None}
    first = isinstance(query_offset, int) and query_offset == 0
    positions: dict[str, Any] = {} if first else {"query_offset": query_offset}
    if key_positions is not None:
        positions["key_positions"] = key_positions
    if sees.keys() | positions.keys() <= names:
        given |= sees | positions
    elif sees:
        _require("mask", names, _SEEN[next(iter(sees))])
        sizes = sizes_of(query.shape, key.shape)
        seen = visible(
            sizes,
            None,
            is_causal,
            query_offset,
            key_positions,
            window,
            segment_ids,
            key_segment_ids,
        ).array(sizes.queries, sizes.keys)
        assert seen is not None
        given["mask"] = _intersection(options["mask"], seen, query.ndim)
    return function(query, key, value, **given)


_SEEN = {
    "is_causal": "Causal masking, or a cache,",
    "window": "A window",
    "segment_ids": "segment_ids",
}

_OF_LOGITS = ("bias", "scale", "soft_cap", "sinks")

# Options that change the result: a function without the parameter would ignore the option.
_WISHES = {
    "mask": "a mask",
    "bias": "A bias",
    "scale": "A scale",
    "soft_cap": "A soft cap",
    "sinks": "A layer with attention sinks",
    "dropout_rate": "Dropout of the weights",
    "precision": "a precision",
    "qk_attn_weights_einsum": "A custom einsum for the logits",
    "attn_weights_value_einsum": "A custom einsum for the values",
}


def _is_off(name: str, options: Mapping[str, Any]) -> bool:
    """Whether an option is off."""
    if name != "dropout_rate":
        return False
    rate = options[name]
    return options.get("deterministic") is True or (isinstance(rate, (int, float)) and rate == 0)


def _require(name: str, names: frozenset[str], wish: str) -> None:
    if name not in names:
        raise ArgumentError(
            f"{wish} needs an attention_fn that takes {name!r}, but this one has the parameters "
            f"{sorted(names)}.",
            hint="Add the parameter and use it, or leave attention_fn at its default.",
        )


def _intersection(mask: Array | None, seen: Array, rank: int) -> Array | None:
    """The intersection of masks, with as many dimensions as the logits or the mask."""
    rank = max(rank, seen.ndim) if mask is None else max(mask.ndim, seen.ndim)

    def with_rank(x: Array) -> Array:
        return x.reshape((1,) * (rank - x.ndim) + x.shape)  # [*ones, 1, Q, K]

    return combine_masks(None if mask is None else with_rank(mask), with_rank(seen))
