"""nnx: graphs of modules that share and nest, split, merged and transformed.

A program builds a graph and then performs steps: functions of the API, and functions that change
the graph under a stack of transforms. After each step the event is the whole graph, in which shared
objects are numbered. The peers are Flax, and Linnet without transforms: the same function, run
eagerly.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .libraries import EAGER, FLAX, LINNET, Library
from .program import ABSTAINS, Event, Program, difference

Draw = random.Random
NAMES = ("a", "b", "c", "layers", "B")
TYPES = ("Param", "Param", "BatchStat", "Variable", "Cache", "Intermediate", "LoRAParam", "Custom")
NODES = ("module", "module", "module", "List", "Dict", "list", "dict", "Sub")
FILTERS = (
    "Param", "BatchStat", "Variable", "RngState", "...", ["not", "Param"], ["path", "a"],
    ["path", 0], ["any", "Cache", "BatchStat"], ["type", "LoRAParam"], "Nothing",
    ["all", "Variable", ["not", "Cache"]],
)  # fmt: skip
# Transforms that don't change what the function computes.
PLAIN = ("jit", "jit twice", "remat", "cond", "switch", "fori", "while", "scan",
         "two", "parts", "closure", "out", "cond of two", "method")  # fmt: skip
OTHERS = (
    "raw jit",
    "vmap",
    "vmap axes",
    "grad",
    "value and grad",
    "scan axes",
    "vmap over",
    "grad of state",
    "vjp",
)
# Steps that may have changed something before they raise an error.
CHANGING = {"jit twice", "closure", "raw jit", "grad of state", "vjp"}
TOLERANCE = 1e-5


class Graphs:
    """The arm for graphs; a program is a graph and the steps to perform."""

    name = "graphs"
    lenient = True
    follows = False

    def generate(self, random: Draw) -> Program:
        kinds = [
            [random.choice(TYPES), random.randrange(1, 9)] for _ in range(random.randint(1, 4))
        ]
        nodes = []
        for number in range(random.randint(1, 4)):
            items = []
            for name in random.sample(NAMES, random.randint(1, 3)):
                chance = random.random()
                if chance < 0.55:
                    item: Any = ["var", random.randrange(len(kinds))]
                elif chance < 0.8 and number:
                    item = ["node", random.randrange(number)]
                else:
                    item = random.choice(
                        [["array", 3], ["static", 1], ["static", "s"], ["rngs", 2]]
                    )
                items.append([name, item])
            nodes.append({"kind": random.choice(NODES), "items": items})
        nodes[-1]["kind"] = random.choice(NODES if random.random() < 0.2 else ("module", "Sub"))
        steps = [_step(random) for _ in range(random.randint(1, 3))]
        return {"vars": kinds, "nodes": nodes, "steps": steps}

    def peers(self, program: Program) -> tuple[Library, ...]:
        return (FLAX, EAGER)

    def run(self, program: Program, library: Library) -> Iterator[Event]:
        nnx = library.nnx
        root = _build(program, library)
        yield Event("graph", shown(nnx, root))
        x = jnp.asarray([0.5, -1.0])
        for step in program["steps"]:
            abstains = False
            if step["do"] == "run":
                with_, label = step["with"], ">".join(step["with"]) or "eagerly"
                seen: list[Any] = []
                # Python has no gradients or mapped axes: the eager peer uses Linnet's result.
                abstains = library.eager and not {*with_}.issubset(PLAIN)
                among = LINNET if abstains else library
                before = shown(nnx, root)
                try:
                    y = _under(among, with_, step["body"], seen)(root, x)
                except Exception:
                    # A step that raises an error has changed nothing.
                    whole = library is LINNET and not CHANGING.intersection(with_[:1] or CHANGING)
                    if whole and (changed := difference(shown(nnx, root), before)):
                        yield Event(f"run {label}: changed though refused", changed, fault=True)
                    raise
                yield Event(f"run {label}: result", ABSTAINS if abstains else y, TOLERANCE)
                yield Event(f"run {label}: seen", ABSTAINS if abstains else seen, TOLERANCE)
            else:
                label = step["do"]
                for event, left in STEPS[label](library, root, step):
                    root = left
                    yield event
            yield Event(
                f"graph after {label}", ABSTAINS if abstains else shown(nnx, root), TOLERANCE
            )


def _step(draw: Draw) -> Program:
    if draw.random() < 0.6:
        stack = [draw.choice(PLAIN if draw.random() < 0.65 else OTHERS)]
        if draw.random() < 0.25:
            stack.append(draw.choice(PLAIN if draw.random() < 0.7 else OTHERS))
        if draw.random() < 0.1:
            stack = []
        body = [_micro(draw) for _ in range(draw.randint(1, 3))]
        if not {*stack}.issubset(PLAIN):
            # Flax drops metadata that these change, and no other peer has these transforms.
            body = [micro for micro in body if micro[0] != "note"]
        return {"do": "run", "with": stack, "body": body}
    step: Program = {"do": draw.choice(list(STEPS)), "n": draw.randrange(3)}
    step["filters"] = [draw.choice(FILTERS) for _ in range(draw.choice([0, 1, 1, 2]))]
    return step


def _micro(draw: Draw) -> list[Any]:
    do = draw.choice(
        ["write", "write", "write", "add x", "read", "read", "draw", "set", "link", "share",
         "delete", "append", "static", "note", "array", "replace", "write path"]
    )  # fmt: skip
    return [do, draw.randrange(4), draw.choice(["a", "b", "new"]), draw.randrange(4)]


# -- the graph --------------------------------------------------------------------------------


@functools.cache
def _classes(library: Library) -> dict[str, Any]:
    nnx = library.nnx

    class Node(nnx.Module):  # type: ignore[name-defined]
        def act(self, x: Any, do: Any) -> Any:
            return do(self, x)

    class Sub(Node):
        pass

    class Custom(nnx.Variable):  # type: ignore[name-defined]
        pass

    return {"module": Node, "Sub": Sub, "Custom": Custom}


def _variable(library: Library, kind: str, n: int) -> Any:
    made = _classes(library)[kind] if kind == "Custom" else getattr(library.nnx, kind)
    note = {"note": n} if n % 3 == 0 else {}
    return made(jnp.asarray([n, n + 0.5], jnp.float32), **note)


def _build(program: Program, library: Library) -> Any:
    nnx = library.nnx
    variables = [_variable(library, *kind) for kind in program["vars"]]
    nodes: list[Any] = []
    for node in program["nodes"]:
        kind, made = node["kind"], {}
        for name, (what, which) in node["items"]:
            if what == "var":
                made[name] = variables[which % len(variables)]
            elif what == "node":
                made[name] = nodes[which % len(nodes)]
            elif what == "array":
                made[name] = jnp.full((2,), which, jnp.float32)
            else:
                made[name] = nnx.Rngs(which) if what == "rngs" else which
        if kind in ("module", "Sub"):
            nodes.append(_classes(library)[kind]())
            for name, value in made.items():
                data = isinstance(value, (list, dict))
                setattr(nodes[-1], name, nnx.data(value) if data else value)
        elif kind in ("List", "list"):
            values = list(made.values())
            nodes.append(nnx.List(values) if kind == "List" else values)
        else:
            nodes.append(nnx.Dict(made) if kind == "Dict" else made)
    return nodes[-1]


def children(nnx: Any, node: Any) -> list[tuple[Any, Any]]:
    """The contents of an object, in the same order for both libraries."""
    if isinstance(node, (nnx.List, list, tuple)):
        return list(enumerate(node))
    if isinstance(node, (nnx.Dict, dict, nnx.State)):
        return sorted(((key, node[key]) for key in node), key=lambda item: str(item[0]))
    return sorted((key, value) for key, value in vars(node).items() if not key.startswith("_"))


def is_node(nnx: Any, value: Any) -> bool:
    kinds = (nnx.Module, nnx.List, nnx.Dict, nnx.Rngs, nnx.RngStream, nnx.State, list, dict, tuple)
    return isinstance(value, kinds)


def shown(nnx: Any, value: Any, seen: dict[int, int] | None = None) -> Any:
    """An object as nested lists, with a number for an object that occurred before."""
    seen = {} if seen is None else seen
    variable = isinstance(value, nnx.Variable)
    if not variable and not is_node(nnx, value):
        return value if isinstance(value, (jax.Array, np.ndarray, str)) else repr(value)
    if id(value) in seen:
        return ["same", seen[id(value)]]
    name = type(value).__name__
    # Lists and dicts are values: jax's transforms make new ones.
    if variable or not isinstance(value, (list, dict, tuple, nnx.State)):
        seen[id(value)] = len(seen)
    if variable:
        note = value.get_metadata("note", None)
        return [name, value.get_value(), note] if note is not None else [name, value.get_value()]
    return [name, {str(k): shown(nnx, v, seen) for k, v in children(nnx, value)}]


def found(nnx: Any, root: Any) -> tuple[list[Any], list[Any]]:
    """All nodes and all variables, each once, parents first."""
    nodes: list[Any] = []
    variables: list[Any] = []
    met: set[int] = set()

    def visit(value: Any) -> None:
        if id(value) in met:
            return
        if isinstance(value, nnx.Variable):
            met.add(id(value))
            variables.append(value)
        elif is_node(nnx, value):
            met.add(id(value))
            nodes.append(value)
            for _, child in children(nnx, value):
                visit(child)

    visit(root)
    return nodes, variables


def refuse_cycle(nnx: Any, node: Any, above: tuple[int, ...] = ()) -> None:
    """Raises an error for a graph that contains itself, which would overflow the stack in jax."""
    if id(node) in above:
        raise ValueError("it holds itself")
    if is_node(nnx, node):
        for _, child in children(nnx, node):
            refuse_cycle(nnx, child, (*above, id(node)))


# -- functions of the API ---------------------------------------------------------------------


def _filters(nnx: Any, step: Program) -> list[Any]:
    return [_filter(nnx, f) for f in step.get("filters", [])]


def _filter(nnx: Any, description: Any) -> Any:
    if description == "...":
        return ...
    if isinstance(description, str):
        return (
            getattr(nnx, description)() if description == "Nothing" else getattr(nnx, description)
        )
    kind, *parts = description
    if kind == "path":
        return nnx.PathContains(parts[0])
    if kind == "type":
        return nnx.OfType(_filter(nnx, parts[0]))
    inner = [_filter(nnx, part) for part in parts]
    return {"not": nnx.Not, "any": nnx.Any, "all": nnx.All}[kind](*inner)


Made = Iterator[tuple[Event, Any]]


def _split(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    graph, *states = nnx.split(root, *_filters(nnx, step))
    again, *_ = nnx.split(root, *_filters(nnx, step))
    yield Event("split", [[shown(nnx, s) for s in states], graph == again]), root
    states = states[:: -1 if step.get("n") else 1]
    merged = nnx.merge(graph, *states, copy=step.get("n") == 2)
    yield Event("merged", [shown(nnx, merged), nnx.graphdef(merged) == graph]), merged


def _clone(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    copy = nnx.clone(root)
    for variable in found(nnx, copy)[1]:
        if variable.get_value().dtype == jnp.float32:
            variable[...] = variable[...] + 1
    yield Event("clone", shown(nnx, copy)), root


def _state(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    state = nnx.state(root, *_filters(nnx, step))
    yield Event("state", shown(nnx, state)), root


def _update(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    state = nnx.state(root, *_filters(nnx, step)[:1])
    if step.get("n") == 2:
        other = nnx.state(nnx.clone(root))
        state = jax.tree.map(lambda a: a * 2, other)
    else:
        state = jax.tree.map(lambda a: a + 1 if a.dtype == jnp.float32 else a, state)
    nnx.update(root, state)
    yield Event("update", shown(nnx, state)), root


def _pop(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    popped = nnx.pop(root, *_filters(nnx, step))
    yield Event("pop", shown(nnx, popped)), root


def _paths(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    seen = [[list(map(str, p)), type(n).__name__] for p, n in nnx.iter_graph(root)]
    seen = [s for s in seen if not s[0] or not s[0][-1].startswith("_")]  # Flax's own
    yield Event("iter_graph", [s for s in seen if s[1] not in ("ArrayImpl", "int", "str")]), root
    modules = [[list(map(str, p)), type(n).__name__] for p, n in nnx.iter_modules(root)]
    yield Event("iter_modules", modules), root
    direct = [[str(p), type(n).__name__] for p, n in nnx.iter_children(root)]
    yield Event("iter_children", direct), root


def _pure(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    state = nnx.state(root, *_filters(nnx, step)[:1])
    pure = nnx.to_pure_dict(state)
    yield Event("to_pure_dict", shown(nnx, pure)), root
    flat = nnx.to_flat_state(state)
    yield Event("to_flat_state", [[list(map(str, p)), shown(nnx, v)] for p, v in flat]), root
    yield Event("from_flat_state", shown(nnx, nnx.from_flat_state(flat))), root
    pure = jax.tree.map(lambda a: a + 1 if a.dtype == jnp.float32 else a, pure)
    nnx.replace_by_pure_dict(state, pure)
    nnx.update(root, state)


def _duplicates(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    groups = nnx.find_duplicates(root)
    yield (
        Event(
            "find_duplicates", sorted(sorted(["/".join(map(str, p)) for p in g]) for g in groups)
        ),
        root,
    )


def _tree(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    refuse_cycle(nnx, root)
    leaves = [x if x.dtype == jnp.float32 else str(x.dtype) for x in jax.tree.leaves(root)]
    yield Event("jax.tree.leaves", leaves), root
    mapped = jax.tree.map(lambda a: a + 1 if a.dtype == jnp.float32 else a, root)
    yield Event("jax.tree.map", shown(nnx, mapped)), root


def _split_state(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    state = nnx.state(root)
    parts = nnx.split_state(state, *_filters(nnx, step))
    parts = parts if isinstance(parts, tuple) else (parts,)
    yield Event("split_state", [shown(nnx, p) for p in parts]), root
    yield Event("merge_state", shown(nnx, nnx.merge_state(*parts))), root
    some = nnx.filter_state(state, *_filters(nnx, step)[:1])
    yield Event("filter_state", shown(nnx, some)), root


def _map(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    seen: list[Any] = []

    def visit(path: Any, value: Any) -> Any:
        seen.append("/".join(map(str, path)))
        return value

    mapped = nnx.map_state(visit, nnx.state(root))
    yield Event("map_state", [sorted(seen), shown(nnx, mapped)]), root


def _abstract(library: Library, root: Any, step: Program) -> Made:
    nnx = library.nnx
    made = nnx.eval_shape(lambda: nnx.clone(root))
    flat = nnx.to_flat_state(nnx.state(made))

    def kind(value: Any) -> list[Any]:
        inner = value.get_value() if isinstance(value, nnx.Variable) else value
        return [type(value).__name__, list(inner.shape), str(inner.dtype)]

    yield Event("eval_shape", [["/".join(map(str, p)), kind(v)] for p, v in flat]), root


STEPS: dict[str, Callable[[Library, Any, Program], Made]] = {
    "split": _split,
    "clone": _clone,
    "state": _state,
    "update": _update,
    "pop": _pop,
    "paths": _paths,
    "pure": _pure,
    "duplicates": _duplicates,
    "tree": _tree,
    "split_state": _split_state,
    "map": _map,
    "abstract": _abstract,
}

# -- what a function does to the graph --------------------------------------------------------


def _body(library: Library, body: list[Any], root: Any, x: Any) -> Any:
    """Changes the graph and computes something from it."""
    nnx = library.nnx
    for do, at, name, other in body:
        nodes, variables = found(nnx, root)
        modules = [n for n in nodes if isinstance(n, nnx.Module)]
        floats = [v for v in variables if v.get_value().dtype == jnp.float32]
        if do in ("write", "add x", "read", "replace", "note", "share") and not floats:
            continue
        if do in ("set", "link", "share", "static", "array") and not modules:
            continue
        variable: Any = floats[at % len(floats)] if floats else None
        module: Any = modules[at % len(modules)] if modules else None
        if do == "write":
            variable[...] = variable[...] * 0.5 + other
        elif do == "add x":
            variable[...] = variable[...] + x.sum() * 0.25
        elif do == "read":
            x = x + variable[...].sum() * 0.125
        elif do == "write path":
            last = floats[-1] if floats else None
            if last is not None:
                last.set_value(last.get_value() + 1)
        elif do == "draw":
            for node in nodes:
                if isinstance(node, nnx.Rngs):
                    x = x + jax.random.uniform(node.params())
        elif do == "set":
            setattr(module, name, _variable(library, TYPES[other % len(TYPES)], other))
        elif do == "link":
            setattr(module, name, modules[other % len(modules)])
        elif do == "share":
            setattr(module, name, floats[other % len(floats)])
        elif do == "array":
            setattr(module, name, x * other)
        elif do == "static":
            # Flax treats a number as data if it replaces a module or an array.
            setattr(module, f"{name}_size", other)
        elif do == "replace":
            variable.set_value(jnp.full((2,), other, jnp.float32) * x.sum())
        elif do == "note":
            variable.set_metadata("note", other)
        elif do == "delete":
            node = nodes[at % len(nodes)]
            held = children(nnx, node)
            # A list or dict that is itself the argument is a tree; the function gets a copy of it.
            if held and not (node is root and isinstance(node, (list, dict))):
                key, _ = held[other % len(held)]
                if isinstance(node, (nnx.List, nnx.Dict, list, dict)):
                    del node[key]
                elif isinstance(node, nnx.Module):
                    delattr(node, key)
        elif do == "append":
            lists = [n for n in nodes if isinstance(n, (nnx.List, list)) and n is not root]
            if lists:
                lists[at % len(lists)].append(_variable(library, TYPES[other % len(TYPES)], other))
    return x


def _under(
    library: Library, stack: list[str], body: list[Any], seen: list[Any]
) -> Callable[..., Any]:
    """The function under a stack of transforms, outermost first."""
    if not stack:
        return lambda root, x: _body(library, body, root, x)
    inner = _under(library, stack[1:], body, [])  # values inside are traced
    if library.eager:
        return _eagerly(library.nnx, stack[0], inner, seen)
    return functools.partial(_lifted, library.nnx, stack[0], inner, seen)


def _eagerly(nnx: Any, kind: str, f: Callable[..., Any], seen: list[Any]) -> Callable[..., Any]:
    def call(root: Any, x: Any) -> Any:
        if kind in ("jit twice", "two"):
            return f(root, x) + f(root, x)
        if kind in ("fori", "while", "scan"):
            return f(root, f(root, x))
        y = f(root, x)
        if kind == "out":
            seen.append([True, shown(nnx, root)])
        return y

    return call


def _lifted(nnx: Any, kind: str, f: Callable[..., Any], seen: list[Any], root: Any, x: Any) -> Any:
    axes = lambda: nnx.StateAxes({nnx.Param: 0, ...: None})  # noqa: E731
    flag = x.sum() > -100
    if kind == "jit":
        return nnx.jit(f)(root, x)
    if kind == "jit twice":
        step = nnx.jit(f)
        return step(root, x) + step(root, x)
    if kind == "remat":
        return nnx.remat(f)(root, x)
    if kind == "method":
        return nnx.jit(
            lambda root, x: type(root).act(root, x, f) if hasattr(root, "act") else f(root, x)
        )(root, x)
    if kind == "cond":
        return nnx.cond(flag, f, lambda root, x: x, root, x)
    if kind == "cond of two":
        return nnx.cond(flag, f, f, root, x)
    if kind == "switch":
        return nnx.switch(flag.astype(int), [lambda root, x: x, f], root, x)
    if kind == "fori":
        return nnx.fori_loop(0, 2, lambda i, c: (c[0], f(*c)), (root, x))[1]
    if kind == "while":
        step = lambda c: (c[0], f(c[0], c[1]), c[2] + 1)  # noqa: E731
        return nnx.while_loop(lambda c: c[2] < 2, step, (root, x, jnp.zeros((), int)))[1]
    if kind == "scan":

        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        def step(c: Any, i: Any) -> Any:
            return (c[0], f(*c)), i

        return step((root, x), jnp.arange(2))[0][1]
    if kind == "scan axes":
        layers = nnx.StateAxes({nnx.Param: 0, ...: nnx.Carry})
        return nnx.scan(lambda r, x: f(r, x), in_axes=(layers, nnx.Carry), out_axes=nnx.Carry)(
            root, x
        )
    if kind == "raw jit":
        graph, state = nnx.split(root)

        @jax.jit
        def step(state: Any, x: Any) -> Any:
            copy = nnx.merge(graph, state)
            y = f(copy, x)
            # Without plain arrays: Flax loses those made here.
            return nnx.state(copy, nnx.Variable), y

        state, y = step(state, x)
        nnx.update(root, state)
        return y
    if kind == "two":
        return nnx.jit(lambda a, b, x: f(a, x) + f(b, x))(root, root, x)
    if kind == "parts":
        parts = [child for _, child in children(nnx, root) if is_node(nnx, child)]
        return nnx.jit(lambda root, parts, x: f(root, x))(root, parts, x)
    if kind == "closure":
        return nnx.jit(lambda x: f(root, x))(x)
    if kind == "out":
        same, y = nnx.jit(lambda root, x: (root, f(root, x)))(root, x)
        seen.append([same is root or isinstance(root, (list, dict)), shown(nnx, same)])
        return y
    if kind == "vmap":
        return nnx.vmap(f, in_axes=(None, 0))(root, x)
    if kind == "vmap over":
        return nnx.vmap(f, in_axes=(0, 0))(root, x)
    if kind == "vmap axes":
        return nnx.vmap(f, in_axes=(axes(), 0))(root, x)
    if kind == "grad":
        grads = nnx.grad(lambda root, x: jnp.sin(f(root, x)).sum())(root, x)
        seen.append(shown(nnx, grads))
        return x
    if kind == "grad of state":
        graph, params, rest = nnx.split(root, nnx.Param, ...)
        loss = lambda params, x: jnp.sin(f(nnx.merge(graph, params, rest), x)).sum()  # noqa: E731
        seen.append(shown(nnx, nnx.grad(loss)(params, x)))
        return x
    if kind == "value and grad":
        where = nnx.DiffState(0, nnx.BatchStat)
        with_aux = lambda root, x: (jnp.sin(f(root, x)).sum(), x)  # noqa: E731
        (value, x), grads = nnx.value_and_grad(with_aux, argnums=where, has_aux=True)(root, x)
        seen.append([value, shown(nnx, grads)])
        return x
    if kind == "vjp":
        y, back = nnx.vjp(f, root, x)
        grads = back(jnp.ones_like(y))
        seen.append([shown(nnx, g) for g in grads])
        return y
    raise ValueError(kind)
