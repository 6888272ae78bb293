"""Classes that are compared and printed by their fields."""

import copy
import dataclasses
import pickle

import pytest

from linnet.module_core import nnx
from linnet.module_core.linen import DenyList
from linnet.module_core.nnx.reprlib import Attr, Object
from linnet.module_core.nnx.structure.definitions import NodeDef, NodeRef, VariableDef
from linnet.module_core.typing import In, Out

RECORDS = [
    (nnx.WithTag, ("a",), ("b",)),
    (nnx.PathContains, ("a", True), ("a", False)),
    (nnx.OfType, (nnx.Param,), (nnx.Variable,)),
    (nnx.DiffState, (0, nnx.Param), (1, nnx.Param)),
    (NodeDef, (list, 0, None, 2, None), (list, 0, None, 3, None)),
    (VariableDef, (nnx.Param, 0, None, ()), (nnx.Param, 1, None, ())),
    (NodeRef, (1,), (2,)),
    (In, (0,), (1,)),
    (Out, (0,), (1,)),
    (DenyList, ("a",), ("b",)),
]


@pytest.mark.parametrize(
    ("cls", "values", "others"), RECORDS, ids=lambda x: getattr(x, "__name__", "")
)
def test_a_record_is_a_frozen_dataclass(cls, values, others):
    made, other = cls(*values), cls(*others)
    names = [f.name for f in dataclasses.fields(cls)]
    assert tuple(getattr(made, name) for name in names) == values
    assert made == cls(**dict(zip(names, values, strict=True))) != other
    assert hash(made) == hash(cls(*values))
    assert made != values
    assert not made == values  # noqa: SIM201  (each asks a method of its own)
    changed = dataclasses.replace(made, **dict(zip(names, others, strict=True)))
    assert changed == other
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    shown = ", ".join(f"{n}={v!r}" for n, v in zip(names, values, strict=True))
    assert repr(made) == f"{cls.__name__}({shown})"
    with pytest.raises(dataclasses.FrozenInstanceError, match=names[0]):
        setattr(made, names[0], values[0])
    with pytest.raises(dataclasses.FrozenInstanceError, match=names[0]):
        delattr(made, names[0])
    with pytest.raises(TypeError, match="__init__"):
        cls(*values, *values)


def test_fields_that_can_change_have_no_hash():
    for cls in (Object, Attr):
        first = dataclasses.fields(cls)[0].name
        made, same = (cls(*range(2 if cls is Attr else 1)) for _ in range(2))
        assert made == same
        setattr(made, first, "other")
        assert made != same
        with pytest.raises(TypeError, match="unhashable"):
            hash(made)
