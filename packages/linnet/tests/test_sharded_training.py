"""Training and loading on a mesh: the files named here, in one process that has eight devices."""

from pathlib import Path

from fixtures import pass_on_devices

NAMES = [
    "sharded_training.py",
    "nnx_sharded_training.py",
    "explicit_mesh.py",
    "weights_on_mesh.py",
]


def test_on_eight_devices():
    printed = pass_on_devices(*(Path(__file__).with_name(name) for name in NAMES))
    assert all(name in printed for name in NAMES)  # explicit_mesh.py is skipped on jax 0.6
