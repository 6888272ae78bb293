"""Access to parts of Keras that are private in all versions so far, each with the reason."""

from __future__ import annotations

import keras
from keras.src.backend.common.stateless_scope import in_stateless_scope as _in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator as _global_seed_generator


def global_seed_generator() -> keras.random.SeedGenerator:
    """The generator that `keras.utils.set_random_seed` seeds.

    Keras's own `FlaxLayer` draws from it, and the same program must get the same weights; Keras's
    public functions draw numbers from it, but not keys.
    """
    return _global_seed_generator()


def in_stateless_scope() -> bool:
    """Whether assignments to variables are recorded instead of executed, as in all Keras steps.

    `keras.StatelessScope` is public, but no public function tells whether one is open.
    """
    return bool(_in_stateless_scope())
