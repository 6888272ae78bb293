# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "diffusers==0.35.2", "transformers==4.57.1", "flax==0.12.8", "jax==0.10.2", "numpy==2.4.6",
# ]
#
# [tool.linnet]
# library = "diffusers"
# ///
"""Small Flax models of Hugging Face's diffusers with random weights, and a scheduler's step."""

import diffusers
import jax
import jax.numpy as jnp
from showing import show, step

IMAGES = {"layers_per_block": 1, "sample_size": 8}


def main():
    """Runs a UNet that is conditioned on text, an autoencoder and a scheduler."""
    unet = diffusers.FlaxUNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 32),
        attention_head_dim=8,
        cross_attention_dim=16,
        **IMAGES,
    )
    params = unet.init_weights(jax.random.key(0))
    latents, text = jnp.linspace(0, 1, 256).reshape(1, 4, 8, 8), jnp.ones((1, 5, 16))
    noise = unet.apply({"params": params}, latents, jnp.array([3]), text).sample
    step()
    show("unet params", params)
    show("unet", noise)

    autoencoder = diffusers.FlaxAutoencoderKL(block_out_channels=(32,), **IMAGES)
    params = autoencoder.init_weights(jax.random.key(0))
    streams = {"gaussian": jax.random.key(1), "dropout": jax.random.key(2)}
    image = jnp.linspace(0, 1, 192).reshape(1, 3, 8, 8)
    decoded = autoencoder.apply(
        {"params": params}, image, sample_posterior=True, deterministic=False, rngs=streams
    )
    show("autoencoder params", params)
    show("autoencoder", decoded.sample)

    scheduler = diffusers.FlaxDDIMScheduler()
    state = scheduler.set_timesteps(scheduler.create_state(), 5, shape=latents.shape)
    show("step", scheduler.step(state, noise, state.timesteps[0], latents).prev_sample)


if __name__ == "__main__":
    main()
