"""Arguments that programs written for Flax pass, and that have no effect here.

They are taken so that such a program runs unchanged, and that is all: a function hands each of them
to `accepted` first thing, and the table says why nothing is lost. Whatever else an argument is
called, it works as its description says, or is refused.
"""

from __future__ import annotations

WITHOUT_EFFECT = {
    "allow_duplicates": "a view has what the module has, once or several times",
    "args": "a module binds no argument but its variables and random keys",
    "graph": "nothing is done by which shared references could be lost",
    "graph_updates": "the caller's objects are not changed",
    "only": "there are no variables of the kinds between which it chooses",
    "recreate_variables": "variables are used as they are given",
    "reduce_axes": "jax reduces over mapped axes itself",
    "unbox": "what a variable of nnx holds is never in a box",
}


def accepted(**arguments: object) -> None:
    """Takes note that arguments have no effect.

    Args:
      **arguments: by name, each in `WITHOUT_EFFECT`.
    """
    assert arguments.keys() <= WITHOUT_EFFECT.keys()
