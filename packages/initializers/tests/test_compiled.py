"""Values equal jax's bit for bit in programs that are compiled with all optimizations."""

import jax

from comparing import identical
from fixtures import programs_of_its_own as programs_of_its_own

from .test_values import KEY, draw_with, equals_jaxs, jaxs, make


def test_values_of_a_program_are_those_of_jax():
    identical(jax.jit(draw_with(make))(KEY), jax.jit(draw_with(jaxs))(KEY))


def test_truncated_normal_is_jax_s():
    """jax draws it in one program, whose rounding depends on how it is compiled."""
    equals_jaxs("truncated_normal")
