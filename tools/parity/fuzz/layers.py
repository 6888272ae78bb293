"""Layers with random options, shapes and types: identical parameters, nearly equal outputs.

`layer_programs` draws the programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .layer_programs import LINEN, NNX, Draw
from .libraries import FLAX, Library
from .program import Event, Program


class Layers:
    """The arm; a program is a layer, its options, and a call."""

    name = "layers"
    lenient = True
    follows = False

    def generate(self, random: Draw) -> Program:
        style, table = random.choice([("linen", LINEN), ("nnx", NNX)])
        name = random.choice(list(table))
        made = {"style": style, "layer": name, "seed": random.randrange(100)} | table[name](random)
        made["grad"] = random.random() < 0.15
        made["jit"] = random.random() < 0.1
        return made

    def peers(self, program: Program) -> tuple[Library, ...]:
        return (FLAX,)

    def run(self, program: Program, library: Library) -> Iterator[Event]:
        run = _run_linen if program["style"] == "linen" else _run_nnx
        for event in run(program, library):
            label = f"{program['style']}.{program['layer']}: {event.label}"
            yield event._replace(label=label)


def _run_linen(program: Program, library: Library) -> Iterator[Event]:
    nn, seed, near = library.linen, program.get("seed", 0), _tolerance(program)
    options = {k: _value(v, nn, k) for k, v in program["with"].items()}
    call = {k: _input(v, seed) for k, v in program.get("call", {}).items()}
    if program.get("function"):
        given = [_input(v, seed) for v in program["inputs"]]
        yield Event("output", getattr(nn, program["layer"])(*given, **options), near)
        return
    layer = getattr(nn, program["layer"])(**options)
    inputs = _inputs(
        program, lambda dims: layer.initialize_carry(jax.random.key(seed), tuple(dims))
    )
    names = ("params", "dropout", "other")
    keys = {name: jax.random.key(seed + i) for i, name in enumerate(names)}
    method = {"method": program["method"]} if "method" in program else {}
    variables = layer.init(keys, *inputs, **call, **method)
    yield Event("variables", _sorted(variables))

    def apply(variables: Any, inputs: Any) -> Any:
        mutable = ["batch_stats", "intermediates"]
        return layer.apply(variables, *inputs, **call, **method, rngs=keys, mutable=mutable)

    output, state = (jax.jit(apply) if program.get("jit") else apply)(variables, inputs)
    yield Event("output", _plain(output), near)
    yield Event("state", _sorted(state), near)
    if program.get("grad"):
        parts = {"params": variables.get("params", {}), "inputs": inputs}

        def loss(parts: Any) -> Any:
            return _loss(apply({**variables, "params": parts["params"]}, parts["inputs"])[0])

        yield Event("gradient", _gradient(loss, parts), 16 * near)


def _run_nnx(program: Program, library: Library) -> Iterator[Event]:
    nnx, seed, near = library.nnx, program.get("seed", 0), _tolerance(program)
    rngs = nnx.Rngs(params=seed, dropout=seed + 1, other=seed + 2, carry=seed + 3)
    options = {k: _value(v, nnx, k, rngs) for k, v in program["with"].items()}
    call = {k: _input(v, seed) for k, v in program.get("call", {}).items()}
    layer = getattr(nnx, program["layer"])(**options, rngs=rngs)
    yield Event("variables", _variables(nnx, layer))
    inputs = _inputs(program, lambda dims: layer.initialize_carry(tuple(dims), nnx.Rngs(seed)))
    method = program.get("method", "__call__")

    def run(layer: Any, inputs: Any) -> Any:
        return getattr(layer, method)(*inputs, **call)

    output = (nnx.jit(run) if program.get("jit") else run)(layer, inputs)
    yield Event("output", _plain(output), near)
    yield Event("state", _variables(nnx, layer), near)
    if program.get("grad"):
        graph, params, rest = nnx.split(layer, nnx.Param, ...)

        def loss(parts: Any) -> Any:
            copy = nnx.merge(graph, parts["params"], rest)
            return _loss(run(nnx.clone(copy), parts["inputs"]))

        parts = {"params": params, "inputs": inputs}
        yield Event("gradient", _gradient(loss, parts), 16 * near)


def _tolerance(program: Program) -> float:
    """Rounding errors of the coarsest type: Linnet adds in a different order, and joins gates."""
    half = "float16" in json.dumps(program)  # bfloat16 as well
    return 16 * 2.0**-8 if half else 64 * 2.0**-23


def _gradient(loss: Callable[[Any], Any], parts: Any) -> Any:
    gradient = jax.grad(loss, allow_int=True)(parts)
    leaves = jax.tree.leaves(gradient)
    return [x for x in leaves if x.dtype != jax.dtypes.float0]


def _loss(output: Any) -> Any:
    leaves = [x for x in jax.tree.leaves(output) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return sum(
        jnp.sum(jnp.sin(jnp.abs(x.astype(jnp.promote_types(x.dtype, jnp.float32))))) for x in leaves
    )


def _value(value: Any, names: Any, option: str, rngs: Any = None) -> Any:
    """An option from its description."""
    if isinstance(value, list):
        kind, *parts = value
        if kind in ("tuple", "list"):
            made = [_value(part, names, option) for part in parts]
            return tuple(made) if kind == "tuple" else made
        if kind == "layer":
            name, options = parts
            options = {k: _value(v, names, k, rngs) for k, v in options.items()}
            more = {"rngs": rngs} if rngs is not None else {}
            return getattr(names, name)(**options, **more)
    if isinstance(value, str):
        if option.endswith("_init"):
            init = getattr(names.initializers, value)
            return init if value in ("zeros", "ones") else init()
        if option.endswith("dtype"):
            return jnp.dtype(value)
        if option.endswith("_fn"):
            return getattr(names, value)
    return value


def _inputs(program: Program, carry: Callable[[list[int]], Any]) -> tuple[Any, ...]:
    seed = program.get("seed", 0)
    return tuple(
        carry(v[1]) if v[0] == "carry" else _input(v, seed + i)
        for i, v in enumerate(program["inputs"])
    )


def _input(value: Any, seed: int) -> Any:
    """An argument of the call from its description."""
    if not isinstance(value, list):
        return value
    kind, dims, dtype, *more = value
    numbers = np.random.default_rng(seed)
    if kind == "mask":
        return jnp.asarray(numbers.random(dims) < 0.7, dtype)
    if kind == "whole":
        return jnp.asarray(numbers.integers(0, more[0], dims), dtype)
    made: Any = numbers.normal(size=dims) * 2
    if dtype == "complex64":
        made = made + 1j * numbers.normal(size=dims)
    return jnp.asarray(made).astype(dtype)


def _sorted(tree: Any) -> Any:
    return jax.tree.map(lambda x: x, dict(tree))


def _plain(output: Any) -> Any:
    return list(output) if isinstance(output, (list, tuple)) else output


def _variables(nnx: Any, layer: Any) -> dict[str, Any]:
    """All variables by path, with their types."""
    flat = nnx.to_flat_state(nnx.state(layer))
    return {"/".join(map(str, p)): [type(v).__name__, v.get_value()] for p, v in flat}
