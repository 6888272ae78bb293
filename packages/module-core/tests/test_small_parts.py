"""Filters, switches, dtypes, and the modules that an import loads."""

import contextvars

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.module_core import config as config_module
from linnet.module_core import linen, nnx, typing
from linnet.module_core.dtypes import canonicalize_dtype, promote_dtype
from linnet.module_core.errors import ArgumentError, DtypeError, InvalidFilterError
from linnet.module_core.linen import DenyList
from linnet.module_core.linen.filters import (
    group_collections,
    in_filter,
    intersect_filters,
    subtract_filters,
    union_filters,
)

NAMES = ["a", "b", "c", "d"]
finite = st.one_of(
    st.booleans(),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(NAMES)),
    st.sets(st.sampled_from(NAMES)),
)
filters = st.one_of(finite, finite.map(DenyList), finite.map(DenyList).map(DenyList))


@given(filters, filters, st.sampled_from(NAMES))
def test_filters_are_an_algebra_of_sets(a, b, name):
    in_a, in_b = in_filter(a, name), in_filter(b, name)
    assert in_filter(union_filters(a, b), name) == (in_a or in_b)
    assert in_filter(intersect_filters(a, b), name) == (in_a and in_b)
    assert in_filter(subtract_filters(a, b), name) == (in_a and not in_b)
    assert in_filter(DenyList(a), name) != in_a


def test_results_of_the_algebra_are_readable():
    assert union_filters(DenyList(["a", "b"]), "a") == DenyList({"b"})
    assert subtract_filters(True, "a") == DenyList("a")
    assert intersect_filters("a", "b") is False
    assert union_filters(DenyList("a"), "a") is True
    assert hash(DenyList("a")) == hash(DenyList(["a"]))
    assert repr(DenyList("a")) == "DenyList(deny='a')"
    with pytest.raises(InvalidFilterError, match=r"3\.5"):
        in_filter(3.5, "a")


def test_collections_go_to_the_first_filter_that_matches():
    groups = group_collections({"a": 1, "b": 2, "c": 3}, ["b", DenyList("c")])
    assert groups == ({"b": 2}, {"a": 1})


def test_switches():
    config = config_module.config
    with config_module.temp_flip_flag("return_frozendict", True):
        assert config.flax_return_frozendict is True
        assert "flax_return_frozendict=True" in repr(config)
    assert config.flax_return_frozendict is False
    for attempt in (
        lambda: config.update("no_such", 1),
        lambda: setattr(config, "no_such", 1),
        lambda: config_module.temp_flip_flag("no_such", True).__enter__(),
    ):
        with pytest.raises(LookupError, match="no_such"):
            attempt()


@pytest.mark.parametrize(
    ("name", "always"),
    [("flax_array_ref", False), ("flax_hijax_variable", False), ("flax_pytree_module", True)],
)
def test_switches_that_have_one_value(name, always, monkeypatch):
    config_module.config.update(name, always)
    with pytest.raises(ArgumentError, match=f"{name} is always {always}"):
        config_module.config.update(name, not always)
    monkeypatch.setenv(name.upper(), str(int(not always)))
    with pytest.raises(ArgumentError, match=f"{name} is always {always}"):
        config_module.Config()


def test_switches_of_modes():
    # In a separate context: if an earlier test has set a mode, switches have no effect.
    contextvars.Context().run(check_switches_of_modes)


def check_switches_of_modes():
    config = config_module.config
    for name, current in (
        ("nnx_graph_mode", nnx.set_graph_mode.current_value),
        ("nnx_graph_updates", nnx.set_graph_updates.current_value),
        ("flax_always_shard_variable", nnx.using_eager_sharding),
    ):
        assert current() is True
        config.update(name, False)
        assert current() is False
        config.update(name, True)


def test_a_switch_of_a_program_s_own(monkeypatch):
    config = config_module.config
    monkeypatch.setenv("AN_OWN_SWITCH", "no")
    holder = config_module.bool_flag("an_own_switch", default=True, help="It is mine.")
    number = config_module.int_flag("an_own_number", default=None, help="It counts.")
    try:
        assert (holder.value, config.an_own_switch, number.value) == (False, False, None)
        config.update(holder, True)
        config.an_own_number = 3
        assert (holder.value, number.value, holder.__doc__) == (True, 3, "It is mine.")
        with pytest.raises(TypeError, match=r"Use an_own_switch\.value"):
            bool(holder)
        with pytest.raises(RuntimeError, match="The switch an_own_switch already exists"):
            config_module.bool_flag("an_own_switch", default=True, help="")
    finally:
        del vars(config)["an_own_switch"], vars(config)["an_own_number"]
    monkeypatch.setenv("A_NUMBER", "many")
    with pytest.raises(ArgumentError, match="A_NUMBER is 'many', expected an integer"):
        config_module.static_int_env("A_NUMBER", None)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("off", False), ("Yes", True)])
def test_switches_from_the_environment(monkeypatch, text, value):
    monkeypatch.setenv("FLAX_FIX_RNG_SEPARATOR", text)
    assert config_module.Config().flax_fix_rng_separator is value


def test_a_switch_that_is_neither_yes_nor_no(monkeypatch):
    monkeypatch.setenv("FLAX_FIX_RNG_SEPARATOR", "perhaps")
    with pytest.raises(ArgumentError, match="FLAX_FIX_RNG_SEPARATOR is 'perhaps'"):
        config_module.Config()


@pytest.mark.parametrize(
    ("args", "dtype", "expected"),
    [
        ((jnp.ones(1, jnp.float32), jnp.ones(1, jnp.bfloat16)), None, jnp.float32),
        ((jnp.ones(1, jnp.int32), None), None, jnp.float32),
        ((jnp.ones(1, jnp.int32), jnp.ones(1, jnp.bfloat16)), None, jnp.bfloat16),
        ((jnp.ones(1, jnp.float16), jnp.ones(1, jnp.bfloat16)), None, jnp.float32),
        ((jnp.ones(1),), jnp.bfloat16, jnp.bfloat16),
        ((jnp.ones(1, jnp.complex64), jnp.ones(1)), None, jnp.complex64),
        ((True, 2), None, jnp.float32),
    ],
)
def test_the_rule_for_dtypes(args, dtype, expected):
    assert canonicalize_dtype(*args, dtype=dtype) == expected
    for given_, cast in zip(args, promote_dtype(*args, dtype=dtype), strict=True):
        assert (cast is None) == (given_ is None)
        assert cast is None or cast.dtype == expected


def test_integer_dtypes_are_for_those_who_ask():
    with pytest.raises(DtypeError, match="Dtype must be inexact.*int32"):
        canonicalize_dtype(jnp.ones(1), dtype=jnp.int32)
    assert canonicalize_dtype(np.ones(1, np.int32), inexact=False) == jnp.int32


def test_types_that_programs_annotate_with():
    for name in typing.__all__:
        assert getattr(typing, name) is not None, name
    assert typing.In is linen.In
    assert typing.Out is linen.Out
    assert isinstance(linen.In(0), typing.InOutAxis)
    assert not isinstance(None, typing.InOutScanAxis)
    assert typing.Initializer.__origin__ is not None  # usable in annotations of fields
    assert nnx.VariableState is nnx.Variable
