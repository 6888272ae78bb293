"""Annotations that users don't postpone are read as dataclasses reads them.

This file must not import annotations from the future. On Python 3.14 they are evaluated on access,
so a name may be defined later; on older versions, such a name is quoted.
"""

import dataclasses
import sys
from typing import Any, Optional

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import linen as nn
from linnet.module_core import nnx
from linnet.module_core.errors import ReservedModuleAttributeError
from linnet.struct import PyTreeNode, dataclass, field

X = jnp.ones((1, 2))


class Named(nn.Module):
    name: str
    size: int = 1


class Defaulted(nn.Module):
    name: Optional[str] = "defaulted"  # noqa: UP045, as people write it
    size: int = 1


class Linked(nn.Module):
    size: int
    following: "Linked | None" = None

    @nn.compact
    def __call__(self, x):
        x = x * self.param("scale", jax.nn.initializers.ones, (self.size,))
        return x if self.following is None else self.following(x)


class Wider(Linked):
    extra: str = "none"


def names(cls):
    return [f.name for f in dataclasses.fields(cls)]


def test_a_name_that_is_annotated_stays_last_and_by_keyword():
    assert Named(2, name="n").size == 2
    assert Named(2).name is None
    assert Defaulted(3).size == 3
    assert Defaulted(3).name == "defaulted"
    for cls in (Named, Defaulted):
        assert names(cls) == ["size", "parent", "name"]


@pytest.mark.parametrize(("name", "annotation"), [("parent", int), ("name", int), ("name", "int")])
def test_reserved_names_raise_an_error(name, annotation):
    with pytest.raises(ReservedModuleAttributeError, match="are reserved"):
        type("Wrong", (nn.Module,), {"__annotations__": {name: annotation}, name: 3})


def test_a_class_body_with_a_reserved_name_raises_an_error():
    with pytest.raises(ReservedModuleAttributeError, match="parent"):

        class Wrong(nn.Module):
            parent: int = 3


def test_fields_of_subclasses_in_order():
    assert names(Wider) == ["size", "following", "extra", "parent", "name"]
    model = Linked(2, Linked(2))
    assert model.apply(model.init(jax.random.key(0), X), X).shape == (1, 2)


@dataclass
class Pair:
    left: jax.Array
    label: str = field(pytree_node=False, default="pair")


class Node(PyTreeNode):
    value: Any
    rest: "Node | None" = None
    label: str = field(pytree_node=False, default="node")


def test_struct_dataclasses():
    assert len(jax.tree.leaves(Pair(X))) == 1
    assert len(jax.tree.leaves(Node(X, Node(X)))) == 2
    assert Node(X).replace(label="new").label == "new"


@nnx.dataclass
class Marked(nnx.Module):
    table: nnx.Data[Any]
    sizes: nnx.Static[tuple[int, ...]] = (1, 2)
    twin: "nnx.Data[Marked | None]" = None


def test_nnx_marks():
    marked = Marked({"a": X}, twin=Marked({"b": X}))
    assert len(jax.tree.leaves(marked)) == 2
    assert nnx.split(marked)[1]["table"]["a"] is X


LATER = """
from linnet.module_core import linen as nn
from linnet.module_core import nnx
from linnet.struct import PyTreeNode, dataclass

class Chain(nn.Module):
    size: int
    following: Chain | None = None
    name: Later | None = None

class Tree(PyTreeNode):
    value: int
    rest: Tree | None = None

@nnx.dataclass
class Marked(nnx.Module):
    table: nnx.Data[Later]
    twin: Later = None

Later = str
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="names defined later need Python 3.14")
def test_names_that_are_defined_later():
    with pytest.raises(ReservedModuleAttributeError, match="name"):
        exec(LATER, {"__name__": "later"})
    found = {"__name__": "later"}
    exec(LATER.replace("name: Later", "title: Later"), found)
    assert names(found["Chain"]) == ["size", "following", "title", "parent", "name"]
    assert found["Chain"](2, found["Chain"](3)).following.size == 3
    assert jax.tree.leaves(found["Tree"](1, found["Tree"](2))) == [1, 2]
    assert jax.tree.leaves(found["Marked"](3, twin="static")) == [3]
