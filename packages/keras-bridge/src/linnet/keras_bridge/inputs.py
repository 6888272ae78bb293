"""Descriptions of a layer's inputs before a call, as a tree of shapes and dtypes.

Keras builds a layer from shapes only. A module is initialized with example inputs, and an embedding
needs integers, so the dtypes of the first call are stored, and saved with the shapes.

A placeholder may have unknown sizes, such as that of the batch. `with_sizes` replaces them with a
number. Sizes that differ between the outputs for two such numbers are unknown as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import keras
import numpy as np

Shape = Sequence[int | None]


def is_shape(value: object) -> TypeGuard[Shape]:
    """Whether a value is one shape, not a list or tuple of several."""
    return isinstance(value, (list, tuple)) and all(
        v is None or isinstance(v, (int, np.integer)) for v in value
    )


def dtypes_of(inputs: object) -> list[str]:
    """The dtypes of a call's inputs, or of their placeholders, as Keras names them."""
    return [
        keras.backend.standardize_dtype(x.dtype if hasattr(x, "dtype") else jnp.result_type(x))
        for x in jax.tree_util.tree_leaves(inputs)
    ]


def examples(shapes: object, dtypes: list[str] | None) -> object:
    """Inputs of these shapes: ones in float32, zeros where an integer or a bool is expected.

    Args:
      shapes: a shape, or lists, tuples and dicts of shapes; an unknown size becomes 1.
      dtypes: the dtypes of the leaves in order, or None if unknown.

    >>> examples({"ids": (None, 3), "x": [None, 2]}, ["int32", "float16"])
    {'ids': Array([[0, 0, 0]], dtype=int32), 'x': Array([[1., 1.]], dtype=float32)}
    """
    leaves = list(_shapes(shapes))
    known = (
        dtypes if dtypes is not None and len(dtypes) == len(leaves) else ["float32"] * len(leaves)
    )
    made = iter([_example(shape, dtype) for shape, dtype in zip(leaves, known, strict=True)])
    return _filled(shapes, made)


def are_floats(inputs: object) -> bool:
    """Whether all inputs have a floating-point dtype."""
    return all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in jax.tree.leaves(inputs))


def as_integers(inputs: object) -> object:
    """The same inputs as 32-bit integers, if they aren't integers already."""
    return jax.tree.map(lambda x: x.astype("int32") if are_floats(x) else x, inputs)


def has_unknown_sizes(inputs: object) -> bool:
    """Whether a placeholder among the inputs has an unknown size."""
    return any(_is_placeholder(x) and None in x.shape for x in jax.tree.leaves(inputs))


def with_sizes(inputs: object, size: int) -> object:
    """The same inputs, with placeholders in which `size` replaces each unknown size.

    >>> with_sizes({"x": keras.KerasTensor((None, 3))}, 2)["x"].shape
    (2, 3)
    """

    def of_one(x: Any) -> object:
        if not _is_placeholder(x):
            return x
        known = [size if n is None else n for n in x.shape]
        return keras.KerasTensor(known, x.dtype, sparse=x.sparse)

    return jax.tree.map(of_one, inputs)


def common(first: object, second: object) -> object:
    """Placeholders that describe both outputs: a size that differs is unknown.

    >>> common(keras.KerasTensor((2, 3)), keras.KerasTensor((5, 3))).shape
    (None, 3)
    """

    def of_one(a: Any, b: Any) -> object:
        shape = [n if n == m else None for n, m in zip(a.shape, b.shape, strict=True)]
        return keras.KerasTensor(shape, a.dtype, sparse=a.sparse)

    return jax.tree.map(of_one, first, second)


def _is_placeholder(x: object) -> bool:
    return isinstance(x, keras.KerasTensor)


def _example(shape: Shape, dtype: str) -> object:
    size = tuple(1 if n is None else int(n) for n in shape)
    if jnp.issubdtype(dtype, jnp.inexact):
        # In float32 whatever the policy, as in Keras's own FlaxLayer: only the variables' shapes
        # are derived from these, and statistics of one example are meaningless.
        return jnp.ones(size, jnp.float32)
    return jnp.zeros(size, dtype)


def _shapes(shapes: object) -> Iterator[Shape]:
    if is_shape(shapes):
        yield shapes
    else:
        for _, child in _children(shapes):
            yield from _shapes(child)


def _children(shapes: object) -> list[tuple[Any, object]]:
    assert isinstance(shapes, Iterable)
    # By key, in the order in which jax flattens a dict.
    return sorted(shapes.items()) if isinstance(shapes, dict) else list(enumerate(shapes))


def _filled(shapes: object, leaves: Iterator[object]) -> object:
    if is_shape(shapes):
        return next(leaves)
    filled = {key: _filled(child, leaves) for key, child in _children(shapes)}
    return filled if isinstance(shapes, dict) else type(shapes)(filled.values())  # type: ignore[call-arg]


def as_lists(shapes: object) -> object:
    """The same shapes as JSON types."""
    if is_shape(shapes):
        return [None if n is None else int(n) for n in shapes]
    if isinstance(shapes, dict):
        return {key: as_lists(child) for key, child in shapes.items()}
    return [as_lists(child) for _, child in _children(shapes)]
