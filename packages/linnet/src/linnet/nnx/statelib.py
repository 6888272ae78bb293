"""States: the leaves of a module, by path."""

from linnet.module_core.nnx import FlatState as FlatState
from linnet.module_core.nnx import State as State
from linnet.module_core.nnx import diff as diff
from linnet.module_core.nnx import filter_state as filter_state
from linnet.module_core.nnx import from_flat_state as from_flat_state
from linnet.module_core.nnx import map_state as map_state
from linnet.module_core.nnx import merge_state as merge_state
from linnet.module_core.nnx import replace_by_pure_dict as replace_by_pure_dict
from linnet.module_core.nnx import restore_int_paths as restore_int_paths
from linnet.module_core.nnx import split_state as split_state
from linnet.module_core.nnx import to_flat_state as to_flat_state
from linnet.module_core.nnx import to_pure_dict as to_pure_dict
from linnet.module_core.nnx.structure.states import create_path_filters as create_path_filters
