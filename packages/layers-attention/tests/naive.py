"""Attention as loops over single numbers, in float64: a formula independent of the code."""

import numpy as np


def attention(
    query,
    key,
    value,
    *,
    bias=None,
    mask=None,
    is_causal=False,
    window=(None, None),
    query_offset=0,
    key_positions=None,
    segment_ids=None,
    key_segment_ids=None,
    scale=None,
    soft_cap=None,
    sinks=None,
):
    """[B, Q, H, E] from [B, Q, H, D], [B, K, H/G, D] and [B, K, H/G, E].

    `bias` is an array or a function of head and distance.
    """
    batch, queries, heads, depth = query.shape
    keys, groups = key.shape[1], heads // key.shape[2]
    left, right = window if isinstance(window, tuple) else (window, window)
    output = np.zeros((batch, queries, heads, value.shape[-1]))
    if bias is not None and not callable(bias):
        bias = np.broadcast_to(bias, (batch, heads, queries, keys))
    if mask is not None:
        mask = np.broadcast_to(mask, (batch, heads, queries, keys))
    offsets = np.broadcast_to(query_offset, (batch,))
    for b, i, h in np.ndindex(batch, queries, heads):
        logits, seen = np.zeros(keys), np.ones(keys, bool)
        for j in range(keys):
            at = offsets[b] + i
            other = j if key_positions is None else key_positions[b][j]
            x = float(np.dot(query[b, i, h], key[b, j, h // groups]))
            x *= depth**-0.5 if scale is None else scale
            if soft_cap is not None:
                x = soft_cap * np.tanh(x / soft_cap)
            if callable(bias):
                x += bias(h, other - at)
            elif bias is not None:
                x += bias[b, h, i, j]
            logits[j] = x
            if mask is not None and not mask[b, h, i, j]:
                seen[j] = False
            if is_causal and other > at:
                seen[j] = False
            if left is not None and at - other >= left:
                seen[j] = False
            if right is not None and other - at >= right:
                seen[j] = False
            if segment_ids is not None:
                of_keys = segment_ids if key_segment_ids is None else key_segment_ids
                if segment_ids[b][i] != of_keys[b][j]:
                    seen[j] = False
        if not seen.any():
            output[b, i, h] = 0 if sinks is not None else value[b, :, h // groups].mean(0)
            continue
        powers = np.where(seen, np.exp(logits), 0.0)
        total = powers.sum() + (0.0 if sinks is None else np.exp(sinks[h]))
        output[b, i, h] = powers @ value[b, :, h // groups] / total
    return output
