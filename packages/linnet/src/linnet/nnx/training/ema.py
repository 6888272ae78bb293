"""Averages of parameters over training."""

from linnet.module_core.nnx import EMA as EMA
