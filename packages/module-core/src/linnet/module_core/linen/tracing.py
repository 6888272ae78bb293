"""What a traced program says about its outputs: which of them depend on its inputs.

Values that do not can be had outside of the trace, by running just the equations that they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

CONSTANT = "constant"  # an output that existed before the program: the value that was returned
COMPUTED = "computed"  # an output that the program computes without its inputs
DEPENDENT = "dependent"


def classify_outputs(program: Any) -> list[str]:
    """For each output of a program (from `jax.make_jaxpr`): CONSTANT, COMPUTED or DEPENDENT."""
    jaxpr = program.jaxpr
    inputs = {id(v) for v in jaxpr.invars}
    computed: set[int] = set()
    for equation in jaxpr.eqns:
        depends = any(id(v) in inputs for v in equation.invars)
        (inputs if depends else computed).update(id(v) for v in equation.outvars)
    return [
        DEPENDENT if id(v) in inputs else COMPUTED if id(v) in computed else CONSTANT
        for v in jaxpr.outvars
    ]


def compute_outputs(program: Any, wanted: Sequence[int], inputs: Sequence[Any]) -> list[Any]:
    """The values of outputs that do not depend on the inputs.

    The program runs compiled, on inputs made inside, so that all that is not wanted is dropped.

    Args:
      program: from `jax.make_jaxpr`.
      wanted: positions of the outputs.
      inputs: the program's inputs, flat; of a `jax.ShapeDtypeStruct` any value will do.
    """
    from jax.extend.core import jaxpr_as_fun

    run = jaxpr_as_fun(program)

    def outputs() -> list[Any]:
        found = run(*[_any_value(x) for x in inputs])
        return [found[i] for i in wanted]

    return jax.jit(outputs)()  # type: ignore[no-any-return]


def _any_value(x: Any) -> Any:
    if not isinstance(x, jax.ShapeDtypeStruct):
        return x
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), x.shape)
    return jnp.zeros(x.shape, x.dtype)
