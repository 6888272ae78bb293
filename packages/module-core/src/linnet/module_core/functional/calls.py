"""`init`, `apply`, `lazy_init` and `bind`: calls to a function of a scope.

As for a module, a call makes a frame from the user's arguments, runs the function once, on the
frame's outermost scope, and returns its output, the frame's variables, or both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, overload

from ..errors import InvalidRngError
from ..linen.calls import returned
from ..linen.filters import CollectionFilter, NamedCollections
from ..linen.frame import Frame, collections_of
from ..linen.lazy import lazily
from ..linen.rng import BadStreamError, as_streams
from ..linen.scope import Scope
from ..tracebacks import entry
from ..typing import PRNGKey, RNGSequences

R = TypeVar("R")

Flags = Mapping[str, Any]
Variables = Mapping[str, Mapping[str, Any]]
NewVariables = dict[str, dict[str, Any]]


def init(
    fn: Callable[..., R], mutable: CollectionFilter = True, flags: Flags | None = None
) -> Callable[..., tuple[R, NewVariables]]:
    """A function that runs `fn` and makes its variables.

    Args:
      fn: a function whose first argument is a `Scope`.
      mutable: the collections that may be made, which are also returned.
      flags: values that functions read with `scope.get_flag`; `initializing` is one.

    Returns:
      A function (rngs, *args, **kwargs) that returns (output of `fn`, new variables), where `rngs`
      is a random key, for "params", or a dict with one for each stream.

    Raises:
      ValueError: `rngs` is neither; raised by the returned function.

    >>> import jax
    >>> def scale(scope, x):
    ...     return x * scope.param("s", jax.nn.initializers.ones, ())
    >>> init(scale)(jax.random.key(0), 3.0)
    (Array(3., dtype=float32), {'params': {'s': Array(1., dtype=float32)}})
    """

    @entry
    @functools.wraps(fn)
    def initialized(
        rngs: PRNGKey | RNGSequences, *args: object, **kwargs: object
    ) -> tuple[R, NewVariables]:
        return _init(fn, mutable, flags, rngs, args, kwargs)

    return initialized


def _init(
    fn: Callable[..., R],
    mutable: CollectionFilter,
    flags: Flags | None,
    rngs: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    concrete: bool = False,
) -> tuple[R, NewVariables]:
    streams = _streams(rngs, "init", required=True)
    frame = Frame({}, streams, mutable, initializing=True, concrete=concrete, flags=flags)
    return _run(fn, frame, args, kwargs), returned(frame.mutated())


@overload
def apply(
    fn: Callable[..., R], mutable: Literal[False] = False, flags: Flags | None = None
) -> Callable[..., R]: ...
@overload
def apply(
    fn: Callable[..., R], mutable: NamedCollections, flags: Flags | None = None
) -> Callable[..., tuple[R, NewVariables]]: ...
@overload
def apply(
    fn: Callable[..., Any], mutable: CollectionFilter, flags: Flags | None = None
) -> Callable[..., Any]: ...
def apply(
    fn: Callable[..., Any], mutable: CollectionFilter = False, flags: Flags | None = None
) -> Callable[..., Any]:
    """A function that runs `fn` with given variables.

    Args:
      fn: a function whose first argument is a `Scope`.
      mutable: the collections that `fn` may change.
      flags: values that functions read with `scope.get_flag`.

    Returns:
      A function (variables, *args, rngs=None, **kwargs) that returns the output of `fn`, or
      (output, changed collections) if `mutable` is not False.

    Raises:
      ApplyScopeInvalidVariablesTypeError, ApplyScopeInvalidVariablesStructureError: the variables
        are not a dict of collections; raised by the returned function.
      ValueError: `rngs` is neither a key nor a dict of keys; raised by the returned function.

    >>> def count(scope):
    ...     steps = scope.variable("state", "steps", lambda: 0)
    ...     steps.value += 1
    ...     return steps.value
    >>> apply(count, mutable=["state"])({"state": {"steps": 4}})
    (5, {'state': {'steps': 5}})
    """

    @entry
    @functools.wraps(fn)
    def applied(
        variables: Variables,
        *args: object,
        rngs: RNGSequences | PRNGKey | None = None,
        **kwargs: object,
    ) -> object:
        frame = Frame(
            collections_of(variables, mutable), _streams(rngs, "apply"), mutable, flags=flags
        )
        output = _run(fn, frame, args, kwargs)
        return output if mutable is False else (output, returned(frame.mutated()))

    return applied


def lazy_init(
    fn: Callable[..., Any], mutable: CollectionFilter = True, flags: Flags | None = None
) -> Callable[..., NewVariables]:
    """A function that makes the variables of `fn`, with inputs known only by shape.

    Args:
      fn: a function whose first argument is a `Scope`.
      mutable, flags: as in `init`.

    Returns:
      A function (rngs, *args, **kwargs) that returns the variables. An argument may be a
      `jax.ShapeDtypeStruct`; nothing is computed except initial values.

    Raises:
      LazyInitError: a variable depends on the values of an input; raised by the returned function.

    >>> import jax, jax.numpy as jnp
    >>> def scale(scope, x):
    ...     return x * scope.param("s", jax.nn.initializers.ones, x.shape[-1:])
    >>> lazy_init(scale)(jax.random.key(0), jax.ShapeDtypeStruct((5, 2), jnp.float32))
    {'params': {'s': Array([1., 1.], dtype=float32)}}
    """

    @entry
    @functools.wraps(fn)
    def initialized(
        rngs: PRNGKey | RNGSequences, *args: object, **kwargs: object
    ) -> dict[str, Any]:
        def initialize(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
            return _init(fn, mutable, flags, rngs, args, kwargs, concrete=True)[1]

        variables: dict[str, Any] = lazily(initialize, args, kwargs)
        return variables

    return initialized


def bind(
    variables: Variables,
    rngs: RNGSequences | PRNGKey | None = None,
    mutable: CollectionFilter = False,
    flags: Flags | None = None,
) -> Scope:
    """A scope that holds `variables` and never becomes invalid, for interactive use.

    Args:
      variables: collections, as `init` returns them.
      rngs: a random key, for "params", or a dict with one for each stream.
      mutable: the collections that may be changed; the scope changes copies of their dicts.
      flags: values that functions read with `scope.get_flag`.

    Raises:
      ApplyScopeInvalidVariablesTypeError, ApplyScopeInvalidVariablesStructureError: the variables
        are not a dict of collections.
      InvalidRngError: `rngs` is neither a key nor a dict of keys.

    >>> scope = bind({"params": {"s": 2.0}})
    >>> scope.get_variable("params", "s")
    2.0
    """
    collections = collections_of(variables, mutable)
    frame = Frame(collections, _streams(rngs, "bind"), mutable, flags=flags, lasting=True)
    return Scope.outermost(frame)


def _run(fn: Callable[..., R], frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    try:
        return fn(Scope.outermost(frame), *args, **kwargs)
    finally:
        frame.end()


def _streams(rngs: object, caller: str, *, required: bool = False) -> RNGSequences:
    try:
        return as_streams(rngs, caller, owner="", required=required)
    except BadStreamError:
        raise
    except InvalidRngError as error:
        # The same error as for an entry of the dict; programs also catch it as a ValueError.
        raise BadStreamError(error.message, hint=error.hint) from None
