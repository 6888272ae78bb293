"""Reads rotary positions from a model's configuration, Hugging Face's config.json.

The options have had several names and places over the years: at the top level (`rope_theta`), in
`rope_scaling`, or in `rope_parameters`, where each type of layer may have its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from linnet.module_core.errors import ArgumentError, ArgumentTypeError
from linnet.module_core.layers import integer

from .rotary import (
    LinearScaling,
    Llama3Scaling,
    LongRoPEScaling,
    NTKScaling,
    Rotary,
    Scaling,
    YaRNScaling,
)


def rotary_from_config(
    config: Mapping[str, Any],
    layer_type: str = "full_attention",
    *,
    interleaved: bool = False,
    length: int | None = None,
) -> Rotary:
    """The rotary positions of a model, as its config.json describes them.

    Args:
      config: what `json.load` returns. The function reads `rope_parameters`, `rope_scaling`,
        `rope_theta`, `rope_local_base_freq`, `partial_rotary_factor`, `max_position_embeddings`,
        and GPT-NeoX's `rotary_emb_base` and `rotary_pct`.
      layer_type: the type of the layers, if `config` has options for each type: "full_attention"
        or "sliding_attention", as in `layer_types`.
      interleaved: pairs are neighbors (GPT-J, Cohere); configurations don't say so.
      length: the maximum length of a text, generated tokens included. "longrope" and "dynamic"
        depend on it; None for texts no longer than those in training.

    Returns:
      The argument `rotary` of a layer.

    Raises:
      ArgumentError: the scaling is unknown or lacks a number, or `length` is less than one.
      ArgumentTypeError: `config` is not a mapping.

    >>> rotary_from_config({"rope_theta": 500000.0, "max_position_embeddings": 4096})
    Rotary(base=500000.0, fraction=1.0, interleaved=False, scaling=None)
    """
    if not isinstance(config, Mapping):
        raise ArgumentTypeError(
            f"config is a {type(config).__name__}, expected a mapping of a configuration's names.",
            hint="Read it with json.loads(path.read_text()).",
        )
    if layer_type == "sliding_attention" and config.get("rope_local_base_freq") is not None:
        return Rotary(float(config["rope_local_base_freq"]), interleaved=interleaved)
    rope: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    types = {key: value for key, value in rope.items() if isinstance(value, Mapping)}
    if types:
        if layer_type not in types:
            raise ArgumentError(
                f"The configuration has no rotary positions for layers of type {layer_type!r}.",
                hint=f"Pass layer_type as one of {', '.join(map(repr, types))}.",
            )
        rope = types[layer_type]
    both = {**config, **rope}
    if length is not None:
        integer(length, "length", least=1)

    def first(*names: str, otherwise: float) -> float:
        return next((float(both[n]) for n in names if both.get(n) is not None), otherwise)

    return Rotary(
        first("rope_theta", "rotary_emb_base", otherwise=10_000.0),
        first("partial_rotary_factor", "rotary_pct", otherwise=1.0),
        interleaved,
        _scaling(rope, both, length),
    )


def _scaling(
    rope: Mapping[str, Any], config: Mapping[str, Any], length: int | None
) -> Scaling | None:
    kind = rope.get("rope_type", rope.get("type")) or "default"
    if kind == "default":
        return None
    if kind not in _SCALINGS:
        raise ArgumentError(
            f"The configuration scales rotary positions by {kind!r}, which is not known here.",
            hint=f"Known scalings: {', '.join(map(repr, _SCALINGS))}.",
        )
    try:
        return _SCALINGS[kind](rope, config, length)
    except KeyError as error:
        raise ArgumentError(
            f"The configuration scales rotary positions by {kind!r}, and has no {error}.",
            hint="Add it to a copy of the configuration.",
        ) from None


def _original_length(config: Mapping[str, Any]) -> int:
    key = "original_max_position_embeddings"
    return int(config.get(key) or config["max_position_embeddings"])


def _linear(rope: Mapping[str, Any], config: Mapping[str, Any], length: int | None) -> Scaling:
    return LinearScaling(rope["factor"])


def _llama3(rope: Mapping[str, Any], config: Mapping[str, Any], length: int | None) -> Scaling:
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    return Llama3Scaling(rope["factor"], low, high, _original_length(config))


def _dynamic(
    rope: Mapping[str, Any], config: Mapping[str, Any], length: int | None
) -> Scaling | None:
    """NTK-aware scaling by a factor that grows linearly with the length beyond that in training.

    HunYuan's configurations give one factor for all lengths, "alpha".
    """
    if rope.get("alpha"):
        return NTKScaling(rope["alpha"])
    trained = _original_length(config)
    if length is None or length <= trained:
        return None
    return NTKScaling(rope["factor"] * length / trained - (rope["factor"] - 1))


def _longrope(rope: Mapping[str, Any], config: Mapping[str, Any], length: int | None) -> Scaling:
    trained = _original_length(config)
    times = config.get("max_position_embeddings", trained) / trained
    if times == 1:
        times = rope.get("factor") or 1.0
    attention_factor = rope.get("attention_factor")
    if attention_factor is None:
        attention_factor = math.sqrt(1 + math.log(times) / math.log(trained)) if times > 1 else 1.0
    is_long = length is not None and length > trained
    factors = rope["long_factor" if is_long else "short_factor"]
    return LongRoPEScaling(tuple(factors), attention_factor)


def _yarn(rope: Mapping[str, Any], config: Mapping[str, Any], length: int | None) -> Scaling:
    names = "beta_fast", "beta_slow", "attention_factor", "truncate"
    given: dict[str, Any] = {n: rope[n] for n in names if rope.get(n) is not None}
    factor = rope["factor"]
    if "attention_factor" not in given and rope.get("mscale") and rope.get("mscale_all_dim"):
        # DeepSeek has one temperature for rotated features and one for all: this is their quotient.
        above, below = (
            0.1 * rope[n] * math.log(factor) + 1 if factor > 1 else 1.0
            for n in ("mscale", "mscale_all_dim")
        )
        given["attention_factor"] = above / below
    return YaRNScaling(factor, _original_length(config), **given)


_SCALINGS: Mapping[
    str, Callable[[Mapping[str, Any], Mapping[str, Any], int | None], Scaling | None]
] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "su": _longrope,  # the name in Phi-3's first configurations
}
