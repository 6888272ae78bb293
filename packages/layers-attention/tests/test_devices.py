"""Tests that need several devices: the files named here, in one process that has eight."""

from pathlib import Path

from fixtures import pass_on_devices

NAMES = ["split_heads.py", "decoding_on_mesh.py"]


def test_on_eight_devices():
    printed = pass_on_devices(*(Path(__file__).with_name(name) for name in NAMES))
    assert all(f"{name}::" in printed for name in NAMES)
