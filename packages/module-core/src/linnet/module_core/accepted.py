"""Arguments that programs written for Flax pass, and which have no effect here.

They are accepted so that such programs run unchanged: a function first passes each of them to
`accepted`, and the table explains why ignoring it is safe. All other arguments work as documented,
or raise an error.
"""

from __future__ import annotations

WITHOUT_EFFECT = {
    "allow_duplicates": "a view has what the module has, once or several times",
    "args": "a module binds no argument but its variables and random keys",
    "graph": "nothing is done that could lose shared references",
    "graph_updates": "the caller's objects are not changed",
    "only": "there are no variables of the kinds between which it chooses",
    "recreate_variables": "variables are used as they are given",
    "reduce_axes": "jax reduces over mapped axes itself",
    "unbox": "what a variable of nnx holds is never in a box",
}


def accepted(**arguments: object) -> None:
    """Marks arguments as having no effect.

    Args:
      **arguments: arguments whose names are in `WITHOUT_EFFECT`.
    """
    assert arguments.keys() <= WITHOUT_EFFECT.keys()
