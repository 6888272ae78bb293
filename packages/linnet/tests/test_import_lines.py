"""The imports with which programs written for Flax begin, with the package's name replaced."""

import importlib
import re

import pytest

LINES = """
from linnet import linen as nn
from linnet import nnx
from linnet import struct, serialization, traverse_util, jax_utils, core, errors, training
from linnet.config import config
from linnet.core import FrozenDict, freeze, lift, meta, scope, unfreeze
from linnet.core import Scope, apply, bind, init, lazy_init
from linnet.core.frozen_dict import FrozenDict, freeze, unfreeze
from linnet.core.lift import map_variables, scan, vmap
from linnet.core.meta import AxisMetadata, Partitioned, unbox
from linnet.core.scope import CollectionFilter, FrozenVariableDict, VariableDict
from linnet.cursor import Cursor, cursor
from linnet.errors import ScopeParamShapeError
from linnet.jax_utils import prefetch_to_device, replicate, unreplicate
from linnet.linen import initializers
from linnet.linen import partitioning as nn_partitioning
from linnet.linen.attention import dot_product_attention
from linnet.linen.dtypes import promote_dtype
from linnet.linen.fp8_ops import Fp8DirectDotGeneralOp
from linnet.linen.initializers import lecun_normal
from linnet.linen.linear import Dense
from linnet.linen.module import Module, compact
from linnet.metrics import tensorboard
from linnet.metrics.tensorboard import SummaryWriter
from linnet.nnx import bridge
from linnet.serialization import from_state_dict, msgpack_restore, to_bytes
from linnet.struct import PyTreeNode, dataclass, field
from linnet.training import checkpoints, common_utils, lr_schedule, prefetch_iterator, train_state
from linnet.training import dynamic_scale as dynamic_scale_lib
from linnet.training import orbax_utils
from linnet.training.common_utils import get_metrics, onehot, shard
from linnet.training.early_stopping import EarlyStopping
from linnet.training.train_state import TrainState
from linnet.traverse_util import flatten_dict, path_aware_map
from linnet.typing import Array, Dtype
""".strip().splitlines()


@pytest.mark.parametrize("line", LINES)
def test_a_line_imports_what_it_names(line):
    found = {}
    exec(line, found)
    assert all(found[name.strip()] is not None for name in names(line))


def test_one_thing_has_one_identity():
    for home, *others in (
        ("linnet.training.TrainState", "linnet.training.train_state.TrainState"),
        ("linnet.struct.FrozenDict", "linnet.core.FrozenDict", "linnet.core.scope.FrozenDict"),
        ("linnet.linen.Partitioned", "linnet.core.meta.Partitioned"),
    ):
        assert {id(lookup(name)) for name in others} == {id(lookup(home))}


def names(line):
    """The names that a line binds."""
    imported = re.sub(r"\w+ as ", "", line.partition(" import ")[2])
    return imported.split(",")


def lookup(path):
    """The object at a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
