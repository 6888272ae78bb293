"""`Layer`, the base class of nnx layers, and helpers to create and read parameters.

Layers are initialized eagerly: the constructor draws the parameters in the order of the code, with
one key of the stream 'params' for each. Their calls end in pure functions, whose errors report
shapes; `Layer` adds the layer to these errors.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp

from .. import dtypes
from ..config import config
from ..draws import current
from ..errors import ArgumentError, ArgumentTypeError, LinnetError, describe
from ..nnx import Module, Param, Rngs, RngStream, Variable, data
from ..nnx.structure.locating import does_locate, locate, mark
from ..nnx.structure.operation_names import named
from ..tracebacks import strip
from ..typing import Output
from .types import DTypeLike, Metadata, PromoteDtype, Shape

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=tuple[Any, ...])


def promote_dtype(args: T, /, *, dtype: DTypeLike | None = None, inexact: bool = True) -> T:
    """Casts all items of a tuple to their common dtype, or to `dtype`; None stays None.

    Args:
      args: arrays, scalars or None.
      dtype: the dtype; inferred by default.
      inexact: converts integers to a floating dtype, and raises an error for an integer `dtype`.

    Raises:
      DtypeError: `dtype` is an integer dtype, and `inexact` is True.

    >>> import jax.numpy as jnp
    >>> x, kernel, bias = promote_dtype((jnp.ones(2, jnp.bfloat16), jnp.ones(2), None))
    >>> x.dtype.name, kernel.dtype.name, bias
    ('float32', 'float32', None)
    """
    return tuple(dtypes.promote_dtype(*args, dtype=dtype, inexact=inexact))  # type: ignore[return-value]


def params_key(rngs: object, layer: object) -> jax.Array:
    """Draws a key from the stream 'params' for a parameter of a layer under construction.

    Raises:
      ArgumentTypeError: `rngs` is neither an `Rngs` nor an `RngStream`.
    """
    if isinstance(rngs, RngStream):
        return rngs()
    if not isinstance(rngs, Rngs):
        name = type(layer).__name__
        raise ArgumentTypeError(
            f"{name} draws its parameters from rngs=nnx.Rngs(...), got {describe(rngs)}.",
            hint=f"Write {name}(..., rngs=nnx.Rngs(0)), with one Rngs for all layers of a model.",
        )
    key: jax.Array = rngs.params()
    return key


def value_of(param: Any) -> Any:
    """The value of a parameter: a variable, or an array that replaces it.

    Users load, freeze and replace weights with `layer.kernel = array`. The array may be a jax or
    NumPy array, an object that converts to one, or one that returns it as `param[...]`, like a
    variable. None, for an absent parameter, stays None.
    """
    if isinstance(param, Variable):
        return param.get_value()
    if param is None or isinstance(param, jax.Array):
        return param
    if not (hasattr(param, "__jax_array__") or hasattr(param, "__array__")):
        param = param[...]
    return jnp.asarray(param)


def put_value(layer: object, name: str, value: object) -> None:
    """Stores a value in attribute `name` of a layer, or in the variable that it holds."""
    present = getattr(layer, name)
    if isinstance(present, Variable):
        present.set_value(value)
    else:
        # The old value may be marked as static, for example an object that converts to an array.
        setattr(layer, name, data(value))


def dropout_key(rngs: object, layer: object, collection: str = "dropout") -> jax.Array:
    """Draws a key for a call.

    Args:
      rngs: streams, including one named `collection`; a single stream; or a key. They come from the
        call or from the layer.
      layer: the layer that needs the key.
      collection: the name of the stream.

    Raises:
      ArgumentError: `rngs` is None.
      ArgumentTypeError: `rngs` has a different type.
    """
    if isinstance(rngs, Rngs):
        return rngs[collection]()
    if isinstance(rngs, RngStream):
        return rngs()
    if isinstance(rngs, jax.Array):
        return rngs
    name = type(layer).__name__
    if rngs is None:
        raise ArgumentError(
            f"{name} drops values at random but has no random stream: rngs is None in the call, "
            "and the layer keeps none.",
            hint=f"Make it with {name}(..., rngs=nnx.Rngs(0)), or call it with rngs=..., or with"
            " deterministic=True to drop nothing.",
        )
    raise ArgumentTypeError(
        f"'rngs' must be nnx.Rngs, an RngStream or a key, got {describe(rngs)}."
    )


def names_layer(method: Callable[P, R]) -> Callable[P, R]:
    """Wraps a method of a layer: its errors and its operations name the layer in the model.

    See `locating` and `operation_names`.

    If `rngs` is missing in a call to the constructor, the error explains what to pass.
    """
    name_of_method = method.__name__
    constructs = name_of_method == "__init__"

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if config.flax_profile and not constructs:
                return named(method, args[0], args[1:], kwargs)
            return method(*args, **kwargs)
        except Exception as error:
            if not constructs:
                locate(error, args[0], name_of_method)
                strip(error)
                raise
            if isinstance(error, LinnetError):
                error.locate(type(args[0]).__name__)
            inside = error.__traceback__ and error.__traceback__.tb_next
            wrong = isinstance(error, TypeError) and not isinstance(error, LinnetError)
            if not wrong or inside or "rngs" in kwargs or "'rngs'" not in str(error):
                strip(error)
                raise
            name = type(args[0]).__name__
            missing = ArgumentTypeError(
                "rngs is missing: the random streams that the parameters are drawn from.",
                hint=f"Write {name}(..., rngs=nnx.Rngs(0)), with one Rngs for all layers of a"
                " model.",
            )
            missing.locate(name)
            raise missing from None

    return mark(wrapper)


class Layer(Module):
    """Base class of this library's layers, whose errors name the layer's path in the model.

    `Module` does this only for `__call__`; here it applies to the constructor and all public
    methods, including those of subclasses.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            is_public = name == "__init__" or not name.startswith("_")
            if inspect.isfunction(member) and is_public and not does_locate(member):
                setattr(cls, name, names_layer(member))


class _Init(Protocol):
    def __call__(self, key: object, shape: Shape, dtype: object, /) -> Output: ...


def new_param(
    layer: object,
    init: _Init,
    shape: Shape,
    param_dtype: DTypeLike,
    rngs: Rngs,
    metadata: Metadata,
    kind: type[Variable[Any]] = Param,
) -> Any:
    """Creates a parameter of a layer, from the next key of the stream 'params'."""
    key = params_key(rngs, layer)
    try:
        value = init(key, shape, param_dtype)
    except (TypeError, ValueError) as error:
        if not isinstance(error, LinnetError):
            error.add_note(
                f"A parameter of {type(layer).__name__} is created by calling its initializer as "
                f"{_name_of(init)}(key, {shape}, {jnp.dtype(param_dtype).name}). Call a factory "
                "such as lecun_normal first (lecun_normal()); wrap a function that takes other "
                "arguments in a lambda (lambda key, shape, dtype: ...)."
            )
        raise
    if inspect.isfunction(value):
        raise ArgumentTypeError(
            f"The initializer {_name_of(init)} of {type(layer).__name__} returned a function.",
            hint=f"If it is a factory, call it first: {_name_of(init)}().",
        )
    recorder = current()
    if recorder is not None:
        recorder.drawn(value, init, key, (shape, param_dtype))
    return kind(value, **metadata)


def _name_of(init: _Init) -> str:
    return getattr(init, "__name__", type(init).__name__)


def spread(promote: PromoteDtype) -> Callable[..., Sequence[Any]]:
    """Adapts `promote`, which takes a tuple, to take separate arguments as in `functional`."""
    if promote is promote_dtype:
        return dtypes.promote_dtype
    return lambda *args, **options: promote(args, **options)
