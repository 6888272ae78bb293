"""`ModuleLayer`: the common base of layers around linen and nnx modules.

A module is pure: parameters, state, inputs and a random key go in, outputs and new state come out.
The layer stores parameters as trainable and state as non-trainable Keras variables, reads them
before a call and assigns the new state after it. Keras does everything else (gradients, optimizers,
saving, distribution), as for its own layers.

A variable's value is made when Keras requests it. In `fit`, Keras builds a model while it is only
inferring shapes, and requests the values afterwards.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import keras

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, LinnetError, describe
from linnet.module_core.typing import Output

from . import inputs as known_inputs
from . import values
from ._compat import global_seed_generator, in_stateless_scope
from .place import Place
from .weights import Weights, abstract_key, is_tracing

# The sizes tried for an unknown one, far enough apart to differ after strides and pooling.
SIZES = 97, 211

P = ParamSpec("P")
R = TypeVar("R")


class ModuleLayer(keras.Layer, ABC):  # type: ignore[misc]  # Keras has no types
    """Base class of this package's layers.

    Args:
      seed: makes initial weights and the keys of training reproducible; None takes both from
        Keras's global generator (`keras.utils.set_random_seed`).
      **kwargs: arguments of `keras.Layer`: name, dtype, trainable.
    """

    def __init__(self, *, seed: int | None = None, **kwargs: object) -> None:
        backend = keras.backend.backend()
        if backend != "jax":
            raise ArgumentError(
                f"{type(self).__name__} needs Keras's jax backend, but this program runs on "
                f"{backend!r}.",
                hint="Select it before importing Keras: os.environ['KERAS_BACKEND'] = 'jax'.",
            )
        super().__init__(**kwargs)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise self._error(f"seed should be an int or None, got {describe(seed)}.")
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._input_dtypes: tuple[str, ...] | None = None
        self._takes_integers: bool | None = None
        self._weights = _Pair()
        self._output_structure: Any = None
        self._warned = False

    def _error(
        self, message: str, hint: str | None = None, kind: type[LinnetError] = ArgumentError
    ) -> LinnetError:
        error = kind(message, hint=hint)
        error.locate(self._place())
        return error

    def _place(self) -> str:
        return f"{self.name} ({type(self).__name__})"

    def _located(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function and adds this layer's name to its errors."""
        try:
            return function(*args, **kwargs)
        except (ArgumentError, ArgumentTypeError) as error:
            error.locate(self._place())
            raise

    # Building.

    def __call__(self, inputs: object, *args: object, **kwargs: object) -> Output:
        if not self.built:
            self._input_dtypes = tuple(known_inputs.dtypes_of(inputs))
        return super().__call__(inputs, *args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """The configuration that `build_from_config` needs to make the same weights."""
        config: dict[str, Any] | None = super().get_build_config()
        shapes = config and config.get("input_shape")
        if shapes is None:
            return config
        return {
            "input_shape": known_inputs.as_lists(shapes),
            "input_dtypes": self._dtype_list(),
            "takes_integers": bool(self._takes_integers),
        }

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the layer from the result of `get_build_config`."""
        if not config or config.get("input_shape") is None:
            return
        if config.get("input_dtypes"):
            self._input_dtypes = tuple(config["input_dtypes"])
        self._takes_integers = config.get("takes_integers") or None
        self.build(config["input_shape"])

    def _dtype_list(self) -> list[str] | None:
        return None if self._input_dtypes is None else list(self._input_dtypes)

    def _examples(self, input_shape: object) -> object:
        return known_inputs.examples(input_shape, self._dtype_list())

    def _call_with(self, function: Callable[[Any], R], inputs: object) -> R:
        """`function(inputs)`, with integers if the module requires them.

        A `keras.Sequential` without declared inputs casts them all to floats, and Keras's own
        Embedding casts them back to integers.
        """
        if self._takes_integers:
            return function(known_inputs.as_integers(inputs))
        try:
            result = function(inputs)
        except (TypeError, ValueError):
            if self._takes_integers is False or not known_inputs.are_floats(inputs):
                raise
            try:
                result = function(known_inputs.as_integers(inputs))
            except Exception:
                result = self  # a sentinel: no module returns it
            if result is self:
                raise
            self._takes_integers = True
            return result
        self._takes_integers = False
        return result

    def _refuse_trace(self) -> None:
        if is_tracing():
            raise self._error(
                "This layer is being built inside a function that jax transforms, where its "
                "weights would be lost.",
                hint=(
                    "Build it beforehand with layer.build(input_shape), or call the layer or "
                    "its model once outside jax.jit, jax.grad and the like."
                ),
            )

    def _draw_keys(self) -> tuple[jax.Array, jax.Array]:
        """Two keys for initialization."""
        generator = (
            global_seed_generator() if self.seed is None else keras.random.SeedGenerator(self.seed)
        )
        return generator.next(ordered=False), generator.next(ordered=False)

    def _make_weights(self, make: Callable[..., tuple[Any, Any]], *, random: bool) -> None:
        """Makes the variables for the two trees of arrays that `make` returns.

        Args:
          make: returns parameters and state. While Keras only infers shapes, it is traced for
            these, and called later.
          random: whether `make` takes two random keys.
        """
        if not in_stateless_scope():
            self._refuse_trace()
            trees = make(*self._draw_keys()) if random else make()
            params, state = trees
            made = [jax.tree_util.tree_leaves(tree) for tree in trees]
        else:
            key = abstract_key()
            params, state = jax.eval_shape(make, *[key, key] if random else [])
            made = []

        def values() -> list[Any]:
            if not made:
                self._refuse_trace()
                trees = make(*self._draw_keys()) if random else make()
                made.extend(jax.tree_util.tree_leaves(tree) for tree in trees)
            return made

        # In `build`, Keras has opened the layer's scope, but not in a constructor.
        scopes = [] if random else [self.name]

        # A mixed policy applies to computations: running averages in half precision would stop
        # changing, since a hundredth of the difference from them is less than their last digit.
        self._weights.params = Weights(
            self, params, lambda: values()[0], scopes=scopes, trainable=True, autocast=True
        )
        self._weights.state = Weights(
            self, state, lambda: values()[1], scopes=scopes, trainable=False, autocast=False
        )

    @property
    def params(self) -> Any:
        """The trainable variables as the module's tree."""
        return self._weights.params.tree if self._weights.params is not None else None

    @property
    def state(self) -> Any:
        """The non-trainable variables as the module's tree."""
        return self._weights.state.tree if self._weights.state is not None else None

    # Calling.

    def call(self, inputs: object, training: bool | None = False) -> Output:
        """Runs the module's method.

        Args:
          inputs: an array, or a tree of arrays.
          training: whether this is training. A layer that isn't `trainable` ignores it and runs as
            in inference, like Keras's BatchNormalization.

        Returns:
          The method's output.
        """
        try:
            return self._checked_outputs(inputs, bool(training) and bool(self.trainable))
        except LinnetError as error:
            # Keras makes a new error from the first argument, without the place and the hint.
            place = self._place()
            text = str(error) if error.where == place else f"{place}: {error}"
            error.args = (text,)
            error.message, error.where, error.hint = text, None, None
            raise

    def compute_output_spec(self, *args: object, **kwargs: object) -> Any:
        """The outputs for placeholders, as placeholders.

        Keras represents an unknown batch size as a symbol. A module that needs a number, as in
        `len(x)` or `range(x.shape[0])`, is traced with two sizes instead; dimensions in which the
        outputs then differ are unknown.
        """
        try:
            return super().compute_output_spec(*args, **kwargs)
        except LinnetError:
            raise
        except Exception:
            if not known_inputs.has_unknown_sizes((args, kwargs)):
                raise
        # Outside the handler, so that an error of the module doesn't mention the symbol.
        found = []
        for size in SIZES:
            given: Any = known_inputs.with_sizes((args, kwargs), size)
            found.append(super().compute_output_spec(*given[0], **given[1]))
        return known_inputs.common(*found)

    def _checked_outputs(self, inputs: object, is_training: bool) -> object:
        outputs = self._call_with(lambda x: self._run(x, is_training), inputs)
        structure = jax.tree_util.tree_structure(outputs)
        if self._output_structure is None:
            self._output_structure = _Structure(structure, is_training)
        elif self._output_structure.structure != structure:
            raise self._error(
                f"With training={self._output_structure.training}, the method returned "
                f"{self._output_structure.structure}, but with training={is_training}, it returns "
                f"{structure}.",
                hint="Return the same number of arrays in the same places both times.",
            )
        return outputs

    @abstractmethod
    def _run(self, inputs: object, training: bool) -> object:
        """Runs the module and stores its new state."""

    def _keeps_state(self, training: bool) -> bool:
        """Whether to store a call's new state.

        A direct call changes state as it does without Keras. `predict` and `evaluate`, which run in
        a Keras scope and not in training, don't.
        """
        return training or not in_stateless_scope()

    def _warn_of_sown(self, names: str, way_out: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name} ({type(self).__name__}): the module stores intermediate values "
                f"({names}), which a Keras layer drops. {way_out}",
                stacklevel=2,
            )

    # Configuration.

    def get_config(self) -> dict[str, Any]:
        """The layer without its weights, as JSON, derived from the module's fields.

        Raises:
          ArgumentError: a value, a class or the method can't be found again by name.
        """
        method: Any = None
        if self.method is not None:
            method = self._method.name
            if method is None:
                method = self._located(values.to_json, self._method.function, Place("method"))
        module = self._located(self._own_config)
        return {**super().get_config(), "module": module, "method": method, "seed": self.seed}

    @abstractmethod
    def _own_config(self) -> object:
        """The module as JSON."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes the layer that `get_config` describes.

        Raises:
          ArgumentError: a name in it isn't found in the modules that this program has imported.
        """
        config = dict(config)
        try:
            if isinstance(config.get("module"), dict):
                config["module"] = cls._read_module(config["module"])
            if isinstance(config.get("method"), dict):
                config["method"] = values.from_json(config["method"], Place("method"))
        except (ArgumentError, ArgumentTypeError) as error:
            error.locate(f"{config.get('name', 'a layer')} ({cls.__name__})")
            raise
        try:
            return super().from_config(config)
        except TypeError as error:
            # Keras replaces every error with its own, with the whole configuration.
            if isinstance(error.__context__, LinnetError):
                raise error.__context__ from None
            raise

    @classmethod
    @abstractmethod
    def _read_module(cls, stored: object) -> object:
        """The module that `_own_config` wrote, or its factory."""


class _Pair:
    """Both trees of weights, in an object that Keras does not search for variables."""

    params: Weights | None = None
    state: Weights | None = None


class _Structure:
    """The structure of the first outputs, and the mode of that call."""

    def __init__(self, structure: object, training: bool) -> None:
        self.structure = structure
        self.training = training
