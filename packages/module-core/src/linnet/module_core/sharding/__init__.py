"""Layouts of whole models on a mesh: rules by path, placing values, bytes per device, replicas.

    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    layouts = sharding.named_shardings(shapes, [("kernel", P("data", "model")), (..., P())], mesh)
    print(sharding.byte_report(shapes, layouts))            # before anything is allocated
    variables = jax.jit(model.init, out_shardings=layouts)(jax.random.key(0), x)

A model may name the axes of its arrays itself (`with_partitioning`); rules are for models that
don't, and for arrays that belong to such models, such as the moments of an optimizer, whose paths
end like those of the parameters. Everything here takes linen variables, nnx modules and states, and
other trees, and identifies arrays by their paths, such as "params/blocks/attention/query/kernel".

This is part of module-core, not a package of its own: it works with boxes and variables, and has no
other dependency.
"""

from ..axis_rules import strict_axis_rules as strict_axis_rules
from .bytes import ByteReport as ByteReport
from .bytes import byte_report as byte_report
from .placing import place as place
from .replicas import check_replicated as check_replicated
from .rules import named_shardings as named_shardings
from .rules import partition_specs as partition_specs

__all__ = [
    "ByteReport",
    "byte_report",
    "check_replicated",
    "named_shardings",
    "partition_specs",
    "place",
    "strict_axis_rules",
]
