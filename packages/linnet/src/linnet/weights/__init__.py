"""Weights from PyTorch and from files; see `linnet.module_core.weights`."""

from linnet.module_core.weights import *  # noqa: F403
