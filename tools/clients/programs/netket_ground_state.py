# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["netket==3.23.0", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "netket"
# ///
"""The ground state of a chain of spins, by variational Monte Carlo with netket's networks."""

import flax
import jax
import netket as nk
import numpy as np
from flax import nnx
from showing import show, step

SPINS = 6


class OwnState(nnx.Module):
    """A network in nnx; netket's own are linen modules."""

    def __init__(self, features, *, rngs):
        self.first = nnx.Linear(SPINS, features, param_dtype=float, rngs=rngs)
        self.second = nnx.Linear(features, 1, param_dtype=float, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.gelu(self.first(x)))[..., 0]


def main():
    """Optimizes three wave functions."""
    graph = nk.graph.Chain(SPINS)
    hilbert = nk.hilbert.Spin(0.5, SPINS)
    energy = nk.operator.IsingJax(hilbert, graph, h=1.0)
    models = {
        "RBM": nk.models.RBM(alpha=1),
        "ARNN": nk.models.ARNNDense(hilbert=hilbert, layers=2, features=4),
        "nnx": OwnState(6, rngs=nnx.Rngs(0)),
    }
    for name, model in models.items():
        if name == "ARNN":
            sampler = nk.sampler.ARDirectSampler(hilbert)
        else:
            sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=4)
        state = nk.vqs.MCState(sampler, model, n_samples=32, seed=1, sampler_seed=2)
        driver = nk.driver.VMC_SR(
            energy, nk.optimizer.Sgd(0.05), diag_shift=0.1, variational_state=state
        )
        driver.run(3, out=nk.logging.RuntimeLog(), show_progress=False)
        if name == "RBM":
            step()
        show(f"{name} energy", np.asarray(state.expect(energy).mean))
        show(f"{name} parameters", jax.tree.map(np.asarray, dict(state.parameters)))
        bytes_ = flax.serialization.to_bytes(state)
        restored = flax.serialization.from_bytes(state, bytes_)
        show(f"{name} restored", jax.tree.map(np.asarray, dict(restored.parameters)))


if __name__ == "__main__":
    main()
