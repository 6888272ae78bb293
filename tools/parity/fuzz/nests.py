"""linen: lifted transforms, nested, over small modules with parameters, state, dropout and sowing.

Each node of a program becomes a class whose input and output have the same shape; a lifted node
calls its transformed inner node so that this remains true. The variables of `init` are compared bit
for bit; then `apply` with its changes, eagerly and under `jax.jit`, and the gradients.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from .libraries import FLAX, Library
from .program import Event, Program

Draw = random.Random
COLLECTIONS = ("params", "stats", "intermediates", "batch_stats", "perturbations")
LEAVES = ("dense", "dense", "scale", "stats", "dropout", "sow", "norm", "noise", "two", "perturb")
LIFTS = ("jit", "remat", "scan", "vmap", "map_variables", "cond", "switch", "while", "named_call",
         "checkpoint policy", "remat_scan", "add_metadata_axis", "jit method", "remat method",
         "vjp", "grad", "custom_vjp", "fold_rngs", "jvp", "setup")  # fmt: skip
TOLERANCE = 2e-5


class Nests:
    """The arm; a program is a tree of modules and its call."""

    name = "nests"
    lenient = True
    follows = False

    def generate(self, random: Draw) -> Program:
        return {
            "node": _node(random, random.choice([2, 2, 3])),
            "seed": random.randrange(50),
            "mutable": random.choice([None, None, False, True, "stats", ["intermediates"]]),
            "jit": random.random() < 0.2,
            "grad": random.random() < 0.2,
            "twice": random.random() < 0.15,
        }

    def peers(self, program: Program) -> tuple[Library, ...]:
        return (FLAX,)

    def run(self, program: Program, library: Library) -> Iterator[Event]:
        nn, seed = library.linen, program.get("seed", 0)
        model = _class(nn, program["node"])()
        x = jnp.asarray([[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]])
        keys = {name: jax.random.key(seed + i) for i, name in enumerate(("params", "dropout"))}
        y, variables = model.init_with_output(keys, x)
        yield Event("init", _sorted(variables), 0)
        yield Event("output of init", y, TOLERANCE)
        mutable = program.get("mutable")
        mutable = list(COLLECTIONS[1:]) if mutable is None else mutable

        def apply(variables: Any, x: Any) -> Any:
            y = model.apply(variables, x, rngs={"dropout": keys["dropout"]}, mutable=mutable)
            return y if isinstance(y, tuple) else (y, {})

        y, state = apply(variables, x)
        yield Event("apply", [y, _sorted(state)], TOLERANCE)
        if program.get("twice"):
            y, state = apply({**variables, **state}, y)
            yield Event("apply again", [y, _sorted(state)], TOLERANCE)
        if program.get("jit"):
            y, state = jax.jit(apply)(variables, x)
            yield Event("jitted apply", [y, _sorted(state)], TOLERANCE)
        if program.get("grad"):
            rest = {k: v for k, v in variables.items() if k != "params"}
            params = variables.get("params", {})
            loss = lambda p, x: jnp.sin(apply({"params": p, **rest}, x)[0]).sum()  # noqa: E731
            yield Event("gradient", _sorted_list(jax.grad(loss, (0, 1))(params, x)), 10 * TOLERANCE)


def _sorted(tree: Any) -> Any:
    return jax.tree.map(lambda x: x, dict(tree))


def _sorted_list(tree: Any) -> list[Any]:
    return [jax.tree.map(lambda x: x, part) for part in tree]


def _node(draw: Draw, depth: int) -> Program:
    if depth == 0 or draw.random() < 0.15:
        return {"do": draw.choice(LEAVES), "n": draw.randrange(4)}
    if draw.random() < 0.35:
        parts = [_node(draw, depth - 1) for _ in range(draw.randint(1, 3))]
        return {"do": draw.choice(["chain", "chain", "shared", "named"]), "of": parts}
    do = draw.choice(LIFTS)
    made: Program = {"do": do, "n": draw.randrange(4), "of": [_node(draw, depth - 1)]}
    if do in ("scan", "vmap"):
        made["params"] = draw.choice(["axis", "axis", "axis", "broadcast", "last", "none"])
        made["state"] = draw.choice(["axis", "axis", "broadcast", "carry", "none"])
        made["split"] = draw.choice(["both", "both", "params", "dropout", "none"])
        made["over"] = draw.random() < 0.5
        if do == "scan":
            made["options"] = draw.choice(
                [{}, {}, {"reverse": True}, {"unroll": 2}, {"check_constancy_invariants": False}]
            )
    return made


def _class(nn: Any, node: Program) -> Any:
    """The module class of a node."""
    do = node["do"]
    inner = [_class(nn, part) for part in node.get("of", [])]
    call = _leaf(nn, do, node.get("n", 0)) if do in LEAVES else _call(nn, node, inner)
    if do == "setup":

        class Node(nn.Module):
            def setup(self) -> None:
                self.part = inner[0]()
                self.parts = [inner[0]() for _ in range(2)]

            def __call__(self, x: Any) -> Any:
                for part in self.parts:
                    x = part(x)
                return self.part(x)

        return Node

    class Node(nn.Module):  # type: ignore[no-redef]
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return call(self, x)

    return Node


def _leaf(nn: Any, do: str, n: int) -> Any:
    normal = nn.initializers.normal()

    def call(self: Any, x: Any) -> Any:
        if do == "dense":
            return nn.Dense(x.shape[-1], use_bias=n % 2 == 0)(x)
        if do == "two":
            layer = nn.Dense(x.shape[-1])
            return layer(layer(x)) + nn.Dense(x.shape[-1], name="other")(x)
        if do == "scale":
            return x * self.param("scale", normal, (x.shape[-1],))
        if do == "stats":
            mean = self.variable("stats", "mean", jnp.zeros, x.shape[-1:])
            count = self.variable("stats", "count", lambda: jnp.zeros((), jnp.int32))
            y = x - mean.value
            if self.is_mutable_collection("stats") and (n % 2 or not self.is_initializing()):
                mean.value = 0.5 * mean.value + x.reshape(-1, x.shape[-1]).mean(0)
                count.value += 1
            return y
        if do == "dropout":
            return nn.Dropout(0.5, deterministic=n == 0)(x)
        if do == "sow":
            self.sow("intermediates", "h", x if n % 2 else x.sum())
            return x + 1
        if do == "norm":
            return nn.BatchNorm(use_running_average=n == 0)(x)
        if do == "perturb":
            return self.perturb("p", x * 2)
        return x + jax.random.normal(self.make_rng("dropout" if n % 2 else "params"), x.shape)

    return call


def _call(nn: Any, node: Program, inner: list[Any]) -> Any:
    do, n = node["do"], node.get("n", 0)

    # Flax maps variables again in each call to `init`; see differences.toml.
    called_once = "map_variables" in json.dumps(node)

    def plain(self: Any, x: Any) -> Any:
        if do == "shared":
            parts = [part() for part in inner]
            y = sum(part(x) for part in parts)
            return y if called_once else parts[-1](y)
        if do == "named":
            parts = [part(name=f"part{i}") for i, part in enumerate(inner)]
        else:
            parts = [part() for part in inner]
        for part in parts:
            x = part(x)
        return x

    if do in ("chain", "shared", "named", "setup"):
        return plain
    (part,) = inner

    def call(self: Any, x: Any) -> Any:
        if do in ("jit", "remat", "checkpoint policy"):
            lift = {
                "jit": nn.jit,
                "remat": nn.remat,
                "checkpoint policy": lambda c: nn.checkpoint(
                    c, prevent_cse=False, policy=jax.checkpoint_policies.nothing_saveable
                ),
            }[do]
            lifted = lift(part)
            first = lifted()
            if n == 1 and not called_once:
                return first(first(x))
            return lifted()(x) if n == 2 else first(x)
        if do in ("jit method", "remat method", "named_call"):
            lifts = {"jit method": nn.jit, "remat method": nn.remat, "named_call": nn.named_call}
            return lifts[do](lambda self, x: part()(x))(self, x)
        if do == "scan":
            return _scan(nn, node, part, self, x)
        if do == "vmap":
            return _vmap(nn, node, part, self, x)
        if do == "map_variables":
            double = lambda tree: jax.tree.map(lambda a: a * 2, tree)  # noqa: E731
            half = lambda tree: jax.tree.map(lambda a: a / 2, tree)  # noqa: E731
            collection = "params" if n % 2 else "stats"
            return nn.map_variables(part, collection, double, half, mutable=n > 1, init=True)()(x)
        if do == "add_metadata_axis":
            return nn.add_metadata_axis(part, variable_axes={"params": 0})()(x)
        if do == "fold_rngs":
            return nn.fold_rngs(part)()(x)
        if do == "remat_scan":
            return nn.remat_scan(part, lengths=(2, 1 + n % 2))()(x)
        # The function gets the submodule from the transform; an outer one would write outside.
        a = part()
        act = lambda a, x: a(x)  # noqa: E731
        if do in ("cond", "switch"):
            if self.is_initializing():
                return a(x)
            other = (lambda a, x: a(-x)) if n % 2 else (lambda a, x: x)
            if do == "cond":
                return nn.cond(x.sum() > 0, act, other, a, x)
            return nn.switch(jnp.int32(n // 2), [act, other], a, x)
        if do == "while":
            if self.is_initializing():
                return a(x)
            body = lambda a, c: (c[0] + 1, a(c[1]))  # noqa: E731
            done = lambda a, c: c[0] < 2  # noqa: E731
            carried = ("stats", "batch_stats") if n % 2 else ()
            start = (jnp.int32(0), x)
            split = {"dropout": n > 1, "params": n > 1}
            options = {"carry_variables": carried, "split_rngs": split}
            return nn.while_loop(done, body, a, start, **options)[1]
        if do == "vjp":
            y, back = nn.vjp(act, a, x)
            _, dx = back(jnp.ones_like(y))
            return y + dx
        if do == "grad":
            _, dx = nn.value_and_grad(lambda a, x: jnp.sin(a(x)).sum(), a, x)
            return x + dx[-1]
        if do == "jvp":
            y, dy = nn.jvp(act, a, (x,), (jnp.ones_like(x),), {})
            return y + dy
        if do == "custom_vjp":
            forward = lambda a, x: nn.vjp(act, a, x)  # noqa: E731
            return nn.custom_vjp(act, forward, lambda back, g: back(g))(a, x)
        raise ValueError(do)

    return call


def _axes(node: Program, scan: bool) -> dict[str, Any]:
    params, state = node.get("params", "axis"), node.get("state", "axis")
    axes: dict[str, Any] = {}
    options: dict[str, Any] = {"variable_axes": axes}
    if params == "axis":
        axes["params"] = 0
    elif params == "last":
        axes["params"] = -1
    elif params == "broadcast":
        if scan:
            options["variable_broadcast"] = "params"
        else:
            axes["params"] = None
    others = ("stats", "batch_stats", "intermediates", "perturbations")
    if state == "axis":
        axes |= dict.fromkeys(others, 0)
    elif state == "broadcast":
        axes |= {} if scan else dict.fromkeys(others)
    elif state == "carry":
        axes["intermediates"] = 0
        if scan:
            options["variable_carry"] = ["stats", "batch_stats"]
    split = node.get("split", "both")
    options["split_rngs"] = {n: split in ("both", n) for n in ("params", "dropout")}
    return options


def _scan(nn: Any, node: Program, part: Any, self: Any, x: Any) -> Any:
    options = _axes(node, True) | node.get("options", {})

    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry: Any, i: Any) -> Any:
            y = part()(carry)
            return (y + i if node.get("over") else y), y.sum()

    if node.get("over"):
        y, sums = nn.scan(Step, **options)()(x, jnp.arange(2.0))
    else:
        y, sums = nn.scan(Step, length=2, **options)()(x, None)
    return y + sums.sum()


def _vmap(nn: Any, node: Program, part: Any, self: Any, x: Any) -> Any:
    options = _axes(node, False)
    if node.get("over"):
        lifted = nn.vmap(part, in_axes=0, out_axes=0, **options)
        return lifted()(jnp.stack([x, 2 * x])).sum(0)
    lifted = nn.vmap(part, in_axes=None, out_axes=0, axis_size=2, **options)
    return lifted()(x).sum(0)
