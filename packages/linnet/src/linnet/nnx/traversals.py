"""Nested mappings as flat ones, and back."""

from linnet.module_core.nnx.traversals import empty_node as empty_node
from linnet.module_core.nnx.traversals import flatten_mapping as flatten_mapping
from linnet.module_core.nnx.traversals import flatten_to_sequence as flatten_to_sequence
from linnet.module_core.nnx.traversals import unflatten_mapping as unflatten_mapping
