"""Trains and saves at each step until test_processes.py kills it during a save.

Each checkpoint also contains a large array filled with the number of the step, so that writing
takes a while.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding

from processes.models import LinenTraining, X, Y, mesh_of_all, over_processes, set_mesh, spec

NUMBERS = 2**22
ENOUGH = 2
"""The step after whose checkpoint it may be killed."""


def main(folder):
    mesh = mesh_of_all()
    layout = NamedSharding(mesh, spec("data"))
    filled = jax.jit(lambda step: jnp.full(NUMBERS, step, jnp.int32), out_shardings=layout)
    options = ocp.CheckpointManagerOptions(max_to_keep=3)
    with set_mesh(mesh):
        training = LinenTraining("data", mesh)
    with ocp.CheckpointManager(folder / "steps", options=options) as manager:
        x, y = (over_processes(v, mesh, "data") for v in (X, Y))
        losses = []
        for step in range(10**6):
            with set_mesh(mesh):  # not around the save; see saving.py
                losses += training.train(x, y, steps=1)
            if jax.process_index() == 0:
                new = folder / "losses.new"
                new.write_text(json.dumps(losses))
                new.replace(folder / "losses.json")
            state = {"training": training.state, "numbers": filled(step)}
            manager.save(step, args=ocp.args.StandardSave(state))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
