# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["e3x==1.0.2", "flax==0.12.8", "jax==0.10.2", "optax==0.2.8"]
#
# [tool.linnet]
# library = "e3x"
# ///
"""Energies and forces of a molecule from an equivariant network from e3x, a linen module."""

import e3x
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from showing import show, step


class Energy(nn.Module):
    """Two steps of messages between atoms, and an energy of each atom."""

    @nn.compact
    def __call__(self, numbers, positions):
        targets, sources = e3x.ops.sparse_pairwise_indices(len(positions))
        basis = e3x.nn.basis(
            positions[sources] - positions[targets],
            max_degree=2,
            num=4,
            radial_fn=e3x.nn.reciprocal_bernstein,
            cutoff_fn=lambda r: e3x.nn.smooth_cutoff(r, cutoff=5.0),
        )
        x = e3x.nn.Embed(num_embeddings=9, features=8)(numbers)
        for degree in (2, 0):
            pass_on = e3x.nn.MessagePass(max_degree=degree, include_pseudotensors=False)
            x = e3x.nn.add(x, pass_on(x, basis, dst_idx=targets, src_idx=sources))
            x = e3x.nn.silu(e3x.nn.Dense(features=8)(x))
        x = e3x.nn.change_max_degree_or_type(x, max_degree=0, include_pseudotensors=False)
        return nn.Dense(1, use_bias=False)(x[:, 0, 0]).sum()


def main():
    """Fits energies for a few steps."""
    numbers = jnp.array([1, 6, 8, 1])
    positions = jax.random.normal(jax.random.key(1), (3, 4, 3))
    energies = jnp.array([0.0, 1.0, -1.0])
    model = Energy()
    params = model.init(jax.random.key(0), numbers, positions[0])
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)

    @jax.jit
    def train_step(params, state):
        def loss_of(params):
            found = jax.vmap(lambda x: model.apply(params, numbers, x))(positions)
            return jnp.mean((found - energies) ** 2)

        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, loss

    losses = []
    for number in range(4):
        params, state, loss = train_step(params, state)
        losses.append(loss)
        if not number:
            step()
    show("losses", losses)
    show("params", params)
    show("forces", -jax.grad(model.apply, 2)(params, numbers, positions[0]))


if __name__ == "__main__":
    main()
