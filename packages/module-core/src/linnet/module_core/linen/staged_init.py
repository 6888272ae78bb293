"""`init_with_output` in a program that jax is tracing: equal draws are compiled once.

`draws` replaces results of a program with elements of groups. Here the program also computes with
the parameters, so the groups have to be drawn first, but they are known only at the end of the
program. The method is therefore traced into a program of its own, whose last results are the
recorded draws. Then

1. the draws are made in groups, in the caller's program;
2. the equations that drew them are taken out, and their results become inputs;
3. the remaining equations are evaluated in the caller's program, on the groups' elements.

The method runs once, and so do its effects, which are equations. It runs a second time, in the
usual way, if it raises an error, or if a traced value outlives the program, for example in a list
outside it. The class of such a module is remembered, and runs in the usual way from the start.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from .. import _compat
from ..draws import Recorder
from ..typing import PyTree
from .eager_init import leaves_of, outlives, with_leaves

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

Made = tuple[Any, dict[str, Any]]  # (output, variables)


def with_groups(cls: type, run: Callable[[Recorder], Made]) -> Made | None:
    """The output of `run`, with its draws made in groups; None if it must run in the usual way.

    Args:
      cls: the class of the module.
      run: runs a method, whose draws it gives to the recorder.
    """
    if cls in _keeping:
        return None
    traces: list[object] = []
    made = _made(run, traces)
    if made is not None and outlives(traces.pop()):
        _keeping.add(cls)
        return None
    return made


_keeping: weakref.WeakSet[type] = weakref.WeakSet()  # classes that keep traced values


def _made(run: Callable[[Recorder], Made], traces: list[object]) -> Made | None:
    # A function of its own: nothing else refers to the traced values when it has returned.
    recorder = Recorder()
    results: list[Made] = []

    def traced() -> tuple[list[Any], list[Any]]:
        traces.append(_compat.trace_state())
        try:
            made = run(recorder)
        except Exception:  # the usual run raises it in the right place
            return [], []
        results.append(made)
        return [x for x in _leaves(made) if isinstance(x, jax.core.Tracer)], recorder.values()

    program = jax.make_jaxpr(traced)()
    if not results:
        return None
    jaxpr = program.jaxpr
    makers = {id(e.outvars[0]) for e in jaxpr.eqns if len(e.outvars) == 1}
    drawn = recorder.values()
    count = len(jaxpr.outvars) - len(drawn)
    # The results of `remat` are left alone: their equation has other results, too.
    known = [d for d in zip(jaxpr.outvars[count:], drawn, strict=True) if id(d[0]) in makers]
    old = [value for _, value in known]
    grouped = {
        id(variable): new
        for (variable, value), new in zip(known, recorder.grouped(old), strict=True)
        if new is not value
    }
    values = iter(_rest(program, count, grouped))
    output, collections = results.pop()
    leaves = (
        next(values) if isinstance(x, jax.core.Tracer) else x
        for x in _leaves((output, collections))
    )
    return with_leaves(output, leaves), with_leaves(collections, leaves)


def _leaves(made: Made) -> Iterator[Any]:
    output, collections = made
    yield from leaves_of(output)
    yield from leaves_of(collections)


def _rest(program: ClosedJaxpr, count: int, grouped: Mapping[int, Any]) -> list[PyTree]:
    """The first results of a program in which the variables with these ids have these values.

    Each of these variables is the only result of an equation.
    """
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

    jaxpr = program.jaxpr
    equations, inputs = [], []
    for equation in jaxpr.eqns:
        if id(equation.outvars[0] if equation.outvars else None) in grouped:
            inputs.append(equation.outvars[0])
        else:
            equations.append(equation)
    rest = jaxpr.replace(eqns=equations, invars=inputs, outvars=jaxpr.outvars[:count])
    run: Callable[..., list[Any]] = jaxpr_as_fun(ClosedJaxpr(rest, program.consts))
    return run(*[grouped[id(variable)] for variable in inputs])
