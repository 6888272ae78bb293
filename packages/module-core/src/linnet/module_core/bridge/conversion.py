"""`linen_to_nnx` and `nnx_to_linen`: convert the values of a model between the styles.

The model must exist in both styles. Names determine which variables correspond (see `matching`).
Every value must have one counterpart, and a single error reports all values without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ..boxes import AxisMetadata, replace_boxed
from ..errors import ArgumentError
from ..nnx.filters import Filter, to_predicate
from ..nnx.structure.graph import state
from ..nnx.structure.states import Path, path_text, to_flat_state
from ..nnx.variable.variable import Variable, load
from ..nnx.variable.variable_types import RngState
from .matching import Matching, value_at

M = TypeVar("M")


class ConversionError(ArgumentError):
    """Two models don't match; the message lists every variable without a counterpart."""


def linen_to_nnx(
    variables: Mapping[str, Any],
    module: M,
    *,
    names: Mapping[Any, Any] | None = None,
    only: Filter = ...,
) -> M:
    """Loads the variables of a linen model into its nnx twin, in place.

    Submodules are matched by name: `encoder` to `encoder`, `layers_0` to `layers[0]`, and `Dense_0`
    to the first `Linear` in the order of assignment. Convert to a newly constructed module, since
    a merged or cloned module has its attributes sorted by name.

    Args:
      variables: the variables from linen's `init`, or, with `only`, a part of them; boxed or not.
      module: the nnx twin.
      names: paths that can't be inferred: `{"Dense_0": "encoder/project"}`, or tuples.
      only: which variables of the module must have a value; by default, all but random streams.

    Returns:
      The module.

    Raises:
      ConversionError: a value has no variable, a variable has no value, or shapes differ. The
        module is not changed in this case.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import linen, nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self):
    ...         self.factor = nnx.Param(jnp.ones(2))
    >>> class Model(nnx.Module):
    ...     def __init__(self):
    ...         self.scales = [Scale(), Scale()]
    >>> values = {"scales_0": {"factor": jnp.zeros(2)}, "scales_1": {"factor": jnp.ones(2)}}
    >>> model = nnx.bridge.linen_to_nnx({"params": values}, Model())
    >>> model.scales[0].factor.value.tolist()
    [0.0, 0.0]
    >>> jax.tree.map(jnp.shape, nnx.bridge.nnx_to_linen(model, {"params": values}))
    {'params': {'scales_0': {'factor': (2,)}, 'scales_1': {'factor': (2,)}}}
    """
    matching = _matched(variables, module, names, only)
    loaded: list[Any] = []
    problems: list[str] = []
    for link in matching.links:
        parts = [value_at(variables, source) for source in link.sources]
        value = link.join.joined(parts) if link.join is not None else parts[0]
        if jnp.shape(value) != jnp.shape(link.variable.raw_value):
            problems.append(
                f"{_sources(link.sources)} has shape {jnp.shape(value)}, but "
                f"{path_text(link.path)} has shape {jnp.shape(link.variable.raw_value)}"
            )
        loaded.append(value)
    _report(
        problems,
        hint=(
            "Make both models with the same sizes, or say which layers correspond: "
            "names={'Dense_0': 'encoder/out'}."
        ),
    )
    for path in matching.dropped:
        value = value_at(variables, path)
        if not isinstance(value, jax.ShapeDtypeStruct) and np.any(np.asarray(value)):
            problems.append(f"{path_text(path)} isn't zero, and nnx has no such parameter")
    _report(problems)
    for link, value in zip(matching.links, loaded, strict=True):
        load(link.variable, value)
        if isinstance(link.variable.raw_value, np.ndarray):  # not laid out on a mesh
            link.variable.set_raw_value(jnp.asarray(value))
    return module


def nnx_to_linen(
    module: object,
    like: Mapping[str, Any],
    *,
    names: Mapping[Any, Any] | None = None,
    only: Filter = ...,
) -> dict[str, Any]:
    """Converts the variables of an nnx model to those of its linen twin.

    Args:
      module: the model.
      like: variables of the twin, of which only names, shapes and boxes are used: the result of
        `init` or of `jax.eval_shape(twin.init, key, x)`.
      names: as for `linen_to_nnx`.
      only: which variables of the module must have a counterpart in the twin.

    Returns:
      Collections with the structure of `like` and the module's values.

    Raises:
      ConversionError: a value has no variable, a variable has no value, or shapes differ.
    """
    matching = _matched(like, module, names, only)
    found: dict[Path, Any] = {}
    problems: list[str] = []
    for link in matching.links:
        value = link.variable.raw_value
        parts = link.join.split(value) if link.join is not None else [value]
        for source, part in zip(link.sources, parts, strict=True):
            wanted = jnp.shape(value_at(like, source))
            if jnp.shape(part) != wanted:
                problems.append(
                    f"{path_text(link.path)} gives shape {jnp.shape(part)}, but "
                    f"{path_text(source)} has shape {wanted}"
                )
            found[source] = part
    _report(
        problems,
        hint=(
            "Make `like` from a twin that has the same sizes as the module, or say which "
            "layers correspond: names={'Dense_0': 'encoder/out'}."
        ),
    )
    for path in matching.dropped:
        there = value_at(like, path)
        found[path] = jnp.asarray(np.zeros(there.shape, there.dtype))
    return _filled(like, found, ())


def _filled(tree: Mapping[Any, Any], found: Mapping[Path, Any], path: Path) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for name, value in tree.items():
        here = (*path, str(name))
        if isinstance(value, Mapping):
            filled[name] = _filled(value, found, here)
        elif isinstance(value, AxisMetadata):
            filled[name] = replace_boxed(value, found[here])
        else:
            filled[name] = found[here]
    return filled


def _matched(
    variables: Mapping[str, Any], module: object, names: Mapping[Any, Any] | None, only: Filter
) -> Matching:
    given = {tuple(map(str, _as_path(k))): _as_path(v) for k, v in (names or {}).items()}
    matching = Matching(variables, module, given)
    linked = {id(link.variable) for link in matching.links}
    meant = to_predicate(only)
    nnx_only = [
        path_text(path)
        for path, v in to_flat_state(state(module))
        if isinstance(v, Variable) and not isinstance(v, RngState)
        if id(v) not in linked and meant(path, v)
    ]
    problems = []
    if matching.linen_only:
        listed = ", ".join(path_text(p) for p in matching.linen_only)
        problems.append(f"without a variable in {type(module).__name__}: {listed}")
    if nnx_only:
        problems.append(f"without a value in the linen variables: {', '.join(nnx_only)}")
    _report(
        problems,
        hint=(
            "Where names differ, say which layers correspond: names={'Dense_0': "
            "'encoder/out'}. Where one side has more, leave collections out of the variables, "
            "or choose variables with only=."
        ),
    )
    return matching


def _report(problems: list[str], hint: str | None = None) -> None:
    if problems:
        raise ConversionError(
            "The linen variables and the nnx module don't match; " + "; ".join(problems),
            hint=hint,
        )


def _as_path(path: object) -> Path:
    if isinstance(path, tuple):
        return tuple(path)
    return tuple(int(k) if k.isdigit() else k for k in str(path).split("/"))


def _sources(sources: list[Path]) -> str:
    return " + ".join(path_text(p) for p in sources)
