"""Views: copies of a model that share its variables but have different settings.

`nnx.view(model, deterministic=True)` returns a model for evaluation that follows the training of
the original: its objects are new, but it shares the original's variables. One model can thus be
in training and evaluation mode at once, without switching back and forth.

A layer declares its settings by the parameters of its `set_view` method. Within `Repeat`, the
method sees the variables of one layer, and those that it makes are made for all layers.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ..accepted import accepted
from ..errors import ArgumentError, did_you_mean
from .filters import Filter, to_predicate
from .module import set_attributes
from .repeat import Repeat
from .structure.graph import clone
from .structure.iteration import iter_graph
from .variable.sharding_metadata import add_axis_name, remove_axis_name
from .variable.variable import Variable
from .variable.variable_metadata import require_one_kind

A = TypeVar("A")


def view(
    node: A,
    /,
    *,
    only: Filter = ...,
    raise_if_not_found: bool = True,
    graph: bool | None = None,
    **kwargs: object,
) -> A:
    """A copy of an object that shares its variables, with settings changed through `set_view`.

    Args:
      node: the object; it is not changed.
      only: which modules to set.
      raise_if_not_found: raises an error for settings that no selected module accepts.
      graph: False raises an error for shared references.
      **kwargs: the settings; each module gets those that its `set_view` accepts.

    Raises:
      ArgumentError: no module accepts one of the settings; see `view_info`.

    >>> from linnet.module_core import nnx
    >>> class Noise(nnx.Module):
    ...     def __init__(self):
    ...         self.scale, self.on = nnx.Param(1.0), True
    ...     def set_view(self, on=None):
    ...         self.on = self.on if on is None else on
    >>> model = Noise()
    >>> silent = view(model, on=False)
    >>> model.on, silent.on, silent.scale is model.scale
    (True, False, True)
    """
    new = clone(node, variables=False, graph=graph)
    taken: set[str] = set()
    known: set[str] = set()
    for module, repeats in _viewable(new, only):
        parameters = inspect.signature(module.set_view).parameters
        known.update(parameters)
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        mine = {k: v for k, v in kwargs.items() if open_ended or k in parameters}
        if mine:
            with _as_one_layer(module, repeats):
                module.set_view(**mine)
            taken.update(mine)
    unused = sorted(set(kwargs) - taken)
    if unused and raise_if_not_found:
        raise ArgumentError(
            f"Unused keys found in nnx.view: {unused}",
            hint=f"{did_you_mean(unused[0], known)} nnx.view_info lists what the modules accept.",
        )
    return new


def view_info(node: object, /, *, only: Filter = ..., graph: bool | None = None) -> str:
    """The settings that `view` can change, by class, with the documentation of each `set_view`.

    Args:
      node: the object.
      only: which modules to list.
      graph: False raises an error for shared references.
    """
    classes = {type(m).__name__: m.set_view for m, _ in _viewable(node, only, graph)}
    lines: list[str] = []
    for name, method in sorted(classes.items()):
        lines.append(f"{name}:")
        about = _arguments_of(method)
        for p in inspect.signature(method).parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            of_type = "" if p.annotation is p.empty else f": {_text(p.annotation)}"
            default = "" if p.default is p.empty else f" = {p.default}"
            lines.append(f"  {p.name}{of_type}{default}")
            lines += [f"    {line}" for line in about.get(p.name, ())]
    return "\n".join(lines)


def with_attributes(
    node: A,
    /,
    *,
    only: Filter = ...,
    raise_if_not_found: bool = True,
    graph: bool | None = None,
    **attributes: object,
) -> A:
    """A copy of an object that shares its variables, with attributes set.

    Args:
      node: the object; it is not changed.
      only: which modules to set.
      raise_if_not_found: raises an error for attributes that no selected module has.
      graph: False raises an error for shared references.
      **attributes: names and new values; see `Module.set_attributes`.

    Raises:
      ArgumentError: no module has one of the attributes.
    """
    new = clone(node, variables=False, graph=graph)
    set_attributes(new, (only,), raise_if_not_found=raise_if_not_found, graph=graph, **attributes)
    return new


def with_vars(
    node: A,
    /,
    *,
    hijax: bool | None = None,
    ref: bool | None = None,
    mutable: bool | None = None,
    only: Filter = ...,
    allow_duplicates: bool = False,
) -> A:
    """A copy of an object that shares its variables; Linnet has only one kind of variable.

    Programs written for Flax call this to turn variables into mutable-array references and back.

    Args:
      node: the object; it is not changed.
      hijax, ref, mutable: must not be True.
      only: which variables to convert.
      allow_duplicates: whether shared variables may be converted; has no effect, since none is.

    Raises:
      ArgumentError: references or hijax variables are requested.
    """
    accepted(only=only, allow_duplicates=allow_duplicates)
    require_one_kind(hijax=hijax, ref=ref, mutable=mutable)
    return clone(node, variables=False)


vars_as = with_vars
"""An older name for `with_vars`."""


def _viewable(
    node: object, only: Filter, graph: bool | None = None
) -> Iterator[tuple[Any, list[Repeat[Any]]]]:
    """The modules that have settings, each with the `Repeat`s that it is in."""
    predicate = to_predicate(only)
    found = list(iter_graph(node, graph=graph))
    repeats = {path: value for path, value in found if isinstance(value, Repeat)}
    for path, value in found:
        if callable(getattr(type(value), "set_view", None)) and predicate(path, value):
            yield value, [repeats[path[:n]] for n in range(len(path)) if path[:n] in repeats]


@contextmanager
def _as_one_layer(module: Any, repeats: Sequence[Repeat[Any]]) -> Iterator[None]:
    """Lets a module within `Repeat` see its variables as those of a single layer.

    Variables that it makes in the meantime, such as caches, are made for all layers.
    """
    sizes = tuple(r.length // r.layers_per_block for r in repeats)
    stacked: dict[str, tuple[Variable[Any], Variable[Any], Any]] = {}
    for name, variable in vars(module).items() if repeats else ():
        value = variable.raw_value if isinstance(variable, Variable) else None
        if getattr(value, "shape", ())[: len(sizes)] != sizes:
            continue
        alone, value = variable.copy(), _first(value, len(sizes))
        for repeat in repeats:
            remove_axis_name(alone, 0, repeat.axis_name)
        alone.set_raw_value(value)
        stacked[name] = (variable, alone, value)
    for name, (_, alone, _) in stacked.items():
        setattr(module, name, alone)
    yield
    for name, variable in list(vars(module).items()) if repeats else ():
        original, alone, value = stacked.get(name, (None, None, None))
        if not isinstance(variable, Variable):
            continue
        if variable is alone and variable.raw_value is value:  # as it was
            setattr(module, name, original)
            continue
        made = variable.raw_value
        variable.set_raw_value(jnp.broadcast_to(made, (*sizes, *jnp.shape(made))))
        for repeat in reversed(repeats):
            add_axis_name(variable, 0, repeat.axis_name)


def _first(value: Any, depth: int) -> Any:
    if isinstance(value, jax.ShapeDtypeStruct):
        return jax.eval_shape(lambda x: x[(0,) * depth], value)
    return value[(0,) * depth]


def _text(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _arguments_of(method: object) -> Mapping[str, list[str]]:
    """The lines that a Google-style docstring has about each argument."""
    lines = (inspect.getdoc(method) or "").splitlines()
    if "Args:" not in lines:
        return {}
    found: dict[str, list[str]] = {}
    mine: list[str] = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break  # the next section
        start = re.match(r"  (\w+): (.*)", line)
        if start:
            mine = found.setdefault(start[1], [])
            mine.append(start[2])
        elif line.strip():
            mine.append(line.strip())
    return found
