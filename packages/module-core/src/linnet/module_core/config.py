"""Switches that change the behavior of every module.

Switches are read from the environment once, at import: `FLAX_FIX_RNG_SEPARATOR=1` sets
`flax_fix_rng_separator`. The names are those of Flax, so that programs and their environments work
unchanged.

>>> config.flax_return_frozendict
False
>>> with temp_flip_flag("return_frozendict", True):
...     config.flax_return_frozendict
True
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from .errors import ArgumentError

_T = TypeVar("_T")

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0", "")


def static_bool_env(varname: str, default: bool) -> bool:
    """The truth value of an environment variable, such as "1", "yes", "off" or "false".

    Raises:
      ArgumentError: the variable is not a boolean.

    >>> static_bool_env("A_VARIABLE_THAT_IS_NOT_SET", True)
    True
    """
    text = os.environ.get(varname)
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ArgumentError(
        f"Environment variable {varname} is {text!r}, expected a boolean.",
        hint=f"Use one of {', '.join(_TRUE)} or {', '.join(n for n in _FALSE if n)}.",
    )


def static_int_env(varname: str, default: int | None) -> int | None:
    """The integer value of an environment variable.

    Raises:
      ArgumentError: the variable is not an integer.

    >>> static_int_env("A_VARIABLE_THAT_IS_NOT_SET", 3)
    3
    """
    text = os.environ.get(varname)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ArgumentError(
            f"Environment variable {varname} is {text!r}, expected an integer.",
            hint=f"Leave it out for {default}.",
        ) from None


class FlagHolder(Generic[_T]):
    """A switch as an object: its name, its meaning, and its current value.

    Args:
      name: the switch's name.
      help: what it does.

    >>> flax_return_frozendict.name, flax_return_frozendict.value
    ('flax_return_frozendict', False)
    """

    def __init__(self, name: str, help: str) -> None:
        self.name = name
        self.__name__ = name.removeprefix("flax")
        self.__doc__ = help

    @property
    def value(self) -> _T:
        """The current value."""
        value: _T = getattr(config, self.name)
        return value

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self.name} is a switch, not its value. Use {self.name}.value.")

    def __repr__(self) -> str:
        return f"FlagHolder({self.name!r})"


class Config:
    """The switches, as attributes.

    Attributes:
      flax_fix_rng_separator: a separator is hashed before every name and number of a random key's
        path, so that the paths ("ab", "c") and ("a", "bc") get different keys.
      flax_return_frozendict: `init`, `apply` and `variables` return a `FrozenDict`.
      flax_preserve_adopted_names: a module passed to another module's constructor keeps its name.
      flax_filter_frames: the library's frames are removed from tracebacks (see `tracebacks`).
      flax_profile: operations carry the names of their modules in profiles and in HLO.
      flax_use_orbax_checkpointing: `save_checkpoint` writes with orbax by default.
      flax_always_shard_variable: the default of `nnx.use_eager_sharding`.
      nnx_graph_mode: the default of `nnx.set_graph_mode`.
      nnx_graph_updates: the default of `nnx.set_graph_updates`.
      flax_max_repr_depth, flax_use_flaxlib: have no effect; Linnet needs neither.
      flax_array_ref, flax_hijax_variable: always False, as there are no such variables.
      flax_pytree_module: always True: every nnx module is a pytree, unless its class opts out.
    """

    if TYPE_CHECKING:  # Switches are made by `bool_flag` and `int_flag`.
        flax_fix_rng_separator: bool
        flax_return_frozendict: bool
        flax_preserve_adopted_names: bool
        flax_filter_frames: bool
        flax_profile: bool
        flax_use_orbax_checkpointing: bool
        flax_always_shard_variable: bool
        nnx_graph_mode: bool
        nnx_graph_updates: bool
        flax_max_repr_depth: int | None
        flax_use_flaxlib: bool
        flax_array_ref: bool
        flax_hijax_variable: bool
        flax_pytree_module: bool

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        for name, default in _DEFAULTS.items():
            # A switch's value has the type of its default.
            known = isinstance(default, bool)
            read: Any = static_bool_env if known else static_int_env
            value = read(name.upper(), default)
            _require_possible(name, value)
            self.__dict__[name] = value

    def __setattr__(self, name: str, value: object) -> None:
        self.update(name, value)

    def update(self, name_or_holder: str | FlagHolder[Any], value: object, /) -> None:
        """Sets a switch, given by its name or as a `FlagHolder`.

        Raises:
          LookupError: the switch doesn't exist.
          ArgumentError: the switch has a fixed value.
        """
        holder = isinstance(name_or_holder, FlagHolder)
        name = name_or_holder.name if holder else name_or_holder  # type: ignore[union-attr]
        if name not in self.__dict__:
            raise LookupError(
                f"Unknown switch {name!r}. Known switches: {', '.join(self.__dict__)}."
            )
        _require_possible(name, value)
        self.__dict__[name] = value

    @contextmanager
    def temp_flip_flag(self, var_name: str, var_value: bool) -> Iterator[None]:
        """Sets the switch `flax_<var_name>` within a `with` block.

        >>> with config.temp_flip_flag("return_frozendict", True):
        ...     config.flax_return_frozendict
        True
        """
        name = f"flax_{var_name}"
        old = self.__dict__.get(name)
        self.update(name, var_value)
        try:
            yield
        finally:
            self.update(name, old)

    def __reduce__(self) -> str:
        return "config"  # pickled by name: another process uses its own switches

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{k}={v}' for k, v in self.__dict__.items())})"


_DEFAULTS: dict[str, bool | int | None] = {
    "flax_fix_rng_separator": False,
    "flax_return_frozendict": False,
    "flax_preserve_adopted_names": False,
    "flax_filter_frames": True,
    "flax_profile": True,
    "flax_use_orbax_checkpointing": False,
    "flax_always_shard_variable": True,
    "nnx_graph_mode": True,
    "nnx_graph_updates": True,
    "flax_max_repr_depth": None,
    "flax_use_flaxlib": False,
    "flax_array_ref": False,
    "flax_hijax_variable": False,
    "flax_pytree_module": True,
}

_ALWAYS = {"flax_array_ref": False, "flax_hijax_variable": False, "flax_pytree_module": True}


def _require_possible(name: str, value: object) -> None:
    always = _ALWAYS.get(name, bool(value))
    if bool(value) is not always:
        raise ArgumentError(
            f"{name} is always {always} in Linnet, got {value!r}.", hint=_instead(name)
        )


def _instead(name: str) -> str:
    if name == "flax_pytree_module":
        return "For one class, write `class Model(nnx.Module, pytree=False)`."
    return "Leave it out: assignment changes variables."


config = Config()
"""The switches of this process."""

temp_flip_flag = config.temp_flip_flag


def _flag(name: str, read: Any, default: Any, help: str) -> FlagHolder[Any]:
    if name in config.__dict__:
        raise RuntimeError(f"The switch {name} already exists.")
    config.__dict__[name] = read(name.upper(), default)
    return FlagHolder(name, help)


def bool_flag(name: str, *, default: bool, help: str) -> FlagHolder[bool]:
    """Makes a switch for a program, available as an attribute of `config`.

    Args:
      name: the switch's name; in capitals, the name of the environment variable that sets it.
      default: the value if there is no such variable.
      help: what the switch does.

    Raises:
      RuntimeError: a switch of that name exists.

    >>> bool_flag("my_switch", default=True, help="An example.").value
    True
    """
    return _flag(name, static_bool_env, default, help)


def int_flag(name: str, *, default: int | None, help: str) -> FlagHolder[int | None]:
    """Makes a switch whose value is an integer; see `bool_flag`.

    >>> int_flag("my_number", default=3, help="An example.").value
    3
    """
    return _flag(name, static_int_env, default, help)


def _held(name: str) -> FlagHolder[bool]:
    return FlagHolder(name, f"See the attribute {name} of `Config`.")


flax_filter_frames = _held("flax_filter_frames")
flax_profile = _held("flax_profile")
flax_use_orbax_checkpointing = _held("flax_use_orbax_checkpointing")
flax_preserve_adopted_names = _held("flax_preserve_adopted_names")
flax_return_frozendict = _held("flax_return_frozendict")
flax_fix_rng = _held("flax_fix_rng_separator")
flax_use_flaxlib = _held("flax_use_flaxlib")
flax_array_ref = _held("flax_array_ref")
flax_pytree_module = _held("flax_pytree_module")
flax_max_repr_depth: FlagHolder[int | None] = FlagHolder(
    "flax_max_repr_depth", "See the attribute flax_max_repr_depth of `Config`."
)
flax_always_shard_variable = _held("flax_always_shard_variable")
flax_hijax_variable = _held("flax_hijax_variable")
nnx_graph_mode = _held("nnx_graph_mode")
nnx_graph_updates = _held("nnx_graph_updates")
