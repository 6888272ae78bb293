# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["flaxmodels==0.1.3", "flax==0.12.8", "jax==0.10.2"]
#
# [tool.linnet]
# library = "flaxmodels"
# ///
"""A ResNet, a VGG and a StyleGAN2 generator of flaxmodels, with random weights."""

import flaxmodels as fm
import jax
import jax.numpy as jnp
from showing import show, step


def main():
    """Runs each of them once."""
    images = jnp.linspace(0, 1, 2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
    resnet = fm.ResNet18(output="logits", pretrained=None, normalize=False, num_classes=5)
    variables = jax.jit(resnet.init)(jax.random.key(0), images)
    logits, updated = jax.jit(lambda v: resnet.apply(v, images, mutable=["batch_stats"]))(variables)
    step()
    show("resnet", logits)
    show("resnet statistics", updated)
    generator = fm.stylegan2.Generator(
        resolution=16, z_dim=8, w_dim=8, num_mapping_layers=2, fmap_max=8, pretrained=None
    )
    keys = {"params": jax.random.key(1), "noise": jax.random.key(2)}
    z = jax.random.normal(jax.random.key(3), (2, 8))
    variables = generator.init(keys, z)
    show("stylegan2 parameters", variables["params"])
    show("stylegan2", generator.apply(variables, z, train=False, noise_mode="const"))


if __name__ == "__main__":
    main()
