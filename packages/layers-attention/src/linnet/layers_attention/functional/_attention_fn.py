"""Calls an attention function with the arguments that it accepts.

A user's function need only accept query, key and value, and the options that it uses. If the layer
is called with an option that the function has no parameter for, the call raises an error, because
the option would be ignored silently.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.layers import Array

from ._visible import Visible
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
    any_keyword: frozenset[str] = frozenset(),
) -> Array:
    """Calls `function(query, key, value, ...)` with the options that it accepts.

    Args:
      function: the function, with parameters named as in `dot_product_attention`.
      query: [*B, Q, H, D].
      key: [*B, K, H/G, D].
      value: [*B, K, H/G, E].
      options: the options; each is omitted if the function has no such parameter and it is off.
      module: the module to sow the weights in, or None.
      implementation: "auto" is omitted if the function has no such parameter.
      is_causal: passed as a mask if the function has no such parameter.
      query_offset: the position of the first query among the keys.
      any_keyword: names that are also passed to a function with `**kwargs`.

    Raises:
      ArgumentError: the function lacks a required parameter.
    """
    names = parameters_of(function)
    if any_keyword and _takes_any(function):
        names |= any_keyword
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
    if is_causal:
        first = isinstance(query_offset, int) and query_offset == 0
        if "is_causal" in names and "query_offset" in names:
            given |= {"is_causal": True, "query_offset": query_offset}
        elif "is_causal" in names and first:
            given["is_causal"] = True
        else:
            _require("mask", names, "Causal masking, or a cache,")
            given["mask"] = combine_masks(
                options["mask"], _causal_mask(query, key, query_offset, options["mask"])
            )
    return function(query, key, value, **given)


# Options that change the result: a function without such a parameter would ignore it.
_WISHES = {
    "mask": "a mask",
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


def _causal_mask(query: Array, key: Array, offset: int | Array, like: Array | None) -> Array:
    mask = Visible(right=1, offset=offset).array(query.shape[-3], key.shape[-3])
    assert mask is not None
    rank = query.ndim if like is None else like.ndim
    return mask.reshape((1,) * (rank - mask.ndim) + mask.shape)  # [*ones, 1, Q, K]
