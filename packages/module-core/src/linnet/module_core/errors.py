"""Every error that Linnet raises.

The code that raises an error knows *what* happened; the error learns *where* when it leaves a
module. Code that is independent of modules (such as the `functional` form of a layer) raises an
error without a location; the innermost module that the error passes through adds its path and
class, once:

    ScopeParamShapeError: encoder/Dense_1 (Dense): parameter 'kernel' has shape (3, 4), ...

The classes have the names that users of Flax catch. Errors for invalid arguments are also a
`ValueError`, `TypeError` or `AttributeError`, so that plain Python handlers work too.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LinnetError(Exception):
    """Base class of all Linnet errors.

    Args:
      message: what happened, with the expected and received numbers; readable by itself in a log.
      hint: how to fix it, or the likely cause as a question.

    Attributes:
      where: path and class of the innermost module that the error passed through, or None.
    """

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where: str | None = None

    def __str__(self) -> str:
        first = f"{self.where}: {self.message}" if self.where else self.message
        return f"{first}\n  {self.hint}" if self.hint else first

    def locate(self, where: str) -> None:
        """Records where the error happened, unless that is already known."""
        if self.where is None:
            self.where = where


FlaxError = LinnetError
"""The name that programs written for Flax use to catch every error."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests a correction of `name`, or lists the choices."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "Available: " + ", ".join(repr(n) for n in names) + "." if names else "There are none."


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun, as messages write them.

    Args:
      number: how many.
      noun: in the singular.
      plural: None for the noun with an "s".

    >>> counted(1, "value"), counted(0, "value"), counted(2, "axis", "axes")
    ('1 value', '0 values', '2 axes')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def describe(value: object) -> str:
    """A short description of `value`; for arrays, the shape instead of the numbers."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"an array of shape {shape} and dtype {dtype}"
    text = repr(value)
    if len(text) > 60 or "\n" in text:
        text = f"{text.splitlines()[0][:60]}…"
    return f"{text} of type {type(value).__name__}"


# Files.


class AlreadyExistsError(LinnetError):
    """A file already exists, and overwriting was not requested."""


class InvalidCheckpointError(LinnetError):
    """A checkpoint for this step or a later one already exists."""


# Cursors.


class CursorFindError(LinnetError):
    """No object in a tree satisfies a condition, or several do."""


class TraverseTreeError(LinnetError):
    """A tree was to be both searched and updated, or neither."""


# Arguments of layers and functions.


class ArgumentError(LinnetError, ValueError):
    """An argument has an invalid value."""


class ArgumentTypeError(LinnetError, TypeError):
    """An argument has the wrong type."""


class ShapeError(LinnetError, ValueError):
    """An array has the wrong shape."""


class DtypeError(LinnetError, ValueError):
    """An array or computation has the wrong dtype."""


class UnboundAxisError(ArgumentError, NameError):
    """An axis name is not being mapped over; also a `NameError`, which JAX raises for it."""


class MissingExtraError(LinnetError, ImportError):
    """A feature needs an optional dependency that is not installed."""


# Random numbers.


class InvalidRngError(LinnetError):
    """A random key is missing, or is not a key."""


# Variables in scopes.


class ApplyScopeInvalidVariablesTypeError(LinnetError):
    """The variables passed to `apply` are not a mapping of collections."""


class ApplyScopeInvalidVariablesStructureError(LinnetError):
    """The variables passed to `apply` have one level of nesting too many."""


class ScopeParamNotFoundError(LinnetError):
    """A requested parameter does not exist."""


class ScopeCollectionNotFound(LinnetError):
    """The collection of a requested variable does not exist."""


class ScopeVariableNotFoundError(LinnetError):
    """A requested variable does not exist."""


class ScopeParamShapeError(LinnetError):
    """The shape of a stored parameter differs from that of its initializer."""


class InvalidFilterError(LinnetError):
    """A filter is not a bool, a name, a collection of names or a `DenyList`."""


class InvalidScopeError(LinnetError):
    """A scope is used after its call has ended."""


class ModifyScopeVariableError(LinnetError):
    """A variable was set in a collection that is not mutable."""


class JaxTransformError(LinnetError):
    """A module is used at a trace level other than its own."""


class LazyInitError(LinnetError):
    """The value of a parameter depends on an input whose values are unknown."""


class PartitioningUnspecifiedError(LinnetError):
    """Partitioning metadata does not specify what happens to an axis."""


# Modules.


class NameInUseError(LinnetError):
    """Two children, parameters or variables of one module have the same name."""


class AssignSubModuleError(LinnetError):
    """A submodule was created outside `setup` and compact methods."""


class SetAttributeInModuleSetupError(LinnetError):
    """A field was assigned to in `setup`."""


class SetAttributeFrozenModuleError(LinnetError):
    """An attribute was assigned to outside `setup`."""


class MultipleMethodsCompactError(LinnetError):
    """Kept for existing handlers; a class may have several compact methods."""


class ReservedModuleAttributeError(LinnetError):
    """A class redefines the field `name` or `parent`."""


class ApplyModuleInvalidMethodError(LinnetError):
    """The `method` passed to `apply` is not a valid method."""


class CallCompactUnboundModuleError(LinnetError):
    """A compact method was called on a module that holds no variables."""


class CallSetupUnboundModuleError(LinnetError):
    """`setup` was called explicitly."""


class CallUnbindOnUnboundModuleError(LinnetError):
    """`unbind` was called on a module that is not bound."""


class CallShareScopeOnUnboundModuleError(LinnetError):
    """`share_scope` was called on a module that is not bound."""


class InvalidInstanceModuleError(LinnetError):
    """A method was called on a class instead of on an instance."""


class IncorrectPostInitOverrideError(LinnetError):
    """`__post_init__` was overridden without calling the inherited one."""


class DescriptorAttributeError(LinnetError):
    """A property of a module raised an AttributeError."""


# Lifted transforms.


class TransformedMethodReturnValueError(LinnetError):
    """A transformed method returned a module or a variable."""


class TransformTargetError(LinnetError):
    """A transform was applied to something that is neither a module class nor a function."""


# Stateful modules.


class TraceContextError(LinnetError):
    """An object was changed at a trace level other than the one at which it was created."""
