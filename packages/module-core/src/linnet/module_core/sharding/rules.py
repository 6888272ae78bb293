"""Rules that map paths of arrays to partition specs.

Rules are tried in order, and the first one that matches applies. All mistakes in a set of rules are
reported together, before anything is compiled: arrays that no rule matches, rules that match no
array, specs with more entries than an array has axes, axes that the mesh lacks, and sizes that the
number of devices doesn't divide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from ..errors import ArgumentError, ArgumentTypeError, counted
from .leaves import is_array, mapped

T = TypeVar("T")

Rule: TypeAlias = tuple[Any, PartitionSpec | Sequence[Any] | None]
"""A regular expression or filter, and a spec."""

_MOST = 20  # problems of one kind that a message lists


def partition_specs(tree: T, rules: Sequence[Rule], *, all_used: bool = True) -> T:
    """The `PartitionSpec` of each array of a tree, by rules.

    Args:
      tree: linen variables, an nnx module or state, or any tree of arrays or of their shapes
        (`jax.eval_shape`).
      rules: pairs; the first pair that matches an array applies. A pair begins with a regular
        expression, searched for in the array's path ("params/blocks/mlp/kernel"), or with an nnx
        filter: a type of variables, `...` for the rest, or a function of path and leaf. It ends
        with a spec, or with None for arrays that are not split. Arrays of one element need no rule,
        and are not split.
      all_used: whether a rule that matches no array is an error; False for rules that several
        models share.

    Returns:
      The tree with specs in place of arrays (of boxes, in linen variables), and None in place of
      anything else.

    Raises:
      ArgumentError: arrays are unmatched, rules are unused, or specs have too many entries; all of
        them are named.
      ArgumentTypeError: a rule is not such a pair.

    >>> import jax.numpy as jnp
    >>> from jax.sharding import PartitionSpec as P
    >>> params = {"up": {"kernel": jnp.ones((4, 8)), "bias": jnp.ones(8)}}
    >>> specs = partition_specs(params, [("kernel$", P(None, "model")), (..., P())])
    >>> tuple(specs["up"]["kernel"]), tuple(specs["up"]["bias"])
    ((None, 'model'), ())
    """
    return _applied(tree, rules, None, all_used)


def named_shardings(
    tree: T, rules: Sequence[Rule], mesh: Mesh | AbstractMesh, *, all_used: bool = True
) -> T:
    """The `NamedSharding` of each array of a tree, by rules.

    The result can be passed to `out_shardings` of `jax.jit` and `nnx.jit`, so that each device
    makes its own part of a model, and to `place`.

    Args:
      tree, rules, all_used: as for `partition_specs`.
      mesh: the mesh; an `AbstractMesh` for devices that this machine doesn't have.

    Returns:
      The tree with shardings in place of arrays, and None in place of anything else.

    Raises:
      ArgumentError: as for `partition_specs`, or the mesh lacks an axis of a spec, or doesn't
        divide an array; all of these are named.
      ArgumentTypeError: a rule is not a pair, or `mesh` is not a mesh.

    >>> import jax
    >>> from jax.sharding import AbstractMesh, PartitionSpec as P
    >>> mesh = AbstractMesh((4, 2), ("data", "model"))
    >>> shapes = {"kernel": jax.ShapeDtypeStruct((16, 6), "float32")}
    >>> layouts = named_shardings(shapes, [("kernel", P("data", "model"))], mesh)
    >>> layouts["kernel"].shard_shape((16, 6))
    (4, 3)
    >>> named_shardings(shapes, [("kernel", P(None, "data"))], mesh)
    Traceback (most recent call last):
    ...
    linnet.module_core.errors.ArgumentError: Rules don't fit the arrays:
      kernel, of shape (16, 6): 'data' splits axis 1 into 4 parts, which do not divide its size 6
      Choose sizes that are multiples of the parts, or None for such an axis in an earlier rule.
    """
    if not isinstance(mesh, Mesh | AbstractMesh):
        raise ArgumentTypeError(
            f"Expected a mesh, got {mesh!r:.60}.",
            hint='Make one: jax.make_mesh((4, 2), ("data", "model")).',
        )
    return _applied(tree, rules, mesh, all_used)


def _applied(tree: T, rules: Sequence[Rule], mesh: Mesh | AbstractMesh | None, all_used: bool) -> T:
    checked = [_matcher(rule, i) for i, rule in enumerate(rules)]
    used: set[int] = set()
    unmatched: list[str] = []
    misfits: list[str] = []
    unknown: list[str] = []
    indivisible: list[str] = []

    def apply(path: str, leaf: object, x: object) -> object:
        if not is_array(x):
            return None
        found = next((i for i, (match, _) in enumerate(checked) if match(path, leaf)), None)
        if found is not None:
            used.add(found)
        spec = PartitionSpec() if found is None else checked[found][1]  # type: ignore[no-untyped-call]
        if math.prod(x.shape) == 1:
            spec = PartitionSpec()  # type: ignore[no-untyped-call]
        elif found is None:
            unmatched.append(path)
        what = f"{path}, of shape {tuple(x.shape)}"
        if len(spec) > len(x.shape):
            misfits.append(f"{what}: {spec} has {counted(len(spec), 'entry', 'entries')}")
            return spec
        if mesh is None:
            return spec
        for axis, (size, entry) in enumerate(zip(x.shape, spec, strict=False)):
            names = [n for n in (entry if isinstance(entry, tuple) else (entry,)) if n is not None]
            lacking = [n for n in names if n not in mesh.shape]
            if lacking:
                unknown.append(f"{what}: {spec} names {', '.join(map(repr, lacking))}")
                return None
            parts = math.prod(mesh.shape[n] for n in names)
            if size % parts:
                indivisible.append(
                    f"{what}: {' x '.join(map(repr, names))} splits axis {axis} into {parts} parts,"
                    f" which do not divide its size {size}"
                )
        return NamedSharding(mesh, spec)

    made = mapped(apply, tree, keep_boxes=False)
    unused = [
        f"rule {i}, {rules[i][0]!r:.60}, matches no array"
        for i in range(len(rules))
        if all_used and i not in used and rules[i][0] is not ...
    ]
    kinds = (unmatched, unused, misfits, unknown, indivisible)
    if any(kinds):
        unmatched[:] = [f"no rule matches {path}" for path in unmatched]
        listed = "".join(f"\n  {line}" for kind in kinds for line in _lines(kind))
        first = next(i for i, kind in enumerate(kinds) if kind)
        axes = () if mesh is None else mesh.axis_names
        raise ArgumentError(f"Rules don't fit the arrays:{listed}", hint=_remedy(first, axes))
    return made


def _remedy(kind: int, axes: Sequence[object]) -> str:
    """How to fix the first kind of problem found."""
    if kind == 0:
        return "End with a rule for the rest: (..., PartitionSpec())."
    if kind == 1:
        return "Leave out rules that match no array, or pass all_used=False."
    if kind == 2:
        return "Give a spec at most one entry for each axis of the array."
    if kind == 3:
        return f"The mesh has the axes {tuple(axes)}."
    return (
        "Choose sizes that are multiples of the parts, or None for such an axis in an earlier rule."
    )


def _lines(found: list[str]) -> list[str]:
    more = [f"… and {len(found) - _MOST} more"] if len(found) > _MOST else []
    return found[:_MOST] + more


def _matcher(rule: object, i: int) -> tuple[Callable[[str, Any], bool], PartitionSpec]:
    pair = rule if isinstance(rule, tuple | list) and len(rule) == 2 else None
    spec = pair[1] if pair else ""
    if not pair or isinstance(spec, str) or not isinstance(spec, PartitionSpec | Sequence | None):
        raise ArgumentTypeError(
            f"Rule {i} is {rule!r:.80}, expected a pair of a regular expression or filter and a"
            " PartitionSpec.",
            hint='Write for example ("kernel$", PartitionSpec("data", "model")).',
        )
    entries = PartitionSpec(*(spec or ()))  # type: ignore[no-untyped-call]
    wanted = pair[0]
    if wanted is ...:
        return lambda path, leaf: True, entries
    if isinstance(wanted, str | re.Pattern):
        try:
            search = re.compile(wanted).search
        except re.error as error:
            raise ArgumentError(
                f"Rule {i}: {wanted!r} is not a regular expression: {error}.",
                hint="Escape literal characters such as ( and [: re.escape.",
            ) from error
        return lambda path, leaf: search(path) is not None, entries
    from ..nnx.filters import to_predicate

    passes = to_predicate(wanted)
    return lambda path, leaf: passes(tuple(path.split("/")), leaf), entries
