"""The errors of a scope: what was requested, where, and how to fix it.

A scope is used by every submodule in every call; an error is raised once. So `scope` has only the
checks, and this file has the messages and the search for the probable cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import (
    ApplyScopeInvalidVariablesTypeError,
    ArgumentTypeError,
    InvalidRngError,
    InvalidScopeError,
    JaxTransformError,
    LinnetError,
    ModifyScopeVariableError,
    NameInUseError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
    ScopeParamShapeError,
    ScopeVariableNotFoundError,
    describe,
    did_you_mean,
)
from .context import context

if TYPE_CHECKING:
    from .scope import Scope


def name_in_use(kind: str, name: str, owner: str) -> NameInUseError:
    """The error for a name that a module of the class `owner` has given twice."""
    return NameInUseError(
        f'Could not create {kind} "{name}" in Module {owner}: Name in use.',
        hint="Rename one of the two. Was a method that creates it called twice?",
    )


def not_a_dict(scope: Scope, collection: str, found: object) -> ApplyScopeInvalidVariablesTypeError:
    """The error for a collection that has a leaf at the path of a submodule."""
    return ApplyScopeInvalidVariablesTypeError(
        f'"{scope.name}" in collection "{collection}" is a '
        f"{type(found).__name__}, expected a dict of the submodule's variables.",
        hint="Are these the variables of another model?",
    )


# Writing.


def ended(scope: Scope, name: str) -> InvalidScopeError:
    """The error for a write after the call."""
    return InvalidScopeError(
        f'Variable "{name}" of "{scope.path_text}" is set after its call has ended.',
        hint="Use module.bind(variables, mutable=...) to keep a module alive.",
    )


def used_after_end(scope: Scope) -> InvalidScopeError:
    """The error for a use of a scope, other than reading, after the call."""
    return InvalidScopeError(
        f'The scope "{scope.path_text}" is used after its call has ended.',
        hint="Return what the call computes rather than the scope, or make one that lasts with "
        "bind(variables, rngs).",
    )


def immutable(scope: Scope, collection: str, name: str) -> ModifyScopeVariableError:
    """The error for a write to a collection that the call may not change."""
    frame = scope.frame
    was = "" if frame.mutable is False or frame.lifted else f" (it was mutable={frame.mutable!r})"
    return ModifyScopeVariableError(
        f'Cannot update variable "{name}" in "{scope.path_text}" because collection '
        f'"{collection}" is immutable.',
        hint=f"Pass mutable=['{collection}'] to apply{was}; it then "
        "returns (output, changed collections). In a lifted transform, list the "
        "collection among the lifted ones.",
    )


def leak(scope: Scope, collection: str, path: tuple[str, ...]) -> JaxTransformError:
    """The error for a traced value that would outlive its trace.

    Args:
      scope: the scope of the module that stores it.
      collection, path: the location of the traced value.
    """
    where = f'"{path[-1]}" in collection "{collection}" of "/{"/".join(path[:-1])}"'
    if _entered_from_lifted(scope):
        return JaxTransformError(
            f"Variable {where} is set inside a lifted transform, by a module from outside "
            "it; its value would leak out of the transform.",
            hint=(
                "Use the module that the function gets as its first argument, not one from an "
                "enclosing function; pass other modules as arguments, too. Replace a plain jax "
                "transform in between with the lifted one (jax.jit with nn.jit)."
            ),
        )
    return JaxTransformError(
        f"Variable {where} is set inside a jax transform (jit, vmap, grad, scan, …) that was "
        "opened inside the module; its value would leak out of the transform.",
        hint=(
            "Replace the plain jax transform with the lifted one (jax.jit with nn.jit, "
            "jax.vmap with nn.vmap, …), or create the variable before the transform and return "
            "its new value from it. For a module made by bind, call apply(variables, ..., "
            "mutable=...) inside the transform instead, which returns the changed variables."
        ),
    )


def _entered_from_lifted(scope: Scope) -> bool:
    # The running modules, from the first of this frame on, show whether a lifted body is running.
    frames = [m.scope.frame for m in context.stack if m.scope is not None]
    inner = frames[frames.index(scope.frame) :] if scope.frame in frames else frames
    return any(frame.lifted and frame is not scope.frame for frame in inner)


# Reading.


def missing(scope: Scope, collection: str, name: str) -> Exception:
    """The error for a variable that does not exist and may not be made."""
    if not scope.collections.get(collection):
        return ScopeCollectionNotFound(
            f'"{scope.path_text}" has no variable "{name}": the collection "{collection}" is '
            "missing or empty.",
            hint=_about_collections(scope, collection, name),
        )
    known = scope.find(collection) or {}
    if collection == "params":
        return ScopeParamNotFoundError(
            f'"{scope.path_text}" has no parameter "{name}".',
            hint=_about_names(scope, collection, name, known),
        )
    return ScopeVariableNotFoundError(
        f'"{scope.path_text}" has no variable "{name}" in the collection "{collection}".',
        hint=_about_names(scope, collection, name, known),
    )


def _about_collections(scope: Scope, collection: str, name: str) -> str:
    present = [c for c, tree in scope.collections.items() if tree]
    there = ", ".join(repr(c) for c in present) or "no collection"
    if scope.frame.lifted:
        return (
            f"Inside this lifted transform there is {there}. List '{collection}' among the "
            "lifted ones: variable_axes of vmap, variable_axes, variable_broadcast or "
            "variable_carry of scan, variables of the others."
        )
    top = (*scope.path, name)[0]
    if collection == "params" and top in scope.collections:
        return (
            f"The variables given hold {there}: these look like the parameters themselves. "
            "Pass {'params': params}."
        )
    made = (
        "."  # parameters are made by init alone
        if collection == "params"
        else (
            "; a collection that is created during apply must be named in "
            f"mutable=['{collection}']."
        )
    )
    return f"The variables given hold {there}. Pass what init returned{made}"


def _about_names(scope: Scope, collection: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if names:
        return did_you_mean(name, names)
    while scope.parent is not None and scope.name is not None:
        absent, scope = scope.name, scope.parent
        above = scope.find(collection)
        if above is not None and absent in above:
            return f'"{scope.path_text}" has an empty "{absent}" in "{collection}".'
        if above is not None:
            there = did_you_mean(absent, above)
            return f'"{scope.path_text}" has no "{absent}" in "{collection}". {there}'
    return "Are these the variables of another model?"


def not_an_array(
    scope: Scope, name: str, want: tuple[int, ...], have: object
) -> ScopeParamShapeError:
    """The error for a parameter that is stored as something other than an array."""
    return ScopeParamShapeError(
        f'Parameter "{name}" of "{scope.path_text}" is stored as {describe(have)}, but its '
        f"initializer makes an array of shape {want}.",
        hint="Pass what init returned. jax.numpy.asarray converts a list of numbers to an array.",
    )


def wrong_shape(
    scope: Scope, name: str, want: tuple[int, ...], have: tuple[int, ...]
) -> ScopeParamShapeError:
    """The error for a parameter whose stored shape differs from its initializer's."""
    return ScopeParamShapeError(
        f'Parameter "{name}" of "{scope.path_text}" is stored with shape {have}, but its '
        f"initializer makes {want}.",
        hint=(
            "init has just created it in an earlier call to this module, for an input of a "
            "different size: a module has one set of parameters, however often it is called. Make "
            "one module for each size."
        )
        if scope.frame.initializing
        else "Was the model initialized with a differently shaped input, or are these "
        "another model's parameters?",
    )


# Initializers and their keys.


def no_key(scope: Scope, stream: str) -> InvalidRngError:
    """The error for a random stream without a root key."""
    there = ", ".join(repr(s) for s in scope.keys) or "none"
    who = scope.name or "The outermost module"
    return InvalidRngError(
        f'{who} needs PRNG for "{stream}"; given: {there}.',
        hint=f"Pass rngs={{'{stream}': jax.random.key(0)}} to apply, or this dict to "
        "init as its first argument; in a lifted transform, list the stream in "
        "split_rngs.",
    )


def made_a_function(name: str, init_fn: Callable[..., Any]) -> ArgumentTypeError:
    """The error for a parameter whose initializer has returned a function."""
    factory = _name_of(init_fn)
    return ArgumentTypeError(
        f"The initializer {factory} of parameter {name!r} returned a function.",
        hint=f"If it is a factory, call it first: {factory}().",
    )


def note_initializer(
    error: Exception,
    name: str,
    init_fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Adds a note about the call to an error raised by a parameter's initializer."""
    if isinstance(error, LinnetError):
        return
    given = ["key", *(f"{x!r:.60}" for x in args), *(f"{k}={x!r:.60}" for k, x in kwargs.items())]
    error.add_note(
        f"Parameter {name!r} is created by calling its initializer as "
        f"{_name_of(init_fn)}({', '.join(given)}): the random key comes first, then the "
        "arguments that follow the initializer in self.param. Wrap a function that takes no key "
        "in a lambda (lambda key, shape: ...); call a factory such as lecun_normal first "
        "(lecun_normal())."
    )


def _name_of(fun: Callable[..., Any]) -> str:
    return getattr(fun, "__name__", type(fun).__name__)
