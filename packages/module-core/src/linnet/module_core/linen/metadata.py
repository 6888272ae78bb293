"""Boxes around values, under the name that users know; see `linnet.module_core.boxes`."""

from ..boxes import *  # noqa: F403
