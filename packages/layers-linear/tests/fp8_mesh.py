"""8-bit products on a mesh of eight devices, run by test_fp8 in a process with as many devices.

The batch is split over four devices, and the kernel's columns or rows over two. Results and
gradients are those of one device, and are laid out like the operands.
"""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from comparing import near
from linnet.layers_linear import linen

P = PartitionSpec
CONTRACT = (((2,), (0,)), ((), ()))
SPLIT = {"columns": (P("d"), P(None, "m")), "rows": (P("d", None, "m"), P("m"))}
OPERATIONS = [linen.Fp8DirectDotGeneralOp, linen.NANOOFp8DotGeneralOp]
rng = np.random.default_rng(0)
X, KERNEL, BY = (rng.normal(size=s).astype(np.float32) for s in ((8, 4, 6), (6, 4), (8, 4, 4)))


def product(operation, **options):
    op = operation(amax_history_length=4)
    variables = op.init(jax.random.key(0), X, KERNEL, CONTRACT)

    @jax.jit
    def run(variables, x, kernel, by):
        def loss(variables, x, kernel):
            y = op.apply(variables, x, kernel, CONTRACT, **options)
            return (y * by).sum(), y

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(variables, x, kernel)

    return run, variables


def entries(x):
    spec = jax.typeof(x).sharding.spec
    return tuple(spec) + (None,) * (x.ndim - len(spec))


def main():
    for operation in OPERATIONS:
        run, variables = product(operation)
        expected = jax.tree.map(np.asarray, run(variables, X, KERNEL, BY))
        for kind in (AxisType.Auto, AxisType.Explicit):
            mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(kind, kind))
            for how, specs in SPLIT.items():
                x, kernel = (
                    jax.device_put(value, NamedSharding(mesh, spec))
                    for value, spec in zip((X, KERNEL), specs, strict=True)
                )
                by = jax.device_put(BY, NamedSharding(mesh, P("d")))
                near(run(variables, x, kernel, by), expected)
                if kind == AxisType.Explicit:
                    (_, *gradients), y = jax.eval_shape(run, variables, x, kernel, by)
                    assert [entries(g) for g in gradients] == [entries(x), entries(kernel)], how
                    columns = "m" if how == "columns" else None
                    assert entries(y) == ("d", None, columns), how
        whole = NamedSharding(mesh, P("d", "m"))
        run, variables = product(operation, out_sharding=whole)
        by = jax.device_put(BY, whole)
        near(run(variables, x, kernel, by), expected)
        assert entries(jax.eval_shape(run, variables, x, kernel, by)[1]) == ("d", "m", None)
    print("equal on", jax.device_count(), "devices")


if __name__ == "__main__":
    main()
