"""A frame: the state of one call to `init`, `apply` or `bind`.

A frame holds the collections, the root key of each random stream, the filter of mutable
collections, and the flags of the call. The scopes of a call (see `scope`) share its frame.

Immutable collections are read from the caller's dicts; mutable ones are copied (the dicts, not the
arrays) when the frame is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from linnet.struct import FrozenDict, unfreeze

from .. import _compat
from ..draws import Recorder
from ..errors import (
    ApplyScopeInvalidVariablesStructureError,
    ApplyScopeInvalidVariablesTypeError,
    describe,
)
from ..typing import RNGSequences
from .filters import CollectionFilter, in_filter
from .hints import is_output_with_variables

if TYPE_CHECKING:
    from .eager_init import Deferred

Collection = dict[str, Any]
Collections = dict[str, Collection]
CaptureFilter = Callable[[Any, str], bool]


class Frame:
    """The state of one call to `init`, `apply` or `bind`, or of one trace of a transformed body.

    Args:
      collections: the variables, by collection; those that `mutable` matches are owned by the
        frame.
      keys: the root key of each random stream.
      mutable: the collections that may be changed.
      initializing: whether this is a call to `init`.
      concrete: compute initial values although the inputs are abstract (`lazy_init`).
      capture: which method results to store as intermediates.
      lifted: whether this is the body of a lifted transform.
      lasting: whether the call has no end (`bind`), so its modules stay bound.
      flags: other values that functions of a scope may read.

    Attributes:
      recorder: the draws of parameters, if they are to be grouped (see `draws`).
      deferred: the parameters that are drawn after the trace (see `eager_init`), or None.
      bound: the modules that have a place in the frame, until the call ends.
    """

    __slots__ = (
        "_mutable_names",
        "adopted",
        "bound",
        "capture",
        "collections",
        "concrete",
        "deferred",
        "flags",
        "initializing",
        "keys",
        "lifted",
        "mutable",
        "recorder",
        "trace",
        "valid",
    )

    def __init__(
        self,
        collections: Collections,
        keys: RNGSequences,
        mutable: CollectionFilter,
        *,
        initializing: bool = False,
        concrete: bool = False,
        capture: CaptureFilter | None = None,
        lifted: bool = False,
        lasting: bool = False,
        flags: Mapping[str, Any] | None = None,
    ) -> None:
        in_filter(mutable, "params")  # an invalid filter fails now, not at the first write
        self.collections = collections
        self.keys = keys
        self.mutable = mutable
        self._mutable_names: dict[str, bool] = {}
        self.initializing = initializing
        self.flags = flags or {}
        self.concrete = concrete
        self.capture = capture
        self.recorder: Recorder | None = None
        self.deferred: Deferred | None = None
        self.lifted = lifted
        self.adopted: dict[int, tuple[Any, Any]] = {}  # id(module): (module to keep alive, clone)
        self.bound: list[Any] | None = None if lasting else []
        self.trace = _compat.trace_state()
        self.valid = True

    def end(self) -> None:
        """Ends the call: it forbids further writes and breaks the reference cycles.

        A module and its submodules refer to one another. Without this, the values of the call,
        including tracers, would stay alive until the garbage collector runs.
        """
        self.valid = False
        self.adopted.clear()
        if self.bound is not None:
            for module in self.bound:
                module.__dict__["parent"] = None
            self.bound.clear()

    def ended(self) -> Frame:
        """A frame of the same call, which is already invalid."""
        frame = Frame(
            self.collections,
            self.keys,
            self.mutable,
            initializing=self.initializing,
            flags=self.flags,
        )
        frame.valid = False
        return frame

    def is_mutable(self, collection: str) -> bool:
        """Whether `collection` may be changed."""
        known = self._mutable_names.get(collection)
        if known is None:
            known = self._mutable_names[collection] = in_filter(self.mutable, collection)
        return known

    def mutated(self) -> Collections:
        """The mutable collections, to return to the caller."""
        return {c: tree for c, tree in self.collections.items() if self.is_mutable(c)}


def collections_of(variables: object, mutable: CollectionFilter) -> Collections:
    """The collections of a frame, from a user's `variables`.

    Raises:
      ApplyScopeInvalidVariablesTypeError: `variables` is not a mapping of mappings with string
        keys.
      ApplyScopeInvalidVariablesStructureError: it is `{"params": {"params": ...}}`.
    """
    _check(variables)
    return {
        name: _own(tree) if in_filter(mutable, name) else _plain(tree)
        for name, tree in variables.items()  # type: ignore[attr-defined]
    }


def shared_collections(variables: object, mutable: CollectionFilter) -> Collections:
    """The collections of a scope that the user made; changes are made in the user's own dicts.

    Frozen ones are copied, since they can't be changed.

    Raises:
      ApplyScopeInvalidVariablesTypeError, ApplyScopeInvalidVariablesStructureError: as in
        `collections_of`.
    """
    _check(variables)
    if type(variables) is dict and all(type(tree) is dict for tree in variables.values()):
        return variables
    return collections_of(variables, mutable)


def _check(variables: object) -> None:
    if not isinstance(variables, Mapping) or not all(
        isinstance(name, str)
        and isinstance(tree, Mapping)
        and all(isinstance(k, str) for k in tree)
        for name, tree in variables.items()
    ):
        raise ApplyScopeInvalidVariablesTypeError(
            "The variables must be a dict of collections, each of them a dict with strings as "
            f"keys; got {_describe_variables(variables)}.",
            hint="Is it the pair that init_with_output returned? y, variables = ... unpacks it."
            if is_output_with_variables(variables)
            else "Pass what init returned, or {'params': params}.",
        )
    params = variables.get("params")
    if params is not None and "params" in params:
        raise ApplyScopeInvalidVariablesStructureError(
            'The variables have one level of "params" too many: expected {"params": ...}, got '
            '{"params": {"params": ...}}.',
            hint='Pass variables, or {"params": variables["params"]}, not {"params": variables}.',
        )


def _describe_variables(variables: object) -> str:
    if not isinstance(variables, Mapping):
        return describe(variables)
    kinds = (f"{name!r}: {type(tree).__name__}" for name, tree in variables.items())
    return "{" + ", ".join(kinds) + "}"


def _own(tree: Mapping[str, Any]) -> Collection:
    return {k: _own(v) if isinstance(v, dict | FrozenDict) else v for k, v in tree.items()}


def _plain(tree: Mapping[str, Any]) -> Collection:
    if type(tree) is dict:
        return tree
    return unfreeze(tree) if isinstance(tree, FrozenDict) else dict(tree)
