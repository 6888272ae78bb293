"""`NNXLayer`: an nnx module as a Keras layer.

An nnx module owns its variables; a Keras layer owns its weights. The layer therefore splits the
module: the structure is stored, once in training and once in evaluation mode, and the values become
weights. A call rebuilds a module from the structure and the weights' values, runs it, and extracts
the values that have changed. The given module is never modified.
"""

from __future__ import annotations

import inspect
import uuid
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import keras

from linnet.module_core.errors import ArgumentTypeError, describe
from linnet.module_core.typing import PyTree

from . import modules, values
from .graph import Graph
from .layer import ModuleLayer
from .methods import find_method
from .place import Place
from .weights import as_arrays

if TYPE_CHECKING:
    from linnet.module_core import nnx

_LIVING: weakref.WeakValueDictionary[str, NNXLayer] = weakref.WeakValueDictionary()
"""Existing layers by the token in their configurations. A clone within this process finds its
original here, and copies the original's module."""


@keras.saving.register_keras_serializable(package="linnet")
class NNXLayer(ModuleLayer):
    """A Keras layer that wraps an nnx module.

    Variables of type `Param` become trainable weights; batch statistics, streams of random keys and
    all other variables become non-trainable ones. In training, the module is in training mode
    (`module.train()`) and its streams of keys advance; otherwise it is in evaluation mode.

    Args:
      module: an instance of an nnx `Module`, which is copied; or a factory: a class or a function,
        called with `rngs=nnx.Rngs(...)` if it has such a parameter. A layer made from a factory can
        be made again from its configuration, with new initial weights.
      method: the method to call: a method of the module or its name, `__call__` by default, or a
        function whose first argument is the module. It gets the inputs, and `training` if it has a
        parameter of that name.
      seed: seeds the `rngs` of a factory; None takes them from `keras.utils.set_random_seed`.
      **kwargs: arguments of `keras.Layer`: name, dtype, trainable.

    Attributes:
      params, state: the weights by path.

    Raises:
      ArgumentError: Keras doesn't run on jax, or the method takes different arguments.
      ArgumentTypeError: `module` is not an nnx module and doesn't make one.

    >>> import keras, jax, numpy as np
    >>> from linnet.module_core import nnx
    >>> class Affine(nnx.Module):
    ...     def __init__(self, size, features, *, rngs):
    ...         self.w = nnx.Param(rngs.params.normal((size, features)))
    ...     def __call__(self, inputs):
    ...         return inputs @ self.w
    >>> model = keras.Sequential([keras.Input((4,)), NNXLayer(Affine(4, 3, rngs=nnx.Rngs(0)))])
    >>> model(np.ones((2, 4))).shape
    (2, 3)
    >>> model.layers[0].module().w.shape
    (4, 3)
    """

    def __init__(
        self,
        module: object,
        method: str | Callable[..., Any] | None = None,
        *,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self._refuse_trace()
        self._factory: Callable[..., Any] | None = None
        given = self._module_of(module)
        self.method = method
        self._method = self._located(find_method, given, method, type(self).__name__)
        self._graph = Graph(given)
        initial = self._graph.values(given)
        self._make_weights(lambda: as_arrays(self._graph.divided(initial)), random=False)
        self._token = uuid.uuid4().hex
        _LIVING[self._token] = self

    def _module_of(self, given: object) -> nnx.Module:
        from linnet.module_core import nnx

        if isinstance(given, nnx.Module):
            return given
        if modules.is_linen(given) or modules.is_linen_class(given):
            hint: str | None = "Wrap linen modules in FlaxLayer."
        elif type(given).__module__.partition(".")[0] == "flax":
            hint = (
                "That is a Flax module; Linnet's modules have the same names: from linnet "
                "import nnx."
            )
        elif callable(given):
            self._factory = given
            made = self._made(given)
            if isinstance(made, nnx.Module):
                return made
            given = made
            hint = "That is what the factory returned."
        else:
            hint = None
        raise self._error(
            "module should be an instance of linnet.nnx.Module, or a class or function that makes "
            f"one, got {describe(given)}.",
            hint=hint,
            kind=ArgumentTypeError,
        )

    def _made(self, factory: Callable[..., Any]) -> object:
        from linnet.module_core import nnx

        try:
            takes_rngs = "rngs" in inspect.signature(factory).parameters
        except (TypeError, ValueError):
            takes_rngs = False
        if not takes_rngs:
            return factory()
        params_key, dropout_key = self._draw_keys()
        return factory(rngs=nnx.Rngs(params_key, dropout=dropout_key))

    def build(self, input_shape: object) -> None:
        """Does nothing: the shapes of an nnx module are fixed when it is constructed."""
        self.built = True

    def module(self) -> nnx.Module:
        """A copy of the module with the current weights, in its original mode."""
        return self._graph.module(None, jax.tree.map(jnp.copy, self._values()))

    def _values(self) -> dict[str, Any]:
        params, state = self._weights.params, self._weights.state
        assert params is not None
        assert state is not None
        return {**params.read(), **state.read()}

    def _run(self, inputs: PyTree, training: bool) -> object:
        before = self._values()
        module = self._graph.module(training, before)
        args, kwargs = self._method.arguments(inputs, training)
        outputs = self._method.function(module, *args, **kwargs)
        if sown := self._graph.sown(module):
            self._warn_of_sown(
                ", ".join(sown),
                "Have the method return what you want to see, or use nnx.capture with "
                "layer.module().",
            )
        self._keep(self._graph.values(module), before, training)
        return outputs

    def _keep(self, after: dict[str, Any], before: dict[str, Any], training: bool) -> None:
        state = self._weights.state
        assert state is not None
        if changed := sorted(before.keys() ^ after.keys()):
            raise self._error(
                f"A call has added or removed variables: {', '.join(changed)}.",
                hint="Create all variables in __init__.",
            )
        if not self._keeps_state(training):
            return
        old = {name: before[name] for name in self._graph.state}
        kept = {n: after[n] if training or n not in self._graph.rng else old[n] for n in old}
        leaves = state.leaves_of(kept)
        if leaves is None:
            raise self._error(
                "A call has changed the structure of a variable's value.",
                hint="Have the variable hold the same tree of arrays from the start.",
            )
        state.write(leaves, old)

    def _own_config(self) -> dict[str, Any]:
        if self._factory is not None:
            return {"factory": values.to_json(self._factory, Place("module"))}
        made = self._graph.module(None, self._values())
        return {**values.module_to_json(made, Place(type(made).__name__)), "token": self._token}

    @classmethod
    def _read_module(cls, stored: Any) -> object:
        if "factory" in stored:
            return values.from_json(stored["factory"], Place("module"))
        living = _LIVING.get(stored.get("token", ""))
        if living is not None:
            return living.module()
        return values.module_from_json(stored, Place("module"))
