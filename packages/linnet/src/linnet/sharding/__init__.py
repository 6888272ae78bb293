"""Layouts of whole models on a mesh; see `linnet.module_core.sharding`."""

from linnet.module_core.sharding import *  # noqa: F403
