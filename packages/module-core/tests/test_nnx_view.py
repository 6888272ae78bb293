"""Views of a module: its variables in other objects, with different settings."""

from typing import Any

import jax.numpy as jnp
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError


class Drop(nnx.Module):
    def __init__(self, rngs=None):
        self.deterministic = False
        self.rate = 0.5
        self.rngs = rngs

    def set_view(self, deterministic: bool | None = None, *, rate: float | None = None):
        """Sets it.

        Args:
          deterministic: whether nothing
            is dropped.
          rate: how much.

        Returns:
          nothing: at all.
        """
        self.deterministic = self.deterministic if deterministic is None else deterministic
        self.rate = self.rate if rate is None else rate


class Any_(nnx.Module):
    def __init__(self):
        self.seen = {}

    def set_view(self, **kwargs: Any):
        self.seen = kwargs


class Model(nnx.Module):
    def __init__(self):
        self.kernel = nnx.Param(jnp.ones(2))
        self.parts = [Drop(nnx.Rngs(0)), Drop()]
        self.named = {"again": self.parts[0]}
        self.deterministic = False


def test_a_view_has_the_variables_and_not_the_objects():
    model = Model()
    seen = nnx.view(model, deterministic=True)
    assert type(seen) is Model
    assert seen is not model
    assert seen.kernel is model.kernel
    assert seen.parts[0].rngs.default.key is model.parts[0].rngs.default.key
    assert seen.named["again"] is seen.parts[0]  # sharing is kept
    assert [p.deterministic for p in seen.parts] == [True, True]
    assert [p.deterministic for p in model.parts] == [False, False]
    assert seen.deterministic is False  # it has no set_view
    seen.kernel[...] = jnp.zeros(2)
    assert not model.kernel[...].any()
    assert nnx.view(model).kernel is model.kernel


def test_each_module_gets_what_it_takes():
    model = nnx.Dict(a=Drop(), b=Any_())
    seen = nnx.view(model, rate=0.1, mode="fast")
    assert (seen.a.rate, seen.a.deterministic) == (0.1, False)
    assert seen.b.seen == {"rate": 0.1, "mode": "fast"}


def test_only_some_modules():
    seen = nnx.view(Model(), only=nnx.PathContains(1), deterministic=True)
    assert [p.deterministic for p in seen.parts] == [False, True]


def test_unused_keys_raise_an_error():
    with pytest.raises(
        ArgumentError,
        match=r"Unused keys found in nnx\.view: \['detrministic', 'x'\]\n.*mean 'deterministic'\?",
    ):
        nnx.view(Model(), detrministic=True, x=1, rate=0.1)
    assert nnx.view(Model(), x=1, raise_if_not_found=False).deterministic is False
    with pytest.raises(ArgumentError, match="deterministic"):
        nnx.view(Model(), only=Model, deterministic=True)


def test_shared_references_raise_an_error_in_tree_mode():
    with pytest.raises(ArgumentError, match="graph=False"):
        nnx.view(Model(), deterministic=True, graph=False)


def test_view_info_says_what_a_view_may_set():
    model = nnx.Dict(m=Model(), z=Any_())
    text = """
Any_:
Drop:
  deterministic: bool | None = None
    whether nothing
    is dropped.
  rate: float | None = None
    how much."""
    assert nnx.view_info(model) == text.strip()
    assert nnx.view_info(model, only=Any_) == "Any_:"
    assert nnx.view_info(nnx.Dict()) == ""


def test_with_attributes_sets_attributes_of_a_copy():
    model = Model()
    new = nnx.with_attributes(model, deterministic=True)
    assert (new.deterministic, model.deterministic) == (True, False)
    assert [p.deterministic for p in new.parts] == [True, True]
    assert new.kernel is model.kernel
    some = nnx.with_attributes(model, only=Drop, deterministic=True)
    assert (some.deterministic, some.parts[0].deterministic) == (False, True)
    with pytest.raises(ArgumentError, match=r"attribute\(s\) 'nowhere'"):
        nnx.with_attributes(model, nowhere=1)
    assert not hasattr(nnx.with_attributes(model, nowhere=1, raise_if_not_found=False), "nowhere")
    listed = nnx.with_attributes([Drop()], rate=0.9)  # any object or container
    assert listed[0].rate == 0.9


def test_there_is_one_kind_of_variables():
    model = Model()
    new = nnx.with_vars(model, hijax=False, ref=False)
    assert new is not model
    assert new.kernel is model.kernel
    with pytest.raises(
        ArgumentError, match="ref=True is not supported: Linnet has neither references"
    ):
        nnx.vars_as(model, ref=True)


class Reader(nnx.Module):
    """Adds up its inputs in a variable that a view makes; scales them by a parameter."""

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(3))
        self.count = nnx.Cache(jnp.zeros((), jnp.int32))
        self.seen = None

    def set_view(self, size: int | None = None, count: int | None = None):
        assert self.scale.shape == (3,)
        if count is not None:
            self.count.set_value(jnp.asarray(count, jnp.int32))
        if size is not None and (self.seen is None or self.seen.shape != (size,)):
            self.seen = nnx.Cache(jnp.zeros(size))

    def __call__(self, x):
        if self.seen is not None:
            self.seen.set_value(self.seen.get_value() + jnp.sum(x))
        return x * self.scale


@pytest.mark.parametrize(("each", "steps"), [(1, 4), (2, 2)])
def test_a_view_makes_variables_for_all_layers_of_a_repeat(each, steps):
    model = nnx.List([nnx.Repeat([Reader] * each, 4)])
    reader = nnx.view(model, size=2)
    names = ["block"] if each == 1 else ["block_0", "block_1"]
    for name in names:
        block, original = getattr(reader[0], name), getattr(model[0], name)
        assert block.seen.shape == (steps, 2)
        assert block.scale is original.scale
        assert block.count is original.count
        assert original.seen is None
    assert reader[0](jnp.ones(3)).shape == (3,)
    again = nnx.view(reader, size=2, count=7)
    for name in names:
        block = getattr(again[0], name)
        assert block.seen is getattr(reader[0], name).seen
        assert block.seen[...].tolist() == [[3.0, 3.0]] * steps
        assert block.count[...].tolist() == [7] * steps


def test_a_view_in_nested_repeats():
    def inner():
        return nnx.Repeat(Reader, 2)

    abstract = nnx.eval_shape(lambda: nnx.Repeat(inner, 3))
    reader = nnx.view(abstract, size=2)
    assert reader.block.block.seen.shape == (3, 2, 2)
    assert reader.block.block.scale.shape == (3, 2, 3)


def test_caches_of_repeated_layers_have_the_name_of_the_layers_axis():
    class Named(Reader):
        def set_view(self, size: int | None = None):
            if size is not None:
                self.seen = nnx.Cache(jnp.zeros(size), out_sharding=("length",))

    reader = nnx.view(nnx.Repeat(Named, 3, axis_name="layers"), size=2)
    assert reader.block.seen.out_sharding == ("layers", "length")
