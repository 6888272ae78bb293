# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["flaxmodels==0.1.3", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "flaxmodels"
# ///
"""A ResNet from flaxmodels with random weights, in training."""

import flaxmodels as fm
import jax
import jax.numpy as jnp
from showing import show, step


def main():
    """Runs the network once."""
    images = jnp.linspace(0, 1, 2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
    resnet = fm.ResNet18(output="logits", pretrained=None, normalize=False, num_classes=5)
    variables = jax.jit(resnet.init)(jax.random.key(0), images)
    logits, updated = jax.jit(lambda v: resnet.apply(v, images, mutable=["batch_stats"]))(variables)
    step()
    show("resnet", logits)
    show("resnet statistics", updated)
    show("parameters", variables["params"])


if __name__ == "__main__":
    main()
