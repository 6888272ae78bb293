"""Nested mappings as flat ones, and back."""

from types import MappingProxyType

import pytest

from linnet.module_core import nnx
from linnet.module_core.nnx.traversals import (
    empty_node,
    flatten_mapping,
    flatten_to_sequence,
    unflatten_mapping,
)

NESTED = {"a": {"b": 1, "c": {}}, 3: [4]}


def test_there_and_back():
    flat = flatten_mapping(NESTED, keep_empty_nodes=True)
    assert flat == {("a", "b"): 1, ("a", "c"): empty_node, (3,): [4]}
    assert unflatten_mapping(flat) == NESTED
    assert unflatten_mapping(list(flat.items())) == NESTED
    assert flatten_to_sequence(NESTED) == [(("a", "b"), 1), ((3,), [4])]


def test_names_joined():
    flat = flatten_mapping({"a": {"b": 1}}, sep="/")
    assert flat == {"a/b": 1}
    assert unflatten_mapping(flat, sep="/") == {"a": {"b": 1}}
    with pytest.raises(TypeError, match="3"):
        flatten_mapping(NESTED, sep="/")


def test_any_mapping_is_flattened():
    state = nnx.State({"a": {"b": 1}})
    assert flatten_mapping(state) == {("a", "b"): 1}
    assert flatten_mapping(MappingProxyType({"x": state})) == {("x", "a", "b"): 1}
    with pytest.raises(TypeError, match="int"):
        flatten_mapping(3)


def test_leaves_by_one_s_own_word():
    inner = MappingProxyType({"b": 1})

    def is_leaf(path, x):
        return path == ("a",)

    (leaf,) = flatten_mapping({"a": inner}, is_leaf=is_leaf).values()
    assert leaf is inner
    assert flatten_to_sequence({"a": {"b": 1}}, is_leaf=is_leaf) == [(("a",), {"b": 1})]
