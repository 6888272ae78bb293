"""Boxes around values, under the name that users import; see `linnet.module_core.boxes`."""

from ..boxes import *  # noqa: F403
