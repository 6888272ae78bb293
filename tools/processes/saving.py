"""Processes save models during training; other groups of processes restore them.

Each process writes its part during the next steps, whose losses are stored with the models for
comparison.
"""

import json
import os
from pathlib import Path

import jax
import orbax.checkpoint as ocp
import pytest

from processes.models import STYLES, X, Y, mesh_of_all, over_processes, set_mesh

FOLDER = Path(os.environ["CHECKPOINTS"])


@pytest.mark.parametrize("style", STYLES)
def test_saving(style):
    mesh = mesh_of_all()
    with set_mesh(mesh):
        training = STYLES[style]("data", mesh)
        x, y = (over_processes(v, mesh, "data") for v in (X, Y))
        training.train(x, y)
    # On jax 0.6, orbax raises an error if a mesh is set.
    with ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(FOLDER / style, args=ocp.args.StandardSave(training.state))
        with set_mesh(mesh):
            losses = training.train(x, y)  # which donates the arrays that are being saved
    if jax.process_index() == 0:
        (FOLDER / f"{style}.json").write_text(json.dumps(losses))
