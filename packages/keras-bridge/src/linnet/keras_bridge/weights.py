"""Stores a tree of arrays as variables of a Keras layer.

Keras handles weights as a flat list; a module handles them as a tree. The tree's structure is
stored here, with Keras's variables in the order of its leaves, so that one `tree_unflatten`
converts between the two. Typed random keys are stored as their raw data, which Keras can store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.typing import DTypeLike

from linnet.module_core.errors import ArgumentError
from linnet.module_core.typing import Output

from ._compat import in_stateless_scope

Maker = Callable[[], Sequence[Any]]


class Weights:
    """The variables that hold a tree.

    Args:
      layer: the layer that gets the variables.
      tree: arrays, or their shapes and dtypes.
      values: returns the leaves' values; called once, when the first variable needs its value.
      scopes: names of scopes to open around the variables' paths.
      trainable: whether an optimizer changes them.
      autocast: whether a mixed policy casts them for a call.

    Attributes:
      variables: the Keras variables, in the order of the leaves.
      paths: the paths of the leaves, as text.
    """

    # Keras searches lists, dicts and layers in a layer's attributes, but not this class.

    def __init__(
        self,
        layer: keras.Layer,
        tree: object,
        values: Maker,
        *,
        scopes: Sequence[str],
        trainable: bool,
        autocast: bool,
    ) -> None:
        found, structure = jax.tree_util.tree_flatten_with_path(tree)
        self._structure: Any = structure
        self.paths = tuple(path_text(path) for path, _ in found)
        leaves = [leaf for _, leaf in found]
        self._keys = tuple(map(key_kind, leaves))
        self.variables = []
        for i, leaf in enumerate(leaves):
            leaf = jax.eval_shape(jax.random.key_data, leaf) if self._keys[i] else leaf
            floating = jnp.issubdtype(leaf.dtype, jnp.floating)
            with _opened(scopes, self.paths[i]) as name:
                variable = keras.Variable(
                    _Value(values, i),
                    shape=tuple(leaf.shape),
                    dtype=layer.variable_dtype if floating else str(leaf.dtype),
                    trainable=trainable,
                    autocast=autocast,
                    name=name,
                )
            self.variables.append(variable)
        # Keras tracks the variables in an attribute; variables made by add_weight have no scope
        # below the layer's, and a LayoutMap could not distinguish a kernel from a bias.
        setattr(layer, "_module_parameters" if trainable else "_module_state", list(self.variables))

    @property
    def tree(self) -> Any:
        """The tree with Keras's variables as leaves."""
        return self._structure.unflatten(self.variables)

    def read(self) -> Any:
        """The tree of arrays."""
        return self._structure.unflatten(
            [_value(v, k) for v, k in zip(self.variables, self._keys, strict=True)]
        )

    def leaves_of(self, tree: object) -> list[Any] | None:
        """The leaves of a tree of the same structure; None for a different structure."""
        leaves, structure = jax.tree_util.tree_flatten(tree)
        return leaves if self._structure == structure else None

    def write(self, leaves: Sequence[Any], read: object) -> None:
        """Assigns the leaves that differ from the ones that `read` returned.

        Raises:
          ArgumentError: an array's shape changed.
        """
        before = jax.tree_util.tree_leaves(read)
        for i, (new, old) in enumerate(zip(leaves, before, strict=True)):
            if new is old:
                continue
            variable = self.variables[i]
            if self._keys[i]:
                new = jax.random.key_data(new)
            if jnp.shape(new) != tuple(variable.shape):
                raise ArgumentError(
                    f"The state {self.paths[i]} has shape {tuple(variable.shape)}, but a call "
                    f"changed it to {jnp.shape(new)}.",
                    hint=(
                        "A Keras variable holds the state, and its shape is fixed. Does the "
                        "shape depend on the batch size?"
                    ),
                )
            variable.assign(new)


@contextmanager
def _opened(scopes: Sequence[str], path: str) -> Iterator[str]:
    """Opens Keras's name scopes, and those of a path, whose last part is the variable's name."""
    *above, name = path.split("/") if path else ["value"]
    with ExitStack() as stack:
        for part in (*scopes, *above):
            stack.enter_context(keras.name_scope(part))
        yield name


def _value(variable: keras.Variable, key: str | None) -> object:
    value = variable.value
    return jax.random.wrap_key_data(value, impl=key) if key else value


class _Value:
    """The initializer of one variable."""

    def __init__(self, values: Maker, index: int) -> None:
        self._values = values
        self._index = index

    def __call__(self, shape: object, dtype: DTypeLike | None = None) -> Output:
        if in_stateless_scope() and is_tracing():
            # Keras is only inferring shapes; it requests the value afterwards.
            return jnp.zeros(shape, dtype)
        # Keras makes a large weight that is divided over devices in a compiled program, in which
        # the values of the others must not be traced.
        with jax.ensure_compile_time_eval():
            value = self._values()[self._index]
            if key_kind(value):
                value = jax.random.key_data(value)
            # A copy, because training donates the buffers of weights.
            return jnp.array(value, dtype=dtype, copy=True)


def is_number(leaf: object) -> bool:
    """Whether a leaf is a Python number."""
    return isinstance(leaf, (bool, int, float, complex))


def as_arrays(tree: object) -> Any:
    """The same tree with arrays, which a Keras variable can hold, in place of numbers."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if is_number(leaf) else leaf, tree)


def is_tracing() -> bool:
    """Whether this runs inside a jax transform."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def abstract_key() -> object:
    """A placeholder for a raw random key while only shapes are inferred."""
    return jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))


def key_kind(leaf: object) -> str | None:
    """The kind of a typed random key, concrete or not; None for anything else."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return None
    kinds: list[str] = []
    jax.eval_shape(lambda key: kinds.append(str(jax.random.key_impl(key))), leaf)
    return kinds[0]


def path_text(path: Iterable[object]) -> str:
    """A tree path in readable form: params/Dense_0/kernel."""
    parts = (getattr(p, "key", getattr(p, "name", getattr(p, "idx", p))) for p in path)
    return "/".join(map(str, parts))


def differences(given: object, expected: object) -> list[str]:
    """The differences between two trees of arrays, one line per differing leaf.

    >>> import jax.numpy as jnp
    >>> differences({"a": jnp.ones(2)}, {"a": jnp.ones(3), "b": jnp.ones(1)})
    ['a: expected shape (3,), received (2,)', 'b: expected shape (1,), received nothing']
    """
    paths = [
        {path_text(p): leaf for p, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
        for tree in (given, expected)
    ]
    had, wanted = paths
    lines = []
    for path in sorted(had.keys() | wanted.keys()):
        if path not in had:
            lines.append(f"{path}: expected shape {np.shape(wanted[path])}, received nothing")
        elif path not in wanted:
            lines.append(f"{path}: expected nothing, received shape {np.shape(had[path])}")
        elif np.shape(had[path]) != np.shape(wanted[path]):
            lines.append(
                f"{path}: expected shape {np.shape(wanted[path])}, received {np.shape(had[path])}"
            )
    return lines
