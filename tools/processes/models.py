"""The models that a group of processes trains, in both styles, and their layouts.

A model has a hidden layer of 16 features with batch statistics and dropout, so it has a parameter
that can be split, one that cannot, state, and keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet import linen, nnx

FEATURES, HIDDEN, BATCH = 8, 16, 16
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, FEATURES)).astype(np.float32)
Y = RNG.normal(size=(BATCH, FEATURES)).astype(np.float32)
TX = optax.adam(1e-2, eps=1e-3)
LAYOUTS = {"data parallel": None, "FSDP": "data"}
"""The mesh axis that kernels are split over."""

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh


def spec(*entries):
    return PartitionSpec(*entries)


def mesh_of_all(*shape, axes=("data",)):
    devices = np.array(jax.devices()).reshape(shape or (-1,))
    return Mesh(devices, axes[: devices.ndim])


def over_processes(x, mesh, *entries):
    """A global array, to which each process contributes the parts on its devices."""
    x = np.asarray(x)
    return jax.make_array_from_callback(
        x.shape, NamedSharding(mesh, spec(*entries)), lambda index: x[index]
    )


def raw(x):
    """The numbers of a typed key; other arrays as they are."""
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def whole(x):
    """The whole value of an array that is spread over processes."""
    return np.asarray(multihost_utils.process_allgather(raw(x), tiled=True))


class LinenModel(linen.Module):
    axis: str | None = None

    @linen.compact
    def __call__(self, x, train=True):
        init = linen.initializers.lecun_normal()
        x = linen.Dense(
            HIDDEN, kernel_init=linen.with_partitioning(init, (None, self.axis)), use_bias=False
        )(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        x = linen.Dropout(0.1, deterministic=not train)(linen.relu(x))
        return linen.Dense(
            FEATURES, kernel_init=linen.with_partitioning(init, (self.axis, None)), name="out"
        )(x)


class NnxModel(nnx.Module):
    def __init__(self, axis=None, *, rngs):
        init = nnx.initializers.lecun_normal()
        self.up = nnx.Linear(
            FEATURES,
            HIDDEN,
            kernel_init=nnx.with_partitioning(init, (None, axis)),
            use_bias=False,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(HIDDEN, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.out = nnx.Linear(
            HIDDEN, FEATURES, kernel_init=nnx.with_partitioning(init, (axis, None)), rngs=rngs
        )

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.up(x)))))


class LinenTraining:
    """A linen model in training: its state, and the losses of the next steps."""

    def __init__(self, axis, mesh=None):
        self.model = LinenModel(axis)

        def make(key):
            variables = self.model.init({"params": key, "dropout": key}, jnp.zeros(X.shape))
            return {
                "variables": variables,
                "moments": TX.init(variables["params"]),
                "key": jax.random.key(1),
            }

        shardings = None
        if mesh is not None:
            shapes = jax.eval_shape(make, jax.random.key(0))
            shardings = linen.get_sharding(shapes, mesh)
        self.state = jax.jit(make, out_shardings=shardings)(jax.random.key(0))

        def step(state, x, y):
            key, dropout = jax.random.split(state["key"])
            params = state["variables"]["params"]

            def loss_of(params):
                variables = {**state["variables"], "params": params}
                predicted, updates = self.model.apply(
                    variables, x, rngs={"dropout": dropout}, mutable=["batch_stats"]
                )
                return jnp.mean((predicted - y) ** 2), updates

            (loss, updates), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
            changes, moments = TX.update(gradients, state["moments"], params)
            params = optax.apply_updates(params, changes)
            new = {"variables": {"params": params, **updates}, "moments": moments, "key": key}
            return new, loss

        self.step = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))

    def train(self, x, y, steps=3):
        losses = []
        for _ in range(steps):
            self.state, loss = self.step(self.state, x, y)
            losses.append(float(loss))
        return losses

    def arrays(self):
        leaves = jax.tree_util.tree_leaves_with_path(self.state)
        return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


class NnxTraining:
    """An nnx model in training: its state, and the losses of the next steps."""

    def __init__(self, axis, mesh=None):
        @nnx.jit
        def make():
            model = NnxModel(axis, rngs=nnx.Rngs(0))
            return model, nnx.Optimizer(model, TX, wrt=nnx.Param)

        self.model, self.optimizer = make()

        @nnx.jit(donate_argnums=(0, 1))
        def step(model, optimizer, x, y):
            loss, gradients = nnx.value_and_grad(lambda m: jnp.mean((m(x) - y) ** 2))(model)
            optimizer.update(model, gradients)
            return loss

        self.step = step

    @property
    def state(self):
        return nnx.state((self.model, self.optimizer))

    @state.setter
    def state(self, new):
        nnx.update((self.model, self.optimizer), new)

    def train(self, x, y, steps=3):
        return [float(self.step(self.model, self.optimizer, x, y)) for _ in range(steps)]

    def arrays(self):
        flat = nnx.to_flat_state(self.state)
        return {"/".join(map(str, path)): v.raw_value for path, v in flat}


STYLES = {"linen": LinenTraining, "nnx": NnxTraining}
