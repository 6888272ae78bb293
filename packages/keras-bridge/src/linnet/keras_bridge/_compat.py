"""What Keras keeps to itself in all versions so far; each entry says why it is needed."""

from __future__ import annotations

from typing import Any

from keras.src.backend.common.stateless_scope import in_stateless_scope as _in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator as _global_seed_generator


def global_seed_generator() -> Any:
    """The generator that `keras.utils.set_random_seed` seeds.

    Keras's own `FlaxLayer` draws from it, and the same program must get the same weights; the
    public functions draw numbers from it, never keys.
    """
    return _global_seed_generator()


def in_stateless_scope() -> bool:
    """Whether assignments to variables are recorded instead of made, as in all of Keras's steps.

    `keras.StatelessScope` is public; whether one is open is not.
    """
    return bool(_in_stateless_scope())
