"""`Module`: the base class of layers and models.

A module is a `Pytree` with a few methods that visit all of its submodules. Each method has a
function that does the same for any nnx object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import jax
import jax.numpy as jnp

from ..attributes_elsewhere import NNX
from ..errors import ArgumentError, ArgumentTypeError
from . import capturing
from .filters import Filter, to_predicate
from .nodes.pytree import Pytree
from .streams.rngs import Rngs, RngStream
from .structure.iteration import iter_children as _iter_children
from .structure.iteration import iter_graph
from .structure.locating import does_locate, locates
from .structure.states import Path
from .variable.variable import Variable
from .variable.variable_types import Perturbation, variable_type_from_name

M = TypeVar("M", bound="Module")
T = TypeVar("T")


def _append(previous: tuple[Any, ...], value: object) -> tuple[Any, ...]:
    return (*previous, value)


class Module(Pytree):
    """Base class of all neural network modules.

    Submodules, variables and other values are ordinary attributes, assigned in `__init__`; any
    method can be the forward pass.

    >>> from linnet.module_core import nnx
    >>> import jax.numpy as jnp
    >>> class Linear(nnx.Module):
    ...     def __init__(self, din, dout, *, rngs):
    ...         self.kernel = nnx.Param(rngs.params.normal((din, dout)))
    ...     def __call__(self, x):
    ...         return x @ self.kernel
    >>> Linear(2, 3, rngs=nnx.Rngs(0))(jnp.ones((1, 2))).shape
    (1, 3)
    """

    _takes_captures = True  # see `capturing`

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # `__init__` binds the arguments after this, and its error would only count them.
        for x in args:
            if isinstance(x, (Rngs, RngStream)):
                _refuse_positional_streams(cls, args, kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        call = vars(cls).get("__call__")
        if inspect.isfunction(call) and not does_locate(call):
            setattr(cls, "__call__", locates(call))  # noqa: B010

    if not TYPE_CHECKING:  # a type checker would take every misspelled name for an attribute

        def __getattr__(self, name: str) -> object:
            # Called for missing attributes. Looking it up again raises Python's error, or that of
            # a property, which this method must not hide.
            if name not in NNX or hasattr(type(self), name):
                return object.__getattribute__(self, name)
            text = f"{type(self).__name__!r} object has no attribute {name!r}."
            raise AttributeError(f"{text}\n  {NNX[name]}", name=name, obj=self)

    def iter_children(self) -> Iterator[tuple[Any, Module]]:
        """The direct submodules with their names, sorted by name."""
        return iter_module_children(self)

    def iter_modules(self) -> Iterator[tuple[Path, Module]]:
        """This module and all submodules with their paths, children first."""
        return iter_modules(self)

    def set_attributes(
        self,
        *filters: Filter,
        raise_if_not_found: bool = True,
        graph: bool | None = None,
        **attributes: object,
    ) -> None:
        """Sets attributes of this module and all submodules, wherever they exist.

        Args:
          *filters: the modules to set; all by default.
          raise_if_not_found: raises an error for attributes that no selected module has.
          graph: False raises an error for shared references.
          **attributes: names and new values.

        Raises:
          ArgumentError: an attribute exists in none of the modules; the others are already set.
        """
        set_attributes(
            self,
            filters or (...,),
            raise_if_not_found=raise_if_not_found,
            graph=graph,
            **attributes,
        )

    def train(self, **attributes: Any) -> None:
        """Sets `deterministic=False` and `use_running_average=False` wherever they exist.

        Args:
          **attributes: additional attributes to set.
        """
        self.set_attributes(
            **{"deterministic": False, "use_running_average": False, **attributes},
            raise_if_not_found=False,
        )

    def eval(self, **attributes: Any) -> None:
        """Sets `deterministic=True` and `use_running_average=True` wherever they exist.

        Args:
          **attributes: additional attributes to set.
        """
        self.set_attributes(
            **{"deterministic": True, "use_running_average": True, **attributes},
            raise_if_not_found=False,
        )

    def sow(
        self,
        variable_type: type[Variable[Any]] | str,
        name: str,
        value: object,
        reduce_fn: Callable[[Any, Any], Any] = _append,
        init_fn: Callable[[], Any] = tuple,
    ) -> bool:
        """Stores an intermediate value, to be read after the call.

        Args:
          variable_type: type of the variable that holds the value, or the type's name.
          name: name of the attribute.
          value: the value to store.
          reduce_fn: combines the stored value with the new one; appends to a tuple by default.
          init_fn: returns the initial value.

        Returns:
          Whether the value was stored. Within `capture`, only captured types are.

        Raises:
          ArgumentError: the attribute already exists and isn't a variable of this type.
        """
        if isinstance(variable_type, str):
            variable_type = variable_type_from_name(variable_type, allow_register=True)
        captures = capturing.captures_of(self)
        if captures is not None:
            return capturing.sow(captures, variable_type, name, value, reduce_fn, init_fn)
        if not hasattr(self, name):
            setattr(self, name, variable_type(reduce_fn(init_fn(), value)))
            return True
        variable = getattr(self, name)
        if not isinstance(variable, Variable):
            raise ArgumentError(
                f"{name!r} holds a {type(variable).__name__}, which is not a Variable.",
                hint="Sow under a name that isn't an attribute.",
            )
        if type(variable) is not variable_type:
            raise ArgumentError(
                f"Expected {name!r} to be of type {variable_type.__name__!r}, got"
                f" {type(variable).__name__!r}",
                hint="Sow under a different name, or with the same variable type as before.",
            )
        variable.set_raw_value(reduce_fn(variable.raw_value, value))
        return True

    def perturb(
        self,
        name: str,
        value: T,
        variable_type: type[Variable[Any]] | str = Perturbation,
    ) -> T:
        """Adds a variable of zeros to a value, so that its gradient is the gradient of the value.

        The first call creates the variable with the shape of the value.

        Args:
          name: name of the attribute.
          value: the value to perturb, an array or pytree of arrays.
          variable_type: type of the variable, or the type's name.

        Returns:
          `value` plus the variable.
        """
        if isinstance(variable_type, str):
            variable_type = variable_type_from_name(variable_type, allow_register=True)
        captures = capturing.captures_of(self)
        if captures is not None:
            return capturing.perturb(captures, variable_type, name, value)
        if not hasattr(self, name):
            setattr(self, name, variable_type(jax.tree.map(jnp.zeros_like, value)))
        variable = getattr(self, name)
        if type(variable) is not variable_type:
            raise ArgumentError(
                f"Expected {name!r} to be of type {variable_type.__name__!r}, got"
                f" {type(variable).__name__!r}",
                hint="Perturb under a different name, or with the same variable type as before.",
            )
        perturbed: T = jax.tree.map(jnp.add, variable.raw_value, value)
        return perturbed


def set_attributes(
    node: object,
    filters: Sequence[Filter],
    /,
    *,
    raise_if_not_found: bool,
    graph: bool | None,
    **attributes: object,
) -> None:
    """Sets attributes of the selected modules in an object, wherever they exist.

    Raises:
      ArgumentError: an attribute exists in none of the modules; the others are already set.
    """
    missing = set(attributes)
    predicate = to_predicate(filters)
    for path, module in iter_modules(node, graph=graph):
        if not predicate(path, module):
            continue
        for name, value in attributes.items():
            if hasattr(module, name):
                missing.discard(name)
                setattr(module, name, value)
    if missing and raise_if_not_found:
        raise ArgumentError(
            f"No module has the attribute(s) {', '.join(map(repr, sorted(missing)))}.",
            hint="Check the names, or pass raise_if_not_found=False.",
        )


def iter_modules(module: object, /, *, graph: bool | None = None) -> Iterator[tuple[Path, Module]]:
    """All modules in an object, itself included, with their paths, children first."""
    for path, value in iter_graph(module, graph=graph):
        if isinstance(value, Module):
            yield path, value


def iter_module_children(
    module: object, /, *, graph: bool | None = None
) -> Iterator[tuple[Any, Module]]:
    """The direct submodules with their names, sorted by name."""
    for name, value in _iter_children(module, graph=graph):
        if isinstance(value, Module):
            yield name, value


def first_from(*values: T | None, error_msg: str) -> T:
    """The first value that isn't None.

    Raises:
      ArgumentError: all values are None; the message is `error_msg`.
    """
    for value in values:
        if value is not None:
            return value
    raise ArgumentError(error_msg)


def _refuse_positional_streams(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Checks that streams are not passed as positional arguments to a class that takes `rngs=`.

    Raises:
      ArgumentTypeError: `rngs` is keyword-only and was passed by position.
    """
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    if "rngs" in kwargs or not any(
        p.name == "rngs" and p.kind is p.KEYWORD_ONLY for p in parameters
    ):
        return
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    given = next(i for i, x in enumerate(args) if isinstance(x, (Rngs, RngStream)))
    shown = (repr(x) for x in args[:given])
    before = ", ".join(x if len(x) <= 20 and "\n" not in x else "..." for x in shown)
    error = ArgumentTypeError(
        f"rngs must be passed by keyword, but was passed as positional argument {given + 1}.",
        hint=f"Write {cls.__name__}({before}{', ' if before else ''}rngs=...).",
    )
    error.locate(cls.__name__)
    raise error
