"""Arguments that programs written for Flax pass, and which have no effect here.

They are accepted so that such programs run unchanged: a function first passes each of them to
`accepted`, and the table explains why ignoring it is safe. All other arguments work as documented,
or raise an error.
"""

from __future__ import annotations

WITHOUT_EFFECT = {
    "allow_duplicates": "a view has what the module has, once or several times",
    "allow_partial_mpa_restoration": "orbax reads what processes wrote together",
    "args": "a module binds no argument but its variables and random keys",
    "debug_path": "errors mention `path`",
    "dtype": "the norms of the functional core return the common type of inputs and parameters",
    "exclude_required": "no entry of a variable's metadata is required",
    "force_float32_reductions": "the statistics were computed before",
    "gda_manager": "orbax writes what is spread over processes",
    "graph": "nothing is done that could lose shared references",
    "graph_updates": "the caller's objects are not changed",
    "keep_order": "a bidirectional layer returns both directions in order",
    "multi_scope": "a transform takes any number of scopes",
    "only": "there are no variables of the kinds between which it chooses",
    "parallel": "a file holds the same, however it is read",
    "precision": "a product of an 8-bit layer has the default one, its derivatives the highest",
    "preferred_element_type": "such a product has the dtype of its operands",
    "recreate_variables": "variables are used as they are given",
    "reduce_axes": "jax reduces over mapped axes itself",
    "reverse": "a bidirectional layer runs in both directions",
    "unbox": "what a variable of nnx holds is never in a box",
}


def accepted(**arguments: object) -> None:
    """Marks arguments as having no effect.

    Args:
      **arguments: arguments whose names are in `WITHOUT_EFFECT`.
    """
    assert arguments.keys() <= WITHOUT_EFFECT.keys()
