"""The places of modules' variables while the modules run.

There are two kinds of objects. A **Frame** is the state of one call to `init` or `apply` (see
`frame`). A **Scope** is one path in a frame: a module's place. Scopes are cheap, since a model
makes hundreds, and hold only data that the frame has as well: the dict of each collection at their
path (looked up once, through the parent), the running hash of the path, the node that counts the
draws, and the names taken so far.

Reading a parameter takes two dictionary lookups. A collection's dict is created when something is
written to it, so an empty module leaves no trace.

**How a transformed function gets its variables and random keys.** A transform (vmap, scan, jit, …)
runs a body on explicit inputs. The body needs four things from a scope: its dict in each lifted
collection, the root keys of the lifted streams, its path, and its node of draw counts. So

* `scope.lift(collections)` returns the first as a pytree, and `frame.keys` the second; these are
  the inputs;
* `scope.lower(collections, keys, ...)` makes the scope of the body: a root scope in a new frame
  that holds only these, with the same path for names and errors, the same hash of the path (or an
  empty one for `jit`, which folds the path into the key first) and **the same node of counts**, so
  that a body that is traced twice continues counting;
* after the body has run, the dicts of that root scope are the outputs, and
  `scope.store(collections)` writes them back.

The modules of the body are clones bound to lowered scopes, so no traced value is left in the
caller's modules. A collection that was not lifted does not exist in the body; one that was lifted
as read-only is immutable in the body's frame, and the error for a write to it names the path.
Several scopes (those of modules passed as arguments) are lifted together into one frame.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import jax

from linnet.struct import FrozenDict

from .. import _compat
from .. import boxes as metadata
from ..accepted import accepted
from ..arrays import strong
from ..config import config
from ..typing import PRNGKey, RNGSequences
from . import scope_errors
from .filters import CollectionFilter, in_filter
from .frame import Collection, Collections, Frame, shared_collections
from .rng import Draws, LazyRng, Names, PathHash, abstract_key, roots_of
from .scope_methods import ScopeMethods
from .variable import Variable

T = TypeVar("T")

_NO_ARRAYS = (type(None), str, list, tuple, dict, FrozenDict)
"""Types that may replace an array by mistake: part of a tree, or a filter's placeholder."""


class Scope(ScopeMethods):
    """One path in a frame: the place of a module's variables.

    Programs get scopes from `init`, `apply` and `bind` (see `linnet.module_core.functional`), or
    make one from variables and keys:

    >>> Scope({"params": {"bias": 3.0}}).get_variable("params", "bias")
    3.0

    Args:
      variables: collections by name. A dict is used as it is, so that changes are made in it.
      rngs: the root key of each random stream.
      name: its name, which errors mention.
      mutable: the collections that may be changed.
      parent: a scope; the variables are then those of the parent below `name`.
      path: the names from the outermost scope, which errors mention.
      debug_path: accepted for compatibility with Flax; `path` is used.
      flags: values that functions read with `get_flag`.

    Attributes:
      frame: the state of the current call.
      collections: the variables of the root scope that this one descends from.
      keys: the root key of each random stream: the frame's keys, unless a transform has given the
        scope different ones.
      parent: the scope through which this one's dicts are looked up; None for a root.
      name: last part of the path; None for the outermost module.
      path: names from the outermost module.
      draws: the number of draws from each random stream at this path.
      names: the names in use, each with the collections it is taken in; None for all of them.
    """

    __slots__ = (
        "__weakref__",
        "_above",
        "_dicts",
        "_hash",
        "collections",
        "draws",
        "frame",
        "keys",
        "name",
        "names",
        "parent",
        "path",
    )

    def __init__(
        self,
        variables: Collections,
        rngs: Mapping[str, PRNGKey | LazyRng] | None = None,
        name: str | None = None,
        mutable: CollectionFilter = False,
        parent: Scope | None = None,
        path: Iterable[str] = (),
        debug_path: Iterable[str] = (),
        flags: Mapping[str, Any] | None = None,
    ) -> None:
        accepted(debug_path=debug_path)
        suffix, keys = roots_of(rngs or {})
        if parent is None:
            collections = shared_collections(variables, mutable)
        else:
            collections = parent.collections
        frame = Frame(collections, keys, mutable, flags=flags, lasting=True)
        path_hash = PathHash(config.flax_fix_rng_separator).extended(suffix)
        self._place(frame, collections, keys, parent, name, tuple(path), path_hash, Draws())

    def _place(
        self,
        frame: Frame,
        collections: Collections,
        keys: RNGSequences,
        parent: Scope | None,
        name: str | None,
        path: tuple[str, ...],
        path_hash: PathHash | None,
        draws: Draws,
    ) -> None:
        self.frame = frame
        self.collections = collections
        self.keys = keys
        self.parent = parent
        self.name = name
        self.path = path
        self._hash = path_hash
        self._above: PathHash | None = None  # the hash of the path above, if not the parent's
        self.draws = draws
        self.names: dict[str, set[str] | None] = {}
        self._dicts: dict[str, Collection] = {}

    @classmethod
    def outermost(cls, frame: Frame) -> Scope:
        """The scope of the outermost module."""
        scope = _new(cls)
        path_hash = PathHash(config.flax_fix_rng_separator)
        scope._place(frame, frame.collections, frame.keys, None, None, (), path_hash, Draws())
        return scope

    def inner(self, name: str) -> Scope:
        """The scope of the submodule `name`."""
        scope = _new(Scope)
        draws = self.draws.child(name)
        path = (*self.path, name)
        scope._place(self.frame, self.collections, self.keys, self, name, path, None, draws)
        return scope

    def again(self, rewind_rngs: bool = False) -> Scope:
        """The same scope with all names free and, if `rewind_rngs`, no draws counted."""
        scope = _new(Scope)
        draws = Draws() if rewind_rngs else self.draws
        scope._place(
            self.frame,
            self.collections,
            self.keys,
            self.parent,
            self.name,
            self.path,
            self._hash,
            draws,
        )
        return scope

    @property
    def path_text(self) -> str:
        """The path as text, '/' for the outermost module."""
        return "/" + "/".join(self.path)

    # Names.

    def is_taken(self, name: str, collection: str | None = None) -> bool:
        """Whether `name` is in use, for a submodule (None) or in one collection."""
        if name not in self.names:
            return False
        collections = self.names[name]
        return collection is None or collections is None or collection in collections

    def take(self, name: str, collection: str | None = None) -> None:
        """Takes `name` for a submodule (None) or in one collection."""
        taken = self.names.get(name, _NOTHING)
        if collection is None or taken is None:
            self.names[name] = None
        else:
            self.names[name] = {*taken, collection}

    def claim(self, kind: str, name: str, collection: str | None, owner: str) -> None:
        """Reserves `name` for a "param", a "variable" or a "submodule" of the class `owner`.

        Raises:
          NameInUseError: it is taken.
        """
        if self.is_taken(name, collection):
            raise scope_errors.name_in_use(kind, name, owner)
        self.take(name, collection)

    # Variables.

    def find(self, collection: str) -> Collection | None:
        """The variables at this path in `collection`, or None."""
        found = self._dicts.get(collection)
        if found is None:
            if self.parent is None:
                found = self.collections.get(collection)
            else:
                above = self.parent.find(collection)
                found = None if above is None else above.get(self.name)  # type: ignore[arg-type]
            if found is not None:
                if not isinstance(found, dict):
                    raise scope_errors.not_a_dict(self, collection, found)
                self._dicts[collection] = found
        return found

    def own(self, collection: str) -> Collection:
        """The variables at this path in `collection`, to write to; made if missing."""
        found = self.find(collection)
        if found is None:
            if self.parent is None:
                found = self.collections.setdefault(collection, {})
            else:
                found = self.parent.own(collection).setdefault(self.name, {})  # type: ignore[arg-type]
            self._dicts[collection] = found
        return found

    def _collection(self, collection: str) -> Collection:
        # Libraries written for Flax call this method and the next one by these names.
        found = self.find(collection)
        return {} if found is None else found

    def _mutable_collection(self, collection: str) -> Collection:
        self.check_mutable(collection, "")
        return self.own(collection)

    def has_variable(self, col: str, name: str) -> bool:
        """Whether the collection `col` has a variable of that name."""
        found = self.find(col)
        return found is not None and name in found

    def get_variable(self, col: str, name: str, default: object = None) -> Any:
        """A variable of the collection `col` as it is stored, boxes included, or `default`."""
        found = self.find(col)
        return default if found is None else found.get(name, default)

    def put_variable(self, col: str, name: str, value: object) -> None:
        """Stores a variable in the collection `col`; a dict stored over a dict is merged into it.

        Raises:
          ModifyScopeVariableError: the collection is immutable.
          JaxTransformError: a value of an inner trace is stored outside it.
        """
        self.check_write({col: {name: value}})
        self._write(col, name, value)

    def _write(self, collection: str, name: str, value: object) -> None:
        # The only place where a variable gets its value; `check_write` has passed. Dicts are merged
        # in place, because the scopes below hold references to theirs.
        place = self.own(collection)
        if isinstance(value, dict) and isinstance(place.get(name), dict):
            _merge(place[name], value)
        else:
            place[name] = value

    def check_write(self, collections: Collections) -> None:
        """Checks that values may be stored at this path, before any of them is stored.

        Raises:
          ModifyScopeVariableError: a collection is immutable.
          JaxTransformError: a value of an inner trace is stored outside it.
        """
        same_trace = self.in_own_trace()
        for collection, tree in collections.items():
            for name, value in tree.items():
                self.check_mutable(collection, name)
                if not same_trace and (path := _traced_path(value)) is not None:
                    raise scope_errors.leak(self, collection, (*self.path, name, *path))

    def check_mutable(self, collection: str, name: str) -> None:
        """Checks that a collection may be written to."""
        frame = self.frame
        if not frame.valid:
            raise scope_errors.ended(self, name)
        if not frame.is_mutable(collection):
            raise scope_errors.immutable(self, collection, name)

    def check_valid(self) -> None:
        """Checks that the call has not ended.

        Raises:
          InvalidScopeError: it has.
        """
        if not self.frame.valid:
            raise scope_errors.used_after_end(self)

    def stored(self) -> Collections:
        """The variables at this path and below, by collection."""
        found = ((c, self.find(c)) for c in self.collections)
        return {c: tree for c, tree in found if tree}

    def is_mutable_collection(self, col: str) -> bool:
        """Whether the collection `col` may be changed."""
        return self.frame.is_mutable(col)

    def parameter(
        self,
        name: str,
        init_fn: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = {},
    ) -> object:
        """The parameter `name` as it is stored; made by `init_fn(key, *args)` if it is missing.

        Raises:
          ScopeParamNotFoundError, ScopeCollectionNotFound: it is missing, and "params" is
            immutable.
          ScopeParamShapeError: the stored shape differs from the one that `init_fn` makes.
        """
        found = self.find("params")
        if found is not None and name in found:
            value = found[name]
            self._check_shape(name, value, init_fn, args, kwargs)
            return value
        if not self.frame.is_mutable("params"):
            raise scope_errors.missing(self, "params", name)
        try:
            value = self._drawn(init_fn, args, kwargs)
        except (TypeError, ValueError) as error:
            scope_errors.note_initializer(error, name, init_fn, args, kwargs)
            raise
        if inspect.isfunction(value):
            raise scope_errors.made_a_function(name, init_fn)
        self.put_variable("params", name, value)
        return value

    def handle(
        self,
        collection: str,
        name: str,
        init_fn: Callable[..., Any] | None = None,
        *args: object,
        unbox: bool = True,
        **kwargs: object,
    ) -> Variable[Any]:
        """A handle to a variable; made by `init_fn(*args, **kwargs)` if it is missing.

        The name is not reserved.

        Raises:
          ScopeVariableNotFoundError, ScopeCollectionNotFound: it is missing, and there is no
            `init_fn` or the collection is immutable.
        """
        if not self.has_variable(collection, name):
            if init_fn is None or not self.is_mutable_collection(collection):
                raise scope_errors.missing(self, collection, name)
            value = self.evaluate(lambda: init_fn(*args, **kwargs))
            self.put_variable(collection, name, value)
        return Variable(self, collection, name, unbox)

    def _drawn(
        self, init_fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        deferred = self.frame.deferred
        if deferred is not None:
            value = deferred.parameter(self, init_fn, args, kwargs)
            if value is not None:
                return value
        recorder = self.frame.recorder
        if recorder is None or getattr(init_fn, "ignores_key", False):
            return self.evaluate(lambda: init_fn(self._key_for(init_fn), *args, **kwargs))
        key = self.make_rng("params")
        number = self.path_hash().number(self.draws.counts["params"])
        recorder.derived(key, self.keys["params"], number)
        value = self.evaluate(lambda: init_fn(key, *args, **kwargs))
        recorder.drawn(value, init_fn, key, args, kwargs)
        return value

    def _key_for(self, init_fn: Callable[..., Any]) -> PRNGKey:
        root = self.keys.get("params")
        if root is None or not getattr(init_fn, "ignores_key", False):
            return self.make_rng("params")
        # The draw is counted, but deriving its key would take longer than filling an array with
        # zeros.
        self.draws.next("params")
        return root

    def evaluate(self, make: Callable[[], T]) -> T:
        """An initial value; computed immediately, even in a trace (`lazy_init`, `eager_init`).

        Its arrays have strong types: for a weakly typed value (`jnp.full((), 0.5)`), a training
        step returns a strongly typed one, and the second step would be compiled again.
        """
        frame = self.frame
        if frame.concrete or (frame.deferred is not None and self.in_own_trace()):
            with jax.ensure_compile_time_eval():
                return strong(make())
        return strong(make())

    def in_own_trace(self) -> bool:
        """Whether no other trace has begun since the call's: False in a `jax.jit` in a method."""
        return _compat.trace_state() == self.frame.trace

    def _check_shape(
        self,
        name: str,
        value: object,
        init_fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        # An initializer is called as init(key, shape, dtype): if the stored shape equals the
        # requested one, the check is done. Evaluating the initializer abstractly would take longer
        # than most layers.
        if args and getattr(value, "shape", None) == args[0] and type(args[0]) is tuple:
            return
        expected = metadata.contents(
            jax.eval_shape(lambda key: init_fn(key, *args, **kwargs), abstract_key())
        )
        stored = metadata.contents(value)
        if isinstance(expected, jax.ShapeDtypeStruct) and type(stored) in _NO_ARRAYS:
            raise scope_errors.not_an_array(self, name, expected.shape, stored)
        for want, have in zip(jax.tree.leaves(expected), jax.tree.leaves(stored), strict=False):
            if jax.numpy.shape(have) != want.shape:
                raise scope_errors.wrong_shape(self, name, want.shape, jax.numpy.shape(have))

    # Random keys.

    def has_rng(self, name: str) -> bool:
        """Whether a key was given for the stream `name` itself."""
        return name in self.keys

    def make_rng(self, name: str = "params") -> PRNGKey:
        """The next key of the stream `name`, or of "params" if no stream has that name.

        Raises:
          InvalidRngError: neither was given.
          InvalidScopeError: the call has ended.
        """
        if not self.frame.valid:
            raise scope_errors.used_after_end(self)
        keys = self.keys
        root = keys.get(name)
        if root is None:
            root = keys.get("params")
            if root is None:
                raise scope_errors.no_key(self, name)
            name = "params"
        return self.path_hash().key(root, self.draws.next(name))

    def path_hash(self) -> PathHash:
        """The hash of the path below the root keys."""
        known = self._hash
        if known is None:
            assert self.parent is not None
            assert self.name is not None
            known = self._hash = self.parent.path_hash().child(self.name)
        return known

    def hash_above(self) -> PathHash:
        """The hash of the path of the enclosing module, from which a sibling's is derived.

        For the outermost module, and if a transform has folded the path into the keys, it is the
        hash of the module's own path.
        """
        if self._above is not None:
            return self._above
        return self.path_hash() if self.parent is None else self.parent.path_hash()

    # Passing scopes to a transformed function; see the module docstring.

    def lift(self, collections: CollectionFilter) -> Collections:
        """The dict of this scope in each lifted collection."""
        return {c: tree for c, tree in self.stored().items() if in_filter(collections, c)}

    def lower(
        self,
        frame: Frame,
        collections: Collections,
        keys: RNGSequences,
        *,
        fresh_hash: bool = False,
        suffix: Names | None = None,
    ) -> Scope:
        """The scope that represents this one in a transformed body.

        Args:
          frame: the body's frame; several scopes may share it.
          collections: this scope's dicts in the body, owned by the body if they are mutable.
          keys: the root key of each stream in the body.
          fresh_hash: start with an empty hash of the path, because the keys have it folded in.
          suffix: the names to start the hash with, if not those of the path.
        """
        if fresh_hash or suffix is not None:
            path_hash = PathHash(config.flax_fix_rng_separator).extended(suffix or ())
        else:
            path_hash = self.path_hash()
        scope = _new(Scope)
        name, path, draws = self.name, self.path, self.draws
        scope._place(frame, collections, keys, None, name, path, path_hash, draws)
        if not fresh_hash and suffix is None:
            scope._above = self.hash_above()
        return scope

    def store(self, collections: Collections) -> None:
        """Writes the variables that a transformed body has changed back to this path.

        `check_write` must have passed for them.
        """
        for collection, tree in collections.items():
            for name, value in tree.items():
                self._write(collection, name, value)


_new: Callable[[type[Scope]], Scope] = object.__new__


def _traced_path(value: object) -> tuple[str, ...] | None:
    """The path of the first traced value in nested dicts; None if there is none."""
    if isinstance(value, dict):
        for name, item in value.items():
            path = _traced_path(item)
            if path is not None:
                return (str(name), *path)
        return None
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))
    return () if traced else None


_NOTHING: set[str] = set()


def _merge(old: dict[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            _merge(old[name], value)
        else:
            old[name] = value
