"""`ToNNX`: wraps a linen module as an nnx module.

The linen module is a static attribute; its variables are attributes by their linen names, in plain
nested dicts. A call collects them, applies the linen module, and stores the changes.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, MethodType
from typing import Any, TypeVar

import jax

from .. import linen
from ..errors import ArgumentError
from ..nnx.module import Module
from ..nnx.nodes.pytree import Pytree
from ..nnx.streams.rngs import Rngs
from ..nnx.structure.graph import state
from ..nnx.structure.iteration import iter_graph
from ..nnx.variable.variable import Variable
from ..typing import Output
from .variables import linen_vars_to_nnx_attrs, nnx_attrs_to_linen_vars

M = TypeVar("M")

# Keyed by id; the modules are kept as values, so that their ids can't be reused.
_initializing: contextvars.ContextVar[Mapping[int, ToNNX]] = contextvars.ContextVar(
    "bridge_initializing", default=MappingProxyType({})
)


def start_initializing(*modules: ToNNX) -> contextvars.Token[Mapping[int, ToNNX]]:
    """Makes calls to the modules create their variables, until the token is reset."""
    return _initializing.set({**_initializing.get(), **{id(m): m for m in modules}})


@contextmanager
def initializing_ends_here() -> Iterator[None]:
    """A context that ends the initialization that started inside it."""
    token = _initializing.set(_initializing.get())
    try:
        yield
    finally:
        _initializing.reset(token)


class ToNNX(Module):
    """Wraps a linen module as an nnx module.

    Args:
      module: the linen module, unbound.
      rngs: streams (which are forked) or a key, for its variables and random layers.

    `lazy_init` creates its variables from inputs. The methods of the linen module are available as
    methods.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core import linen, nnx
    >>> class Scale(linen.Module):
    ...     @linen.compact
    ...     def __call__(self, x):
    ...         return x * self.param("factor", lambda key, shape: jnp.full(shape, 2.0), x.shape)
    >>> scale = nnx.bridge.ToNNX(Scale(), rngs=nnx.Rngs(0)).lazy_init(jnp.ones(2))
    >>> scale.factor.value.tolist(), scale(jnp.ones(2)).tolist()
    ([2.0, 2.0], [2.0, 2.0])
    """

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"to_nnx__mutable": False}

    def __init__(self, module: linen.Module, rngs: Rngs | jax.Array | None = None) -> None:
        if not isinstance(module, linen.Module):
            raise ArgumentError(
                f"ToNNX takes an instance of a linen module, got {type(module).__name__}.",
                hint="Write ToNNX(nn.Dense(3), rngs=nnx.Rngs(0)).",
            )
        self.to_nnx__module = module
        self.to_nnx__mutable: Any = False  # mutable collections, unless a call sets them
        if isinstance(rngs, jax.Array):
            self.to_nnx__rngs: Rngs | None = Rngs(params=rngs)
        else:
            self.to_nnx__rngs = rngs.fork() if rngs is not None else None

    @property
    def module(self) -> linen.Module:
        """The linen module."""
        return self.to_nnx__module

    @property
    def rngs(self) -> Rngs | None:
        """The streams."""
        return self.to_nnx__rngs

    def lazy_init(self, *args: object, **kwargs: object) -> ToNNX:
        """Creates the variables by calling the linen module once, and returns this module."""
        return lazy_init(self, *args, **kwargs)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        # Called for missing attributes, which may be methods of the linen module.
        module = self.__dict__.get("to_nnx__module")
        method = getattr(type(module), name, None)
        if module is None or name.startswith("__") or not callable(method):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}; is it a variable "
                "that lazy_init has not created yet?"
            )

        def call(self: ToNNX, *args: object, **kwargs: Any) -> Output:
            return self(*args, method=name, **kwargs)

        call.__name__ = name
        return MethodType(call, self)  # a bound method, which lazy_init takes

    def __call__(
        self,
        *args: Any,
        rngs: Rngs | Mapping[str, jax.Array] | jax.Array | None = None,
        method: Callable[..., Any] | str | None = None,
        mutable: Any = None,
        **kwargs: Any,
    ) -> Output:
        """Applies the linen module.

        Args:
          *args, **kwargs: arguments of the method.
          rngs: streams or keys that replace the module's streams; one key is drawn from each.
          method: a method of the linen module, or its name.
          mutable: the mutable collections, as in linen's `apply`; changes are kept in the module.
        """
        module = self.to_nnx__module
        keys = _keys_of(self.to_nnx__rngs if rngs is None else rngs)
        mutable = self.to_nnx__mutable if mutable is None else mutable
        if id(self) in _initializing.get():
            output, updates = module.init_with_output(keys, *args, method=method, **kwargs)
        else:
            result = module.apply(
                self._linen_variables(),
                *args,
                rngs=keys,
                method=method,
                mutable=mutable or False,
                **kwargs,
            )
            if not mutable:
                return result
            output, updates = result
        _put(self, linen_vars_to_nnx_attrs(updates))
        return output

    def _linen_variables(self) -> dict[str, Any]:
        attributes = {k: v for k, v in self.__dict__.items() if not k.startswith("to_nnx__")}
        return nnx_attrs_to_linen_vars(state(attributes))


def _keys_of(rngs: Any) -> dict[str, jax.Array]:
    """The next key of each stream; linen's name for the default stream is 'params'."""
    if rngs is None:
        return {}
    if isinstance(rngs, jax.Array):
        return {"params": rngs}
    keys = {
        name: stream if isinstance(stream, jax.Array) else stream() for name, stream in rngs.items()
    }
    if "params" not in keys and "default" in keys:
        keys["params"] = keys.pop("default")
    return keys


def _put(owner: Any, attributes: Mapping[str, Any]) -> None:
    """Sets attributes; variables of the same class keep their identity."""
    for name, new in attributes.items():
        old = owner.__dict__.get(name) if isinstance(owner, Pytree) else owner.get(name)
        if isinstance(new, Mapping) and isinstance(old, dict):
            _put(old, new)
        elif isinstance(new, Variable) and isinstance(old, Variable) and type(old) is type(new):
            old.update_from_state(new)
        elif isinstance(owner, Pytree):
            setattr(owner, name, new)
        else:
            owner[name] = new


def lazy_init(fn: object, *args: object, **kwargs: object) -> Any:
    """Creates the variables of every `ToNNX` in a module by calling the module once.

    Args:
      fn: a module, or a bound method of one.
      *args, **kwargs: arguments of the call.

    Returns:
      The module.

    Raises:
      ArgumentError: `fn` is neither a module nor a bound method of one.
    """
    owner = fn if isinstance(fn, Pytree) else getattr(fn, "__self__", None)
    if not isinstance(owner, Pytree) or not callable(fn):
        raise ArgumentError(
            f"lazy_init takes a module or a bound method of one, got {type(fn).__name__}.",
            hint="Write lazy_init(model, x), or lazy_init(model.encode, x).",
        )
    with initializing_ends_here():
        start_initializing(*(x for _, x in iter_graph(owner) if isinstance(x, ToNNX)))
        fn(*args, **kwargs)
    return owner


def as_static(mutable: object) -> object:
    """Makes a filter of collections hashable: lists and sets become tuples."""
    if isinstance(mutable, str) or not isinstance(mutable, Collection):
        return mutable
    return tuple(mutable)
