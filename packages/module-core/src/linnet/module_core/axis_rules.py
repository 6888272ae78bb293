"""Rules that map the axis names of a model to the axes of a mesh, set for each thread.

Rules are tried in order, and each mesh axis is used once per array: a rule whose mesh axis is
already used is skipped, and a later rule for the same name may apply. linen and nnx share the
rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jax.sharding import PartitionSpec

from .errors import ArgumentError, ArgumentTypeError, did_you_mean
from .typing import LogicalRules

# Each thread starts without rules, like jax settings that are scoped to a `with` block.
_rules: ContextVar[LogicalRules] = ContextVar("logical_axis_rules", default=())


def set_logical_axis_rules(rules: LogicalRules) -> None:
    """Sets the rules of this thread.

    Raises:
      ArgumentError: a rule is not a pair of a name and mesh axes.
    """
    check_rules(rules)
    _rules.set(rules)


def get_logical_axis_rules() -> LogicalRules:
    """The rules of this thread."""
    return _rules.get()


@contextmanager
def logical_axis_rules(rules: LogicalRules) -> Iterator[None]:
    """Sets the rules of this thread within a `with` block.

    >>> with logical_axis_rules([("embed", "model"), ("batch", "data")]):
    ...     assign_mesh_axes(("batch", "embed"), get_logical_axis_rules())
    ['data', 'model']

    Raises:
      ArgumentError: a rule is not a pair of a name and mesh axes.
    """
    check_rules(rules)
    token = _rules.set(rules)
    try:
        yield
    finally:
        _rules.reset(token)


_strict: ContextVar[bool] = ContextVar("strict_axis_rules", default=False)


@contextmanager
def strict_axis_rules(rules: LogicalRules) -> Iterator[None]:
    """`logical_axis_rules` in which a name without a rule, such as a misspelled one, is an error.

    Under plain `logical_axis_rules`, such an axis is not split, or its name is taken to be that of
    a mesh axis.

    >>> with strict_axis_rules([("mlp", "model")]):
    ...     assign_mesh_axes(("mpl",), get_logical_axis_rules())
    Traceback (most recent call last):
    ...
    linnet.module_core.errors.ArgumentError: No rule for the logical axis name 'mpl' of ('mpl',).
      Did you mean 'mlp'? Names of axes that are not split need a rule, too: ('mpl', None).

    Raises:
      ArgumentError: a rule is not a pair of a name and mesh axes; and within the block, a name has
        no rule.
    """
    with logical_axis_rules(rules):
        token = _strict.set(True)
        try:
            yield
        finally:
            _strict.reset(token)


def check_known(names: Iterable[object], rules: LogicalRules | None) -> None:
    """Checks that each name has a rule, within `strict_axis_rules`.

    Raises:
      ArgumentError: a name has no rule.
    """
    if not _strict.get():
        return
    known = [rule[0] for rule in rules or ()]
    names = tuple(names)
    for name in names:
        if isinstance(name, str) and name not in known:
            raise ArgumentError(
                f"No rule for the logical axis name {name!r} of {names}.",
                hint=f"{did_you_mean(name, known)} Names of axes that are not split need a rule,"
                f" too: ({name!r}, None).",
            )


def check_rules(rules: object) -> None:
    """Checks that `rules` is a sequence of rules.

    Raises:
      ArgumentError: a rule is not a pair of a name and mesh axes.
    """
    if rules is None:
        return
    if isinstance(rules, str) or not isinstance(rules, Sequence):
        raise ArgumentError(
            f"Logical axis rules must be a sequence of pairs, got {rules!r:.80}.", hint=_EXAMPLE
        )
    for rule in rules:
        pair = not isinstance(rule, str) and isinstance(rule, Sequence) and len(rule) == 2
        if not pair or not isinstance(rule[0], str) or not _is_mesh_axes(rule[1]):
            raise ArgumentError(f"Unknown axis rule: {rule!r:.80}.", hint=_EXAMPLE)


_EXAMPLE = (
    'A rule pairs a logical name with a mesh axis, a tuple of mesh axes, or None: [("batch", '
    '"data"), ("embed", None)].'
)


def _is_mesh_axes(axes: object) -> bool:
    if isinstance(axes, tuple | list):
        return all(isinstance(a, str) for a in axes)
    return axes is None or isinstance(axes, str) or axes is PartitionSpec.UNCONSTRAINED


class _Unassigned:
    def __repr__(self) -> str:
        return "unassigned"


UNASSIGNED = _Unassigned()
"""Marks a logical axis that no rule maps to a mesh axis."""


def assign_mesh_axes(names: Sequence[str | None] | PartitionSpec, rules: LogicalRules) -> list[Any]:
    """The mesh axes that `rules` assign to each logical name, or `UNASSIGNED`.

    Raises:
      ArgumentTypeError: `names` is not a sequence of strings and None.
      ArgumentError: a name occurs twice, or a rule is not a pair of a name and mesh axes.
    """
    check_names(names)
    check_rules(rules)
    check_known(names, rules)
    counts = Counter(n for n in names if isinstance(n, str))
    repeated = tuple(n for n, count in counts.items() if count > 1)
    if repeated:
        raise ArgumentError(
            f"Logical axis names {tuple(names)} are ambiguous: {', '.join(map(repr, repeated))} "
            f"{'occurs' if len(repeated) == 1 else 'occur'} more than once.",
            hint="Use different names for axes that are laid out differently.",
        )
    place = {n: i for i, n in enumerate(names) if isinstance(n, str)}
    axes: list[Any] = [UNASSIGNED if isinstance(n, str) else n for n in names]
    taken: set[str] = set()
    for name, mesh_axes in rules:
        i = place.get(name)
        if i is None or axes[i] is not UNASSIGNED:
            continue
        wanted = _names_in(mesh_axes)
        if not taken.isdisjoint(wanted):
            continue
        taken.update(wanted)
        # An empty tuple also means that the axis is not split, which jax writes as None.
        axes[i] = (tuple(mesh_axes) or None) if isinstance(mesh_axes, tuple | list) else mesh_axes
    return axes


def _names_in(mesh_axes: object) -> tuple[str, ...]:
    if isinstance(mesh_axes, str):
        return (mesh_axes,)
    return tuple(mesh_axes) if isinstance(mesh_axes, tuple | list) else ()


def check_names(names: object) -> None:
    """Checks that `names` are the names of an array's axes.

    Raises:
      ArgumentTypeError: `names` is not a sequence of strings and None.
    """
    known: Iterable[object] | None = None
    if isinstance(names, Sequence | PartitionSpec) and not isinstance(names, str):
        known = names
    if known is None or not all(
        n is None or isinstance(n, str) or n is PartitionSpec.UNCONSTRAINED for n in known
    ):
        raise ArgumentTypeError(
            f"Logical axis names must be a tuple with a string or None for each axis, got "
            f"{names!r:.80}.",
            hint='For an array with one axis, write ("embed",).',
        )
