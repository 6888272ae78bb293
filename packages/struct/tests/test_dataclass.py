"""Behavior of `dataclass`, `field` and `PyTreeNode` that the document doesn't cover."""

import copy
import dataclasses
import pickle
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet import struct


@struct.dataclass
class Pair:
    x: Any
    tag: Any = struct.field(pytree_node=False, default="t")
    y: Any = struct.field(default=3, metadata={"unit": "m"})


class Node(struct.PyTreeNode):
    x: Any
    tag: str = struct.field(pytree_node=False, default="t")


def test_children_are_in_the_order_of_declaration_with_attribute_paths():
    leaves = jax.tree_util.tree_leaves_with_path(Pair({"a": 1}, y=2))
    assert [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves] == [
        (".x['a']", 1),
        (".y", 2),
    ]


def test_a_plain_field_is_a_child():
    @struct.dataclass
    class Plain:
        x: int = dataclasses.field(default=4, metadata={"u": 1})

    assert jax.tree.leaves(Plain()) == [4]


def test_metadata_is_kept():
    by_name = {f.name: dict(f.metadata) for f in dataclasses.fields(Pair)}
    assert by_name == {
        "x": {},
        "tag": {"pytree_node": False},
        "y": {"unit": "m", "pytree_node": True},
    }


def test_a_static_field_is_structure():
    with pytest.raises(ValueError, match=r"'t'"):
        jax.tree.map(lambda a, b: a, Pair(1, "t"), Pair(1, "u"))
    traced = []

    @jax.jit
    def f(pair):
        traced.append(pair.tag)
        return pair.x

    f(Pair(1.0, "t"))
    f(Pair(2.0, "t"))
    f(Pair(2.0, "u"))
    assert traced == ["t", "u"]


def test_none_and_empty():
    @struct.dataclass
    class Empty: ...

    assert jax.tree.leaves(Empty()) == []
    assert jax.tree.map(lambda x: x, Empty()) == Empty()
    assert jax.tree.leaves(Pair(None, y=None)) == []


def test_decorating_twice_changes_nothing():
    assert struct.dataclass(Pair) is Pair
    assert struct.dataclass(Node, kw_only=True) is Node


def test_libraries_recognize_the_class_by_the_mark_that_flax_sets():
    @struct.dataclass
    class Decorated:
        x: int

    class Node(struct.PyTreeNode):
        x: int

    class Plain(Decorated):
        pass

    for cls in (Decorated, Node):
        assert vars(cls).get("_flax_dataclass") is True
    assert "_flax_dataclass" not in vars(Plain)


def test_an_undecorated_subclass_is_a_leaf():
    class Sub(Pair): ...

    sub = Sub(1)
    assert jax.tree.leaves(sub) == [sub]
    assert type(sub.replace(x=2)) is Sub


def test_a_decorated_subclass_has_the_inherited_fields_first():
    @struct.dataclass
    class Sub(Pair):
        z: Any = 5

    assert jax.tree.leaves(Sub(1, y=2)) == [1, 2, 5]


def test_own_methods_stay():
    @struct.dataclass
    class Own:
        x: int

        def replace(self, **updates):
            return "mine"

        def __repr__(self):
            return "Own!"

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 5

    own = Own(1)
    assert own.replace(x=2) == "mine"
    assert (repr(own), hash(own)) == ("Own!", 5)
    assert own == 3


def test_frozen_false():
    @struct.dataclass(frozen=False)
    class Mutable:
        x: int

    class MutableNode(struct.PyTreeNode, frozen=False):
        x: int

    @struct.dataclass(frozen=False)
    class Watched:
        x: int

        def __setattr__(self, name, value):
            object.__setattr__(self, name, value)

    for made in (Mutable(1), MutableNode(1), Watched(1)):
        made.x = 2
        assert jax.tree.map(lambda v: v + 1, made).x == 3


def test_slots():
    @struct.dataclass(slots=True)
    class Slotted:
        x: int

    slotted = Slotted(1)
    assert not hasattr(slotted, "__dict__")
    assert jax.tree.map(lambda v: v + 1, slotted.replace(x=5)) == Slotted(6)
    with pytest.raises(TypeError, match=r"SlottedNode: slots=True"):

        class SlottedNode(struct.PyTreeNode, slots=True):
            x: int


def test_post_init_runs_whenever_an_instance_is_made():
    seen = []

    @struct.dataclass
    class Checked:
        x: Any

        def __post_init__(self):
            seen.append(self.x)

    jax.tree.map(lambda v: v + 1, Checked(1)).replace(x=5)
    assert seen == [1, 2, 5]


def test_class_and_init_variables_are_not_fields():
    @struct.dataclass
    class Vars:
        x: int
        kind: ClassVar[str] = "k"
        seed: dataclasses.InitVar[int] = 5

    assert jax.tree.map(lambda v: v + 1, Vars(1)) == Vars(2)


def test_class_keywords_and_other_bases():
    class Counted:
        made: ClassVar[list] = []

        def __init_subclass__(cls, tag=None, **kwargs):
            cls.made.append(tag)
            super().__init_subclass__(**kwargs)

    class Mixed(Counted, struct.PyTreeNode, tag="m", kw_only=True):
        x: int

    assert Mixed(x=1).replace(x=2) == Mixed(x=2)
    assert Counted.made == ["m"]

    class After(Node, kw_only=True):
        z: int

    assert After(1, z=2) == After(x=1, tag="t", z=2)


def test_generic_classes():
    V = TypeVar("V")

    class Box(struct.PyTreeNode, Generic[V]):
        value: V

    assert jax.tree.leaves(Box[int](3)) == [3]


@pytest.mark.parametrize("made", [Pair([1, 2]), Node({"a": 1})])
def test_copies_and_pickles(made):
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert type(again) is type(made)


def test_hash():
    assert hash(Pair(1)) == hash(Pair(1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Pair(jnp.ones(2)))


@given(st.integers(), st.text(), st.integers())
def test_flattening_and_back_is_the_identity(x, tag, y):
    pair = Pair([x, {"k": x}], tag, y)
    leaves, structure = jax.tree.flatten(pair)
    assert leaves == [x, x, y]
    assert jax.tree.unflatten(structure, leaves) == pair


# Bad input.


def test_replace_raises_an_error_for_unknown_fields():
    for made in (Pair(1), Node(1)):
        with pytest.raises(TypeError, match=r"\.replace: there is no field 'taq'") as caught:
            made.replace(taq=1)
        assert "Did you mean 'tag'?" in str(caught.value)


def test_pytree_node_itself_has_no_instances():
    with pytest.raises(NotImplementedError, match="inherit from it"):
        struct.PyTreeNode()


@pytest.mark.parametrize("bad", [3, lambda x: x, "Pair"])
def test_dataclass_raises_an_error_for_anything_but_a_class(bad):
    with pytest.raises(TypeError, match="expected a class, got"):
        struct.dataclass(bad)


def test_dataclass_raises_an_error_for_a_class_that_is_a_plain_dataclass():
    with pytest.raises(TypeError, match=r"Plain is made a dataclass twice"):

        @struct.dataclass
        @dataclasses.dataclass
        class Plain:
            x: int


@pytest.mark.parametrize("pytree_node", [True, False])
def test_dataclass_raises_an_error_for_init_false(pytree_node):
    with pytest.raises(ValueError, match=r"Late: field 'y' has init=False"):

        @struct.dataclass
        class Late:
            x: int
            y: int = struct.field(pytree_node, init=False, default=3)


def test_dataclass_raises_an_error_for_unknown_arguments():
    with pytest.raises(TypeError, match="bogus"):

        class Bogus(struct.PyTreeNode, bogus=True):
            x: int


@pytest.mark.parametrize("bad", [3.0, None, "x"])
def test_field_raises_an_error_for_a_default_in_place_of_pytree_node(bad):
    with pytest.raises(TypeError, match=r"pytree_node must be True or False, got") as caught:
        struct.field(bad)
    assert "field(default=...)" in str(caught.value)


def test_field_raises_an_error_for_metadata_that_is_not_a_mapping():
    with pytest.raises(TypeError, match="metadata must be a mapping, got int"):
        struct.field(metadata=3)


class Frozen(struct.PyTreeNode):
    x: int = 0


@struct.dataclass(slots=True)
class Slotted:
    x: int = 0


@struct.dataclass
class Sub(Pair):
    z: Any = 0


@pytest.mark.parametrize(("node", "name"), [(Pair(1), "tag"), (Frozen(), "x"), (Slotted(), "x")])
def test_an_assignment_says_how_to_change_a_copy(node, name):
    for change in (lambda: setattr(node, name, 5), lambda: delattr(node, name)):
        with pytest.raises(dataclasses.FrozenInstanceError) as error:
            change()
        text = str(error.value)
        assert type(node).__name__ in text
        assert f"field '{name}'" in text
        assert f"old.replace({name}=...)" in text
    assert getattr(node.replace(**{name: 5}), name) == 5


def test_attributes_that_are_not_fields_raise_the_error_of_dataclasses():
    for node in (Pair(1), Sub(1), Slotted()):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
            node.other = 1

    @struct.dataclass
    class Own:
        x: int = 0

        def __hash__(self):
            return 7

    assert hash(Own()) == 7
    with pytest.raises(dataclasses.FrozenInstanceError, match="Sub: cannot assign to field 'z'"):
        Sub(1).z = 3


def test_a_required_field_after_an_optional_one_has_a_remedy():
    def decorated(**options):
        @struct.dataclass(**options)
        class Child(Pair):
            z: int

        return Child

    def derived(**options):
        class Child(Node, **options):
            z: int

        return Child

    for make in (decorated, derived):
        with pytest.raises(TypeError, match="kw_only=True") as error:
            make()
        assert "Child: non-default argument 'z'" in str(error.value)
        assert make(kw_only=True)(1, z=2).z == 2

    @struct.dataclass
    class Remedied(Pair):
        z: int = struct.field(kw_only=True)

    assert Remedied(1, z=2).z == 2
    with pytest.raises(TypeError, match="Give b a default"):

        @struct.dataclass
        class Own:
            a: int = struct.field(default=1)
            c: int = dataclasses.field(kw_only=True)
            b: int


@pytest.mark.parametrize("array", [np.ones(3), jnp.ones(3), [np.ones(3)]])
def test_an_array_in_the_structure_is_named(array):
    # A class for this function only: JAX's caches compare structures of one class across functions.
    @struct.dataclass
    class Table:
        x: Any
        rows: Any = struct.field(pytree_node=False)

    other = [np.zeros(3)] if isinstance(array, list) else array + 1
    run = jax.jit(lambda node: node.x)
    # An array is never compared with itself.
    assert run(Table(1.0, array)) == run(Table(1.0, array)) == 1.0
    with pytest.raises(TypeError, match="Table.rows is part of the structure") as error:
        run(Table(1.0, other))
    assert "by leaving pytree_node=False out" in str(error.value)
    assert run(Table(1.0, array)) == 1.0
    with pytest.raises(ValueError, match="metadata|Mismatch|mismatch"):
        jax.tree.map(lambda x, y: x, Table(1.0, array), Table(1.0, other))
    assert jax.tree.map(lambda x: x, Table(1.0, array)).rows is array


def test_a_list_or_dict_in_the_structure_is_compared():
    traced = []
    run = jax.jit(lambda node: traced.append(1) or node.x)
    for tag in ([1, "a"], [1, "a"], {"b": 1}, {"b": 1}, [2]):
        run(Pair(1.0, tag))
    assert len(traced) == 3
