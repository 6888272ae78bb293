"""The names of `flax.core.scope`, and the checks of arguments that other libraries call."""

from collections.abc import Mapping as _Mapping

from linnet.flax.ids import uuid as uuid
from linnet.linen.module import CollectionFilter as CollectionFilter
from linnet.linen.module import DenyList as DenyList
from linnet.linen.module import FrozenDict as FrozenDict
from linnet.linen.module import FrozenVariableDict as FrozenVariableDict
from linnet.linen.module import PRNGKey as PRNGKey
from linnet.linen.module import RNGSequences as RNGSequences
from linnet.linen.module import Scope as Scope
from linnet.linen.module import Variable as Variable
from linnet.linen.module import VariableDict as VariableDict
from linnet.linen.module import union_filters as union_filters
from linnet.module_core import errors as errors
from linnet.module_core.config import config as config
from linnet.module_core.functional import apply as apply
from linnet.module_core.functional import bind as bind
from linnet.module_core.functional import init as init
from linnet.module_core.functional import lazy_init as lazy_init
from linnet.module_core.linen import PRNGSequenceFilter as PRNGSequenceFilter
from linnet.module_core.linen.filters import filter_to_set as filter_to_set
from linnet.module_core.linen.filters import group_collections as group_collections
from linnet.module_core.linen.filters import in_filter as in_filter
from linnet.module_core.linen.filters import intersect_filters as intersect_filters
from linnet.module_core.linen.filters import is_filter_empty as is_filter_empty
from linnet.module_core.linen.filters import subtract_filters as subtract_filters
from linnet.module_core.linen.rng import LazyRng as LazyRng
from linnet.module_core.linen.rng import is_key as _is_key
from linnet.module_core.linen.scope_methods import no_flag as no_flag
from linnet.module_core.typing import Array as Array
from linnet.module_core.typing import Collection as Collection
from linnet.module_core.typing import MutableCollection as MutableCollection
from linnet.module_core.typing import MutableVariableDict as MutableVariableDict
from linnet.module_core.typing import PRNGFoldable as PRNGFoldable
from linnet.struct import freeze as freeze
from linnet.struct import unfreeze as unfreeze

Filter = CollectionFilter


def _is_valid_rng(rng: object) -> bool:
    return isinstance(rng, LazyRng) or _is_key(rng)


def _is_valid_rngs(rngs: object) -> bool:
    return isinstance(rngs, _Mapping) and all(
        isinstance(stream, str) and _is_valid_rng(rng) for stream, rng in rngs.items()
    )


def _is_valid_collection(col: object) -> bool:
    return isinstance(col, _Mapping) and all(isinstance(name, str) for name in col)


def _is_valid_variables(variables: _Mapping[str, object]) -> bool:
    return all(
        isinstance(name, str) and _is_valid_collection(col) for name, col in variables.items()
    )
