# /// script
# requires-python = ">=3.12,<3.13"
# dependencies = ["cax==0.4.4", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "cax"
# ///
"""Cellular automata from cax, which are nnx modules: a fixed rule, and one that is learned."""

import jax
import jax.numpy as jnp
import optax
from cax.core.perceive import ConvPerceive
from cax.core.update import NCAUpdate
from cax.cs.elementary import Elementary
from cax.nn.vae import VAE
from flax import nnx
from showing import show, step


def main():
    """Runs rule 110, trains an update rule, and encodes with a VAE."""
    rule = Elementary.wolfram_code_from_rule_number(110)
    start = jnp.zeros((16, 1)).at[8].set(1.0)
    end, states = Elementary(wolfram_code=rule)(start, num_steps=8, return_states=True)
    show("rule 110", (end, states))

    rngs = nnx.Rngs(0)
    perceive = ConvPerceive(
        channel_size=3, perception_size=9, kernel_size=(3, 3), feature_group_count=3, rngs=rngs
    )
    update = NCAUpdate(channel_size=3, perception_size=9, hidden_layer_sizes=(8,), rngs=rngs)
    rules = nnx.List([perceive, update])
    optimizer = nnx.Optimizer(rules, optax.adam(1e-2), wrt=nnx.Param)
    grid = jax.random.uniform(jax.random.key(1), (8, 8, 3))

    @nnx.jit
    def train_step(rules, optimizer, grid):
        def loss_of(rules):
            perceive, update = rules
            return jnp.mean((update(grid, perceive(grid)) - 0.5) ** 2)

        loss, gradients = nnx.value_and_grad(loss_of)(rules)
        optimizer.update(rules, gradients)
        return loss

    losses = [train_step(rules, optimizer, grid)]
    step()
    losses += [train_step(rules, optimizer, grid) for _ in range(3)]
    show("losses", losses)
    show("state", nnx.to_pure_dict(nnx.state(rules, nnx.Param)))
    vae = VAE(spatial_dims=(8, 8), features=(1, 4), latent_size=2, rngs=nnx.Rngs(3))
    show("vae", vae.encode(grid[None, ..., :1]))


if __name__ == "__main__":
    main()
