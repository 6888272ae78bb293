"""The names of `flax.linen.kw_only_dataclasses`."""

from typing import Any

from linnet.linen.kw_only_dataclasses import *  # noqa: F403

Annotation = Default = Any
FieldName = str
