# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["brax==0.14.0", "flax==0.12.6", "jax==0.9.2"]
#
# [tool.linnet]
# library = "brax"
# tests = [
#   "brax/training/types_test.py",
#   "brax/training/agents/ppo/checkpoint_test.py",
#   "brax/training/agents/sac/checkpoint_test.py",
# ]
# ///
"""PPO and SAC from brax, for a few steps in an environment, defined here, that compiles quickly."""

import functools

import jax
from brax import envs
from brax.training.agents.ppo import networks as ppo_networks
from brax.training.agents.ppo import train as ppo
from brax.training.agents.sac import networks as sac_networks
from brax.training.agents.sac import train as sac
from showing import show, step


def main():
    """Trains with both, and shows the parameters of the policies."""
    env = envs.get_environment("fast")
    _, params, metrics = ppo.train(
        env,
        num_timesteps=512,
        episode_length=16,
        num_envs=8,
        batch_size=8,
        num_minibatches=2,
        unroll_length=4,
        num_updates_per_batch=2,
        num_evals=2,
        num_eval_envs=4,
        normalize_observations=True,
        seed=2,
        network_factory=functools.partial(
            ppo_networks.make_ppo_networks,
            policy_hidden_layer_sizes=(8, 8),
            value_hidden_layer_sizes=(8,),
        ),
    )
    step()
    show("ppo", params)
    show("ppo reward", metrics["eval/episode_reward"])
    _, params, metrics = sac.train(
        env,
        num_timesteps=256,
        episode_length=16,
        num_envs=4,
        batch_size=8,
        num_evals=2,
        num_eval_envs=4,
        grad_updates_per_step=1,
        min_replay_size=16,
        max_replay_size=256,
        seed=2,
        network_factory=functools.partial(
            sac_networks.make_sac_networks,
            hidden_layer_sizes=(8, 8),
            policy_network_layer_norm=True,
        ),
    )
    show("sac", params)
    show("sac reward", metrics["eval/episode_reward"])


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
