"""Decodes rows of a batch that is split over eight devices; `test_decoding.py` runs this file.

It prints what a step moves between devices, and whether each row gets what it gets on one device.
"""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from linnet.layers_attention import linen
from linnet.layers_attention.functional import CacheOptions, Rotary

MOVES = re.compile(r" ((?:all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?)\(")
ROWS, LENGTH = 8, 6
X = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, LENGTH, 8)), jnp.float32)
LENGTHS = jnp.array([3, 1, 2, 3, 1, 2, 3, 1])


def main():
    found = {}
    for ring in (False, True):
        layer = linen.MultiHeadAttention(
            2,
            decode=True,
            rotary=Rotary(),
            window=3,
            cache_options=CacheOptions(per_row=True, ring=ring),
        )
        variables = layer.init(jax.random.key(0), X)

        def step(variables, x, lengths, layer=layer):
            y, cache = layer.apply(variables, x, lengths=lengths, mutable=["cache"])
            return y, {**variables, **cache}

        y, after = step(variables, X[:, :3], LENGTHS)
        expected = [y, step(after, X[:, 3:4], jnp.ones(ROWS, jnp.int32))[0]]
        for kind in (AxisType.Auto, AxisType.Explicit):
            if kind is AxisType.Explicit and not hasattr(jax, "set_mesh"):
                continue
            mesh = Mesh(jax.devices(), ("data",), axis_types=(kind,))
            rows = NamedSharding(mesh, PartitionSpec("data"))
            whole = NamedSharding(mesh, PartitionSpec())
            state = {
                "params": jax.device_put(variables["params"], whole),
                "cache": jax.device_put(variables["cache"], rows),
            }
            compiled = jax.jit(step)
            results = []
            for x, lengths in ((X[:, :3], LENGTHS), (X[:, 3:4], jnp.ones(ROWS, jnp.int32))):
                given = jax.device_put((x, lengths), rows)
                text = compiled.lower(state, *given).compile().as_text()
                y, state = compiled(state, *given)
                results.append(y)
            cached = state["cache"]["cached_key"]
            found[f"ring={ring}, {kind.name}"] = {
                "moves": sorted(set(MOVES.findall(text))),
                "error": max(
                    float(np.abs(np.asarray(a) - np.asarray(b)).max())
                    for a, b in zip(results, expected, strict=True)
                ),
                "rows of a device": cached.sharding.shard_shape(cached.shape)[0],
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
