"""Models as plain functions: the first argument is a `Scope`, which holds the variables.

    def dense(scope, x, features):
        kernel = scope.param("kernel", lecun_normal(), (x.shape[-1], features))
        return x @ kernel

    y, variables = init(dense)(jax.random.key(0), x, 3)
    y = apply(dense)(variables, x, 3)

A module is such a function with a class around it, and both run on the same scopes: a module made
with `parent=scope` is part of the function that made it. `lift` provides jax's transforms for
functions of a scope.
"""

from .calls import apply as apply
from .calls import bind as bind
from .calls import init as init
from .calls import lazy_init as lazy_init
