"""Analysis of traced programs: which of their outputs depend on their inputs.

Outputs that depend on no input can be computed outside the trace, by running only the equations
that they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ..typing import PyTree

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

CONSTANT = "constant"  # an output that existed before the program: the value that was returned
COMPUTED = "computed"  # an output that the program computes without its inputs
DEPENDENT = "dependent"


def classify_outputs(program: ClosedJaxpr) -> list[str]:
    """CONSTANT, COMPUTED or DEPENDENT for each output of a program (from `jax.make_jaxpr`)."""
    jaxpr = program.jaxpr
    depends = _dependence(jaxpr, [True] * len(jaxpr.invars))
    computed = {id(v) for equation in jaxpr.eqns for v in equation.outvars}
    return [
        DEPENDENT if dependent else COMPUTED if id(v) in computed else CONSTANT
        for v, dependent in zip(jaxpr.outvars, depends, strict=True)
    ]


def _dependence(jaxpr: Jaxpr, inputs: Sequence[bool]) -> list[bool]:
    """Whether each output of a program depends on the marked inputs."""
    dependent = {id(v) for v, marked in zip(jaxpr.invars, inputs, strict=True) if marked}
    for equation in jaxpr.eqns:
        marks = [id(v) in dependent for v in equation.invars]
        if any(marks):
            outputs = zip(equation.outvars, _equation_dependence(equation, marks), strict=True)
            dependent.update(id(v) for v, marked in outputs if marked)
    return [id(v) in dependent for v in jaxpr.outvars]


def _equation_dependence(equation: JaxprEqn, marks: list[bool]) -> list[bool]:
    # An equation may be a whole program (a jitted or rematerialized body, a loop), some of whose
    # outputs depend on only some inputs.
    params = equation.params
    if equation.primitive.name == "scan":
        return _loop_dependence(params, marks)
    if equation.primitive.name == "cond" and not marks[0]:
        branches = [_dependence(branch.jaxpr, marks[1:]) for branch in params["branches"]]
        return [any(of_branches) for of_branches in zip(*branches, strict=True)]
    n_in, n_out = len(equation.invars), len(equation.outvars)
    if equation.primitive.name in _CALLS:
        programs = [getattr(p, "jaxpr", p) for p in params.values()]
        fitting = [
            p
            for p in programs
            if hasattr(p, "eqns") and (len(p.invars), len(p.outvars)) == (n_in, n_out)
        ]
        if len(fitting) == 1:
            return _dependence(fitting[0], marks)
    return [True] * n_out


# Primitives that run one program on their inputs and return its outputs.
_CALLS = frozenset(
    (
        *("pjit", "jit", "closed_call", "core_call", "remat", "checkpoint", "remat2"),
        *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
    )
)


def _loop_dependence(params: PyTree, marks: list[bool]) -> list[bool]:
    first = params["num_consts"]
    carried = params["num_carry"]
    while True:
        outputs = _dependence(params["jaxpr"].jaxpr, marks)
        carry = [a or b for a, b in zip(marks[first:], outputs[:carried], strict=False)]
        if carry == marks[first : first + carried]:
            return outputs
        marks = [*marks[:first], *carry, *marks[first + carried :]]


def constant_output(program: ClosedJaxpr, n: int) -> object:
    """The value of output `n`, which is CONSTANT."""
    wanted = program.jaxpr.outvars[n]
    for variable, value in zip(program.jaxpr.constvars, program.consts, strict=True):
        if variable is wanted:
            return value
    return wanted.val  # a literal


def compute_outputs(
    program: ClosedJaxpr, wanted: Sequence[int], inputs: Sequence[Any]
) -> list[Any]:
    """The values of outputs that do not depend on the inputs.

    The program is compiled with inputs made inside it, so that XLA drops everything that isn't
    needed.

    Args:
      program: from `jax.make_jaxpr`.
      wanted: positions of the outputs.
      inputs: the program's inputs, flat; for a `jax.ShapeDtypeStruct`, any value may be used.
    """
    from jax.extend.core import jaxpr_as_fun

    run = jaxpr_as_fun(program)

    def outputs() -> list[Any]:
        found = run(*[_any_value(x) for x in inputs])
        return [found[i] for i in wanted]

    return jax.jit(outputs)()  # type: ignore[no-any-return]


def _any_value(x: object) -> object:
    if not isinstance(x, jax.ShapeDtypeStruct):
        return x
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), x.shape)
    return jnp.zeros(x.shape, x.dtype)
