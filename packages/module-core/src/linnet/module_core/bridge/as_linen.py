"""`ToLinen`: wraps an nnx module as a linen module.

`init` creates the nnx module and stores its variables in linen's collections by their paths.
`apply` creates an abstract module (`nnx.eval_shape`), fills in the stored variables, calls the
module, and stores the changes to mutable collections. Random streams aren't stored: each call
starts them from linen's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linnet.struct import FrozenDict

from .. import linen
from ..errors import ArgumentTypeError, ScopeVariableNotFoundError, counted, describe
from ..nnx.abstract import eval_shape
from ..nnx.module import Module
from ..nnx.nodes.pytree import Pytree
from ..nnx.streams.reseeding import reseed
from ..nnx.streams.rngs import Rngs
from ..nnx.structure.graph import merge, split, state
from ..nnx.structure.graphdef import GraphDef
from ..nnx.structure.states import from_flat_state, path_text, to_flat_state
from ..nnx.structure.updating import update
from ..nnx.variable.variable import Variable
from ..nnx.variable.variable_types import Intermediate, RngState
from ..typing import Output
from .streams import forbid_streams
from .variables import collection_of, nnx_attrs_to_linen_vars, to_linen_var, to_nnx_var


class ToLinen(linen.Module):
    """Wraps an nnx module as a linen module.

    Attributes:
      nnx_class: the class, or any function that creates the module; called with `rngs=`.
      args: its positional arguments.
      kwargs: its keyword arguments.
      skip_rng: whether to omit `rngs`, for a class that doesn't take it.
      metadata_fn: converts a variable that has metadata to a box; None stores bare values.
      abstract_init: whether `apply` creates the module without computing its variables.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self, n, *, rngs):
    ...         self.factor = nnx.Param(rngs.params.normal((n,)))
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> scale = nnx.bridge.ToLinen(Scale, args=(3,))
    >>> variables = scale.init(jax.random.key(0), jnp.ones(3))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'factor': (3,)}}
    >>> scale.apply(variables, jnp.ones(3)).shape
    (3,)
    """

    nnx_class: Callable[..., Module]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = FrozenDict({})
    skip_rng: bool = False
    metadata_fn: Callable[[Variable[Any]], Any] | None = to_linen_var
    abstract_init: bool = True

    def __post_init__(self) -> None:
        """Checks the class, and makes the arguments hashable if their items are."""
        _check_class(self.nnx_class, type(self).__name__)
        # Like every linen module, this one may be a static argument of jax.jit.
        self.args = tuple(self.args)
        self.kwargs = FrozenDict(self.kwargs)
        super().__post_init__()

    @linen.compact
    def __call__(
        self, *args: object, nnx_method: Callable[..., Any] | str | None = None, **kwargs: object
    ) -> Output:
        """Calls the nnx module.

        Args:
          *args, **kwargs: arguments of the method.
          nnx_method: a method of the nnx module, or its name; `__call__` by default.
        """
        if self.is_initializing():
            # A transform may have created some of the variables already.
            module = self._filled(self._make(_streams(self)), may_lack=True)
            self._store(module)  # before the call, whose changes don't belong to the initial state
            return _method(module, nnx_method)(*args, **kwargs)
        module = self._restored()
        output = _method(module, nnx_method)(*args, **kwargs)
        self._store(module)
        return output

    def _make(self, rngs: Rngs) -> Module:
        named = {} if self.skip_rng else {"rngs": rngs}
        return self.nnx_class(*self.args, **{**self.kwargs, **named})

    def _restored(self) -> Module:
        seeds = dict.fromkeys(self._streams_given(), 0)  # for the streams' names: see below

        def make() -> Module:
            return self._make(Rngs(0, **seeds))

        outline = eval_shape(make) if self.abstract_init else make()
        # init returns no intermediates: they start from the values of the constructor.
        if self.abstract_init and state(outline, Intermediate):
            outline = make()
        module = self._filled(outline, may_lack=False)
        keys: dict[str, Any] = {name: self.make_rng(name) for name in self._streams_given()}
        forbid_streams(module, but=keys)
        reseed(module, policy="match_shape", **keys)
        return module

    def _filled(self, outline: Module, may_lack: bool) -> Module:
        graphdef, leaves = split(outline)
        where = self.name or type(self).__name__
        return _filled(graphdef, leaves, self.variables, where, may_lack)

    def _streams_given(self) -> list[str]:
        scope = self.scope
        return [] if scope is None else list(scope.keys)

    def _store(self, module: Module) -> None:
        found = nnx_attrs_to_linen_vars(state(module), self.metadata_fn)
        for col, tree in found.items():
            if self.is_mutable_collection(col):
                for name, value in tree.items():
                    self.put_variable(col, str(name), value)


def _streams(module: ToLinen) -> Rngs:
    """Streams from linen's keys; a missing stream draws from 'params', as in linen."""
    given = module._streams_given()
    keys = {name: module.make_rng(name) for name in given}
    if "default" not in keys and "params" in keys:
        keys["default"] = module.make_rng("params")
    return Rngs(**keys)


def _check_class(nnx_class: object, taker: str) -> None:
    """Checks that a class, not an instance, was passed.

    Raises:
      ArgumentTypeError: the value is an instance, or can't be called.
    """
    if isinstance(nnx_class, Pytree):
        name = type(nnx_class).__name__
        raise ArgumentTypeError(
            f"{taker} takes a class of nnx modules and creates the instance itself, got an "
            f"instance of {name}.",
            hint=f"Write ToLinen({name}, args=(...), kwargs={{...}}), or"
            f" nnx.bridge.to_linen({name}, ...) with the arguments of {name}, without rngs. To use"
            " the instance's values, pass what nnx.bridge.nnx_to_linen returns as variables.",
        )
    if not callable(nnx_class):
        raise ArgumentTypeError(
            f"{taker} takes a class of nnx modules, got {describe(nnx_class)}.",
            hint="Write ToLinen(nnx.Linear, args=(2, 3)).",
        )


def _method(module: Module, method: Callable[..., Any] | str | None) -> Callable[..., Any]:
    if method is None:
        return module  # type: ignore[return-value]
    if isinstance(method, str):
        return getattr(module, method)  # type: ignore[no-any-return]
    return lambda *args, **kwargs: method(module, *args, **kwargs)


def _filled(
    graphdef: GraphDef, outline: Any, variables: Mapping[str, Any], where: str, may_lack: bool
) -> Module:
    """Fills the outline of a module with linen's variables, and adds those that it doesn't have.

    Args:
      graphdef, outline: the module as constructed, abstract or not.
      variables: linen's collections.
      where: the linen module, for error messages.
      may_lack: whether variables may be missing; the outline's variables are used instead.

    Raises:
      ScopeVariableNotFoundError: variables are missing; the message lists all of them.
    """
    given: dict[tuple[Any, ...], Any] = {}
    for col, tree in variables.items():
        for path, x in to_flat_state(tree):
            given[(col, *map(str, path))] = (path, x)
    missing: list[str] = []
    leaves: dict[tuple[Any, ...], Any] = {}
    for path, leaf in to_flat_state(outline):
        if not isinstance(leaf, Variable):
            leaves[path] = leaf
        elif isinstance(leaf, RngState):
            leaves[path] = leaf.copy(_placeholder(leaf))
        else:
            col = collection_of(leaf)
            found = given.pop((col, *map(str, path)), None)
            if found is None:
                leaves[path] = leaf
                if not isinstance(leaf, Intermediate):
                    missing.append(path_text((col, *path)))
                continue
            new = to_nnx_var(col, found[1])
            leaves[path] = leaf.copy(new.raw_value, **new.get_metadata())
    if missing and not may_lack:
        raise ScopeVariableNotFoundError(
            f"{counted(len(missing), 'variable')} of {where} {'is' if len(missing) == 1 else 'are'}"
            f" missing: {', '.join(missing[:8])}.",
            hint="Were they initialized with different arguments, or were collections left out?",
        )
    module: Module = merge(graphdef, from_flat_state(leaves))
    for (col, *_), (path, x) in given.items():
        update(module, from_flat_state({path: to_nnx_var(col, x)}))
    return module


def _placeholder(leaf: Variable[Any]) -> object:
    value = leaf.raw_value
    if not isinstance(value, jax.ShapeDtypeStruct):
        return value
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), value.shape)
    return jnp.zeros(value.shape, value.dtype)


def to_linen(
    nnx_class: Callable[..., Module],
    *args: object,
    metadata_fn: Callable[[Variable[Any]], Any] | None = to_linen_var,
    name: str | None = None,
    skip_rng: bool = False,
    abstract_init: bool = True,
    **kwargs: object,
) -> ToLinen:
    """Creates a `ToLinen`, given the arguments of the nnx class directly.

    Args:
      nnx_class: the class.
      *args, **kwargs: its arguments, without `rngs`.
      metadata_fn: see `ToLinen`.
      name: name of the linen module.
      skip_rng: see `ToLinen`.
      abstract_init: see `ToLinen`.
    """
    _check_class(nnx_class, "to_linen")
    return ToLinen(
        nnx_class,
        args=args,
        kwargs=FrozenDict(kwargs),
        metadata_fn=metadata_fn,
        skip_rng=skip_rng,
        abstract_init=abstract_init,
        name=name,
    )


def to_linen_class(
    base_nnx_class: type[Module],
    base_metadata_fn: Callable[[Variable[Any]], Any] | None = to_linen_var,
    base_skip_rng: bool = False,
    **partial_kwargs: object,
) -> type[ToLinen]:
    """Creates a linen class from an nnx class; it takes the same arguments.

    Args:
      base_nnx_class: the class.
      base_metadata_fn: see `ToLinen`.
      base_skip_rng: see `ToLinen`.
      **partial_kwargs: arguments that apply to all instances.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.module_core import nnx
    >>> class Scale(nnx.Module):
    ...     def __init__(self, n, value, *, rngs):
    ...         self.factor = nnx.Param(jnp.full(n, value))
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> LinenScale = nnx.bridge.to_linen_class(Scale, value=2.0)
    >>> LinenScale(3).init_with_output(jax.random.key(0), jnp.ones(3))[0].tolist()
    [2.0, 2.0, 2.0]
    """
    _check_class(base_nnx_class, "to_linen_class")

    def __init__(self: ToLinen, *args: object, **kwargs: Any) -> None:
        own = {k: kwargs.pop(k) for k in ("parent", "name") if k in kwargs}
        if "nnx_class" not in kwargs:  # otherwise linen is cloning a module
            kwargs = {
                "nnx_class": base_nnx_class,
                "args": args,
                "kwargs": FrozenDict({**partial_kwargs, **kwargs}),
                "metadata_fn": base_metadata_fn,
                "skip_rng": base_skip_rng,
            }
        ToLinen.__init__(self, **kwargs, **own)

    return type(
        base_nnx_class.__name__,
        (ToLinen,),
        {
            "__init__": __init__,
            "__module__": base_nnx_class.__module__,
            "__doc__": f"`{base_nnx_class.__name__}` as a linen module.",
        },
    )
