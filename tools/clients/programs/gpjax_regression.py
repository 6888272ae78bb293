# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["gpjax==0.13.0", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "gpjax"
# ///
"""Regression with a Gaussian process of gpjax, whose kernels are modules of nnx."""

import gpjax as gpx
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from showing import show, step

jax.config.update("jax_enable_x64", True)


def main():
    """Fits the hyperparameters, and predicts."""
    x = jnp.linspace(-3, 3, 20)[:, None]
    y = jnp.sin(2 * x) + 0.1 * jax.random.normal(jax.random.key(0), x.shape)
    data = gpx.Dataset(X=x, y=y)
    kernel = gpx.kernels.RBF() + gpx.kernels.Matern52(lengthscale=0.5)
    prior = gpx.gps.Prior(mean_function=gpx.mean_functions.Constant(), kernel=kernel)
    posterior = prior * gpx.likelihoods.Gaussian(num_datapoints=20)
    fitted, history = gpx.fit(
        model=posterior,
        objective=lambda model, data: -gpx.objectives.conjugate_mll(model, data),
        train_data=data,
        optim=optax.adam(0.05),
        num_iters=10,
        key=jax.random.key(1),
        verbose=False,
    )
    step()
    show("history", history)
    show("state", nnx.to_pure_dict(nnx.state(fitted)))
    prediction = fitted.predict(jnp.linspace(-3, 3, 5)[:, None], train_data=data)
    show("mean", prediction.mean)
    show("variance", prediction.variance)


if __name__ == "__main__":
    main()
