"""The axes of a `scan`: which values are carried, which have an axis, and which are broadcast.

`ScanCall` is the part of a call that is static: the key by which a program is found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import ArgumentError, counted
from ...typing import Output, Prefix, PyTree
from ..nodes.statics import static_key
from .lifting import Form, Lifted
from .prefixes import FilterMapping, is_spec_leaf, plain, spread


class Carry:
    """The spec of values that each step passes to the next."""


ALL_CARRIED = -1  # the position of a carry that is the only output


class OutAxes:
    """The `out_axes` of a scan.

    Attributes:
      axes: as given.
      carried: the position of the carry among the outputs, None if nothing is carried.

    Raises:
      ArgumentError: an output has neither an axis nor `Carry`.
    """

    def __init__(self, axes: Prefix) -> None:
        self.axes = axes
        self.carried = carry_position(axes, "out_axes")
        for axis in jax.tree_util.tree_leaves(axes, is_leaf=is_spec_leaf):
            if axis is None or (isinstance(axis, FilterMapping) and None in axis._specs):
                raise ArgumentError(
                    f"out_axes={axes!r} has None, but every step has an output of its own.",
                    hint="Give each step's output an axis, and carry what stays the same.",
                )

    def whole(self, output: Output, carried: object) -> object:
        """The outputs as the caller sees them: the stacked ones and the last carry."""
        position = self.carried
        if position is None:
            return output
        if position == ALL_CARRIED:
            return carried
        return (*output[:position], carried, *output[position + 1 :])

    def check_count(self, output: Output) -> None:
        """Checks that a step returned as many values as there are axes."""
        axes = self.axes
        count = len(output) if isinstance(output, tuple) else 1
        if isinstance(axes, tuple) and count != len(axes):
            raise ArgumentError(
                f"nnx.scan with out_axes={axes!r} expects a function that returns"
                f" {counted(len(axes), 'value')}, got"
                f" {type(output).__name__ if count == 1 else count}."
            )

    def divided(self, output: Output) -> tuple[Any, Any]:
        """The stacked and the carried part of the output."""
        position = self.carried
        if position is None:
            return output, None
        if position == ALL_CARRIED:
            return None, output
        return (*output[:position], None, *output[position + 1 :]), output[position]

    def prefix(self) -> object:
        """The axes of the stacked outputs, with None in place of the carry."""
        position = self.carried
        if position is None:
            return plain(self.axes, 0)
        if position == ALL_CARRIED:
            return None
        return plain((*self.axes[:position], None, *self.axes[position + 1 :]), 0)


class ScanCall:
    """The arguments of a call without their values; static, and the key of the call's program.

    Attributes:
      form: the objects.
      in_axes: the spec of each argument.
      carried: the position of the carried argument.
      axes: the axes of the leaves outside the objects.
      structure: the structure of the arguments.
      fixed: broadcast numbers, text and flags, by position among the leaves.
    """

    def __init__(
        self,
        form: Form,
        in_axes: tuple[Any, ...],
        axes: Sequence[Any],
        structure: object,
        fixed: dict[int, Any],
    ) -> None:
        self.form = form
        self.in_axes = in_axes
        self.carried = carry_position(in_axes, "in_axes")
        self.axes = tuple(axes)
        self.structure = structure
        self.fixed = fixed
        static = tuple([(i, static_key(leaf)) for i, leaf in fixed.items()])
        self._key = (form, self.carried, self.axes, structure, static)

    def filled(self, given: Sequence[Any]) -> list[Any]:
        """All leaves of the arguments: the given ones and the fixed ones."""
        rest = iter(given)
        return [self.fixed[i] if i in self.fixed else next(rest) for i in range(len(self.axes))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScanCall) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def call_of(lifted: Lifted, in_axes: tuple[Any, ...]) -> tuple[ScanCall, list[Any]]:
    """The static part of a call, and its arrays outside the objects."""
    axes, leaves, structure = flat_specs(plain(in_axes), lifted.args)
    fixed = {
        i: leaf
        for i, (axis, leaf) in enumerate(zip(axes, leaves, strict=True))
        if axis is None and not _is_traced(leaf)
    }
    given = [leaf for i, leaf in enumerate(leaves) if i not in fixed]
    return ScanCall(lifted.form, in_axes, axes, structure, fixed), given


def carry_position(axes: object, what: str) -> int | None:
    """The position of `Carry` among specs, or `ALL_CARRIED` if `Carry` is the only spec."""
    if axes is Carry:
        return ALL_CARRIED
    found: list[int] = []
    for i, axis in enumerate(axes if isinstance(axes, tuple) else ()):
        if axis is Carry:
            found.append(i)
        elif not isinstance(axis, FilterMapping) and Carry in jax.tree_util.tree_leaves(
            axis, is_leaf=lambda x: isinstance(x, FilterMapping)
        ):
            raise ArgumentError(
                f"Carry is for a whole argument or output, but is nested in {what}={axes!r}."
            )
    if len(found) > 1:
        raise ArgumentError(
            f"Found multiple Carry definitions, {what}[{found[0]}] and {what}[{found[1]}];"
            " only one is allowed.",
            hint="Carry one tuple of both.",
        )
    return found[0] if found else None


def _is_traced(leaf: object) -> bool:
    """Whether a leaf is an operand of the program rather than a part of it."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, float, complex))


def moved(value: object, source: int, destination: int) -> object:
    """The value with one axis of each array moved."""
    if source == destination:
        return value
    return jax.tree_util.tree_map(lambda x: jnp.moveaxis(x, source, destination), value)


def flat_specs(prefix: Prefix, tree: PyTree) -> tuple[list[Any], list[Any], Any]:
    """The spec of each array of a tree, the arrays, and the tree's structure."""
    specs, subtrees, _ = spread(prefix, tree, "scan axes")
    axes: list[Any] = []
    for spec, subtree in zip(specs, subtrees, strict=True):
        axes.extend([spec] * len(jax.tree_util.tree_leaves(subtree)))
    leaves, structure = jax.tree_util.tree_flatten(tree)
    return axes, leaves, structure
