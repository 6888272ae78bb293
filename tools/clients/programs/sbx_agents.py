# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["sbx-rl==0.28.0", "flax==0.12.8", "jax==0.10.2", "torch==2.13.0"]
#
# [tool.linnet]
# library = "sbx-rl"
# tests = ["tests/test_flatten.py", "tests/test_cnn.py", "tests/test_buffers.py"]
# ///
"""PPO and SAC from sbx, for a few steps in Gymnasium environments."""

import flax.linen as nn
import jax
import numpy as np
from sbx import PPO, SAC
from showing import show, step


def main():
    """Trains with both, and shows the parameters of the policies."""
    small = {"net_arch": [8], "activation_fn": nn.leaky_relu}
    ppo = PPO(
        "MlpPolicy",
        "CartPole-v1",
        n_steps=32,
        batch_size=32,
        n_epochs=2,
        policy_kwargs=small,
        seed=0,
    )
    ppo.learn(64)
    step()
    show("ppo actor", ppo.policy.actor_state.params)
    show("ppo critic", ppo.policy.vf_state.params)
    sac = SAC(
        "MlpPolicy",
        "Pendulum-v1",
        learning_starts=20,
        batch_size=16,
        buffer_size=200,
        policy_kwargs=small | {"dropout_rate": 0.1, "layer_norm": True},
        seed=0,
    )
    sac.learn(40)
    show("sac actor", sac.policy.actor_state.params)
    show("sac critic", sac.policy.qf_state.params)
    action, _ = sac.predict(np.zeros((1, 3), np.float32), deterministic=True)
    show("sac action", action)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
