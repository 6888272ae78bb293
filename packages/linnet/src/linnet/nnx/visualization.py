"""Modules and arrays as notebooks show them."""

from linnet.module_core.nnx import display as display
