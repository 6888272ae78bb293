# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["numpyro==0.22.0", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "numpyro"
# ///
"""Linen and nnx networks in probabilistic models of numpyro, fitted by SVI and NUTS."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from flax import nnx
from numpyro.contrib.module import flax_module, nnx_module, random_flax_module, random_nnx_module
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from showing import show, step

X = jnp.linspace(-1, 1, 20)[:, None]
Y = jnp.sin(3 * X[:, 0])


class Network(nn.Module):
    """Two dense layers with batch normalization in between."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dense(8, use_bias=False)(x)  # a bias would have rounding errors for gradients
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(1)(nn.tanh(x))[:, 0]


class NnxNetwork(nnx.Module):
    """Two linear layers with dropout in between."""

    def __init__(self, rngs):
        self.first = nnx.Linear(1, 8, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.second = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x):
        return self.second(self.dropout(nnx.tanh(self.first(x))))[:, 0]


def plain(x, y=None):
    """Regression with a linen network."""
    network = flax_module("network", Network(), x, mutable=["batch_stats"])
    numpyro.sample("y", dist.Normal(network(x), 0.1), obs=y)


def plain_nnx(x, y=None):
    """Regression with an nnx network."""
    network = nnx_module("network", NnxNetwork(nnx.Rngs(params=0, dropout=1)))
    numpyro.sample("y", dist.Normal(network(x), 0.1), obs=y)


def random(x, y=None):
    """Regression with a linen network whose weights have priors."""
    network = random_flax_module("network", nn.Dense(1), dist.Normal(0, 1), x)
    numpyro.sample("y", dist.Normal(network(x)[:, 0], 0.1), obs=y)


def random_nnx(x, y=None):
    """Regression with an nnx network whose weights have priors."""
    linear = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    network = random_nnx_module("network", linear, dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(network(x)[:, 0], 0.1), obs=y)


def fitted(model, guide, steps=20):
    """The result of SVI."""
    svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    return svi.run(jax.random.key(0), steps, X, Y, progress_bar=False)


def main():
    """Fits each of the models."""

    def nothing(x, y=None):
        pass

    for number, (model, guide) in enumerate(
        {plain: nothing, plain_nnx: nothing, random: AutoNormal(random)}.items()
    ):
        result = fitted(model, guide)
        if not number:
            step()
        show(f"{model.__name__} losses", result.losses)
        show(f"{model.__name__} params", result.params)
    sampler = MCMC(NUTS(random_nnx), num_warmup=20, num_samples=10, progress_bar=False)
    sampler.run(jax.random.key(0), X, Y)
    show("random_nnx samples", sampler.get_samples())


if __name__ == "__main__":
    main()
