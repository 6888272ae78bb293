"""`tabulate`: a model's layers and sizes as a table."""

from linnet.module_core.linen import CollectionFilter, DenyList, tabulate
from linnet.module_core.linen.summary import Row, Table
from linnet.module_core.typing import (
    Array,
    FrozenVariableDict,
    LogicalNames,
    MutableVariableDict,
    PRNGKey,
    RNGSequences,
)
from linnet.struct import unfreeze

__all__ = [
    "Array",
    "CollectionFilter",
    "DenyList",
    "FrozenVariableDict",
    "LogicalNames",
    "MutableVariableDict",
    "PRNGKey",
    "RNGSequences",
    "Row",
    "Table",
    "tabulate",
    "unfreeze",
]
