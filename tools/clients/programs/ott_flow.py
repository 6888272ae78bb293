# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["ott-jax==0.6.0", "flax==0.12.8", "jax==0.10.2", "diffrax==0.7.2"]
#
# [tool.linnet]
# library = "ott-jax"
# ///
"""Flow matching between two distributions, with an nnx network from ott."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ott.neural.methods import flow_matching as fm
from ott.neural.networks.velocity_field.mlp import MLP
from showing import show, step


def main():
    """Trains a velocity field, and evaluates it."""
    model = MLP(dim=2, hidden_dims=(8, 8), time_enc_num_freqs=4, dropout_rate=0.1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    source = jax.random.normal(jax.random.key(1), (16, 2))
    target = source * 0.5 + jnp.array([1.0, -1.0])
    train_step = nnx.jit(fm.flow_matching_step)
    rngs = nnx.Rngs(dropout=2)
    losses = []
    for number in range(4):
        batch = fm.interpolate_samples(jax.random.key(number), source, target)
        losses.append(train_step(model, optimizer, batch, rngs=rngs))
        if not number:
            step()
    show("losses", losses)
    show("state", nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    show("velocity", model(jnp.full(16, 0.3), source, rngs=rngs))


if __name__ == "__main__":
    main()
