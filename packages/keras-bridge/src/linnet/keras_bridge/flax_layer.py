"""`FlaxLayer`: a linen module as a Keras layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import keras

from linnet.module_core.errors import ArgumentTypeError, describe
from linnet.module_core.typing import PyTree
from linnet.struct import FrozenDict, unfreeze

from . import modules, values
from .layer import ModuleLayer
from .methods import find_method
from .place import Place
from .weights import abstract_key, as_arrays, differences, is_number, path_text

_SOWN = "intermediates"


@keras.saving.register_keras_serializable(package="linnet")
class FlaxLayer(ModuleLayer):
    """A Keras layer that wraps a linen module.

    Parameters (the collection "params") become trainable weights, all other collections
    non-trainable ones. The module is initialized when the layer is built: by its first call, in a
    model whose inputs are known, or in `fit`.

    Args:
      module: an instance of a linen `Module`.
      method: the method to call: a method of the module or its name, `__call__` by default, or a
        function whose first argument is the module. It gets the inputs (an array, or a tree of
        arrays), and `training` if it has a parameter of that name.
      variables: the initial values of all the module's variables, as `module.init` returns them;
        they are copied. None initializes them.
      seed: makes the layer reproducible: its initial weights, and the keys of the stream "dropout",
        which exists only in training. None takes them from `keras.utils.set_random_seed`.
      **kwargs: arguments of `keras.Layer`: name, dtype, trainable.

    Attributes:
      module: the module.
      method: the `method` argument.
      params, state: the weights as the module's variables.

    Raises:
      ArgumentError: Keras doesn't run on jax, the method's arguments differ, or the variables
        are not this module's.
      ArgumentTypeError: `module` is not a linen module.

    >>> import keras, numpy as np
    >>> from linnet.module_core.linen import Module, compact
    >>> class Affine(Module):
    ...     features: int
    ...
    ...     @compact
    ...     def __call__(self, inputs):
    ...         normal = jax.nn.initializers.normal()
    ...         return inputs @ self.param("w", normal, (inputs.shape[-1], self.features))
    >>> model = keras.Sequential([keras.Input((4,)), FlaxLayer(Affine(3)), keras.layers.Dense(1)])
    >>> model.layers[0].params["params"]["w"].shape
    (4, 3)
    >>> model(np.ones((2, 4))).shape
    (2, 1)
    """

    def __init__(
        self,
        module: Any,
        method: str | Callable[..., Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self._check_module(module)
        self.module = module
        self.method = method
        self._method = self._located(find_method, module, method, type(self).__name__)
        if variables is not None:
            given = self._checked_variables(variables)
            self._make_weights(lambda: _divided(given), random=False)

    def _check_module(self, module: object) -> None:
        from linnet.module_core.linen import Module

        if isinstance(module, Module):
            if module.scope is not None:
                raise self._error(
                    f"The {type(module).__name__} is already bound to variables.",
                    hint=(
                        "Pass module.unbind()[0], or a module created outside setup and "
                        "compact methods."
                    ),
                )
            return
        name = module.__name__ if isinstance(module, type) else type(module).__name__
        if isinstance(module, type) and issubclass(module, Module):
            hint = f"That is the class: pass an instance, {name}(...)."
        elif modules.is_nnx(module) or modules.is_module_class(module):
            hint = "Wrap nnx modules in NNXLayer."
        elif type(module).__module__.partition(".")[0] == "flax":
            hint = "That is a Flax module; Keras wraps it in keras.layers.FlaxLayer."
        else:
            hint = "For a function of arrays, use keras.layers.Lambda."
        raise self._error(
            f"module should be an instance of linnet.linen.Module, got {describe(module)}.",
            hint=hint,
            kind=ArgumentTypeError,
        )

    def _checked_variables(self, variables: object) -> dict[str, Any]:
        if not isinstance(variables, (Mapping, FrozenDict)) or not all(
            isinstance(c, Mapping) for c in variables.values()
        ):
            raise self._error(
                "variables should be a dict of collections, as module.init returns it: "
                f"{{'params': {{...}}}}; got {describe(variables)}.",
                kind=ArgumentTypeError,
            )
        given = dict(unfreeze(dict(variables)))
        given.pop(_SOWN, None)
        for path, leaf in jax.tree_util.tree_flatten_with_path(given)[0]:
            if not (is_number(leaf) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))):
                raise self._error(
                    "variables should hold arrays or numbers, got"
                    f" {describe(leaf)} at {path_text(path)}.",
                    kind=ArgumentTypeError,
                )
        return as_arrays(given)  # type: ignore[no-any-return]

    def build(self, input_shape: object) -> None:
        """Makes the weights, or checks the given ones.

        Args:
          input_shape: a shape, or a tree of shapes; None is an unknown size.

        Raises:
          ArgumentError: this runs inside a jax transform, or the given variables are not the
            module's; all differences are listed.
        """
        if self._weights.params is None:
            self._make_weights(
                lambda *keys: _divided(self._initialized(input_shape, *keys)), random=True
            )
        else:
            self._check_given(input_shape)
        self.built = True

    def _initialized(
        self, input_shape: object, params_key: object, dropout_key: object
    ) -> dict[str, Any]:
        rngs = {"params": params_key, "dropout": dropout_key}
        return self._call_with(
            lambda examples: self._initialized_with(examples, rngs), self._examples(input_shape)
        )

    def _initialized_with(self, examples: PyTree, rngs: object) -> dict[str, Any]:
        args, kwargs = self._method.arguments(examples, training=True)
        variables = dict(
            unfreeze(self.module.init(rngs, *args, method=self._method.function, **kwargs))
        )
        return as_arrays(self._without_sown(variables, examples, rngs))  # type: ignore[no-any-return]

    def _without_sown(
        self, variables: dict[str, Any], examples: PyTree, rngs: object
    ) -> dict[str, Any]:
        """The variables without the tuples that another call would make longer."""
        paths = [path for path, value in _entries(variables) if type(value) is tuple]
        if not paths:
            return variables
        args, kwargs = self._method.arguments(examples, training=True)
        after = jax.eval_shape(
            lambda: self.module.apply(
                variables,
                *args,
                rngs=rngs,
                method=self._method.function,
                mutable=_all_but_params(),
                **kwargs,
            )[1]
        )
        longer = {
            path: len(value) for path, value in _entries(unfreeze(after)) if type(value) is tuple
        }
        kept: dict[str, Any] = {}
        for path, value in _entries(variables):
            if longer.get(path) in (None, len(value) if type(value) is tuple else None):
                _put(kept, path, value)
        return kept

    def _check_given(self, input_shape: object) -> None:
        key = abstract_key()
        expected = jax.eval_shape(partial(self._initialized, input_shape), key, key)
        state, params = self._weights.state, self._weights.params
        assert state is not None
        assert params is not None
        found = differences({**params.tree, **state.tree}, expected)
        if found:
            cls = type(self.module).__name__
            raise self._error(
                f"variables do not match {cls} for these inputs:\n    " + "\n    ".join(found),
                hint=(
                    "Do they belong to another module, or were they created for inputs of "
                    "a different shape?"
                ),
            )

    def _run(self, inputs: PyTree, training: bool) -> object:
        params, state = self._weights.params, self._weights.state
        assert params is not None
        assert state is not None
        before = state.read()
        args, kwargs = self._method.arguments(inputs, training)
        outputs, after = self.module.apply(
            {**params.read(), **before},
            *args,
            rngs={"dropout": self.seed_generator.next()} if training else {},
            method=self._method.function,
            mutable=_all_but_params(),
            **kwargs,
        )
        self._keep(unfreeze(after), before, training)
        return outputs

    def _keep(self, after: object, before: object, training: bool) -> None:
        state = self._weights.state
        assert state is not None
        leaves = state.leaves_of(after)
        if leaves is None:
            leaves = state.leaves_of(self._less_sown(after, before))
        if leaves is None:
            found = differences(after, before)
            raise self._error(
                "The variables in the state that a call returned differ from those that the "
                "module was initialized with:\n"
                "    " + "\n    ".join(found),
                hint="Create every variable in init as well, whatever the value of `training`.",
            )
        if self._keeps_state(training):
            state.write(leaves, before)

    def _less_sown(self, after: object, before: object) -> dict[str, Any]:
        """The state without sown values, with a warning about them."""
        known = {path for path, _ in _entries(before)}
        kept: dict[str, Any] = {}
        sown = []
        for path, value in _entries(after):
            if path not in known and (path[0] == _SOWN or type(value) is tuple):
                sown.append("/".join(path))
            else:
                _put(kept, path, value)
        if sown:
            self._warn_of_sown(
                ", ".join(sown),
                "Have the method return what you want to see: with method=function, "
                "`def function(module, inputs): return module(inputs), module.get_variable("
                f"{_SOWN!r}, name)`.",
            )
        return kept

    def _own_config(self) -> object:
        return values.module_to_json(self.module, Place(type(self.module).__name__))

    @classmethod
    def _read_module(cls, stored: object) -> object:
        return values.module_from_json(stored, Place("module"))


def _all_but_params() -> object:
    from linnet.module_core.linen import DenyList

    return DenyList(["params"])


def _divided(variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trainable and the non-trainable variables."""
    params = {name: c for name, c in variables.items() if name == "params"}
    return params, {name: c for name, c in variables.items() if name != "params"}


def _entries(tree: PyTree, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Paths and values of nested dicts; a value is anything that isn't a dict."""
    if not isinstance(tree, dict) or not tree:
        return [(path, tree)]
    return [entry for name, child in tree.items() for entry in _entries(child, (*path, name))]


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    if path:
        tree[path[-1]] = value
