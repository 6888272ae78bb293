"""Attributes of nnx objects follow Python's data model; containers follow Python's containers."""

import abc
import functools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import nnx
from linnet.module_core.errors import ArgumentError, ArgumentTypeError, TraceContextError


class Plain(nnx.Module):
    def __init__(self):
        self.weight = nnx.Param(jnp.ones(2))

    def __call__(self):
        return self.weight[...] * 1


class Doubled(Plain):
    def __call__(self):
        return super().__call__() * 2


class TestClassAssignment:
    def test_it_changes_the_class(self):
        module = Plain()
        module.__class__ = Doubled
        assert type(module) is Doubled
        assert "__class__" not in vars(module)
        assert module().tolist() == [2.0, 2.0]

    def test_it_is_seen_by_what_was_remembered(self):
        model = nnx.Dict(inner=Plain())
        run = nnx.jit(lambda m: m.inner())
        graphdef = nnx.graphdef(model)
        assert run(model).tolist() == [1.0, 1.0]
        model.inner.__class__ = Doubled
        assert nnx.graphdef(model) != graphdef
        assert run(model).tolist() == [2.0, 2.0]
        assert type(nnx.clone(model).inner) is Doubled

    def test_inside_of_a_transform_it_reaches_the_caller(self):
        @nnx.jit
        def change(model):
            model.inner.__class__ = Doubled

        model = nnx.Dict(inner=Plain())
        inner = model.inner
        change(model)
        assert model.inner is inner
        assert type(inner) is Doubled

    def test_a_different_layout_raises_an_error(self):
        with pytest.raises(TypeError, match="__class__ assignment"):
            Plain().__class__ = int

    def test_another_dict_is_seen(self):
        model = nnx.Dict(a=nnx.Param(1.0))
        nnx.state(model)
        model.__dict__ = {"b": nnx.Param(2.0)}
        assert list(nnx.state(model)) == ["b"]


class Recorded:
    """A data descriptor other than a property."""

    def __set_name__(self, owner, name):
        self.name = f"_{name}"

    def __get__(self, obj, cls=None):
        return self if obj is None else getattr(obj, self.name)

    def __set__(self, obj, value):
        setattr(obj, self.name, value)

    def __delete__(self, obj):
        delattr(obj, self.name)


class Hidden:
    """A descriptor that can't be looked up on the class."""

    def __get__(self, obj, cls=None):
        if obj is None:
            raise AttributeError
        return "hidden"

    def __set__(self, obj, value):
        raise AttributeError("read only")


class Described(nnx.Module):
    recorded = Recorded()
    hidden = Hidden()

    @property
    def scale(self):
        return self._scale * 2

    @scale.setter
    def scale(self, value):
        self._scale = value

    @scale.deleter
    def scale(self):
        del self._scale

    @property
    def fixed(self):
        return 1

    @functools.cached_property
    def table(self):
        return (1, 2)


class TestDescriptors:
    def test_data_descriptors_are_asked(self):
        module = Described()
        module.recorded = nnx.Param(1.0)
        module.scale = 3
        assert set(vars(module)) == {"_recorded", "_scale"}
        assert module.scale == 6
        assert nnx.state(module)["_recorded"] is module.recorded
        del module.recorded, module.scale
        assert not vars(module)

    def test_what_raises_an_error_there_raises_one_here(self):
        module = Described()
        with pytest.raises(AttributeError, match="fixed"):
            module.fixed = 2
        with pytest.raises(AttributeError, match="read only"):
            module.hidden = 2
        assert not vars(module)

    def test_others_are_shadowed(self):
        module = Described()
        assert module.table == (1, 2)
        module.table = (3,)
        assert module.table == (3,)

    def test_slots_would_be_lost(self):
        with pytest.raises(ArgumentTypeError, match="Slotted has __slots__"):

            class Slotted(nnx.Module):
                __slots__ = ("kernel",)

    def test_no_name_of_the_core_is_in_the_way(self):
        module = nnx.Module()
        for name in ("_marks", "_stamp", "_structure", "_description", "_is_data"):
            setattr(module, name, nnx.Param(1.0))
        assert len(nnx.to_flat_state(nnx.state(module))) == 5
        assert len(nnx.to_flat_state(nnx.state(pickle.loads(pickle.dumps(module))))) == 5

    def test_generic_classes_keep_their_attributes_clean(self):
        assert set(vars(nnx.List[int]([1]))) == {"_length", "0"}


class TestAbstractMethods:
    def test_they_are_enforced(self):
        class Base(nnx.Module):
            @abc.abstractmethod
            def features(self): ...

            @property
            @abc.abstractmethod
            def size(self): ...

        class Half(Base):
            def features(self): ...

        class Whole(Half):
            size = 3

        for cls in (Base, Half, nnx.dataclass(Half)):
            with pytest.raises(TypeError, match="abstract"):
                cls()
        assert Whole().size == 3

    def test_metaclasses_of_the_user_s_own_work(self):
        class Registered(type):
            pass

        class Base(nnx.Module, metaclass=Registered):
            @abc.abstractmethod
            def features(self): ...

        with pytest.raises(TypeError, match="features"):
            Base()


ARRAYS = {
    "an array": lambda: jnp.ones(2),
    "a NumPy array": lambda: np.ones(2),
    "a variable": lambda: nnx.Param(1.0),
    "a module": Plain,
    "a list of them": lambda: [jnp.ones(2)],
}


@pytest.mark.parametrize("name", ARRAYS)
class TestStaticData:
    def test_it_raises_an_error(self, name):
        class Annotated(nnx.Module):
            table: nnx.Static[tuple]

        @nnx.dataclass
        class Declared(nnx.Pytree):
            table: tuple = nnx.static()

        value = ARRAYS[name]()
        marked, annotated = nnx.Module(), Annotated()
        later = nnx.Module()
        later.table = nnx.static((1, 2))
        for assign in (
            lambda: setattr(marked, "table", nnx.static(value)),
            lambda: setattr(annotated, "table", value),
            lambda: setattr(later, "table", value),
            lambda: Declared(table=value),
        ):
            with pytest.raises(ArgumentError, match=r"\.table is marked as static.*holds data"):
                assign()
        assert later.table == (1, 2)
        later.table = nnx.data(value)
        assert jax.tree.leaves(later)

    def test_it_is_allowed_outside_trees(self, name):
        class Loose(nnx.Module, pytree=False):
            def __init__(self, value):
                self.table = nnx.static(value)

        assert not nnx.state(Loose(ARRAYS[name]()))


class TestContainers:
    @pytest.mark.parametrize(
        "act",
        [
            lambda x: x.append(7),
            lambda x: x.extend(x),
            lambda x: x.insert(1, 7),
            lambda x: x.insert(-1, 7),
            lambda x: x.insert(99, 7),
            lambda x: x.pop(),
            lambda x: x.pop(0),
            lambda x: x.pop(-2),
            lambda x: x.pop(99),
            lambda x: x.remove(2),
            lambda x: x.remove(99),
            lambda x: x.reverse(),
            lambda x: x.clear(),
            lambda x: x.index(3),
            lambda x: x.count(3),
            lambda x: x[1],
            lambda x: x[-1],
            lambda x: x[99],
            lambda x: x[1:],
            lambda x: x[::-1],
            lambda x: x["0"],
            lambda x: x.__setitem__(-1, 7),
            lambda x: x.__setitem__(99, 7),
            lambda x: x.__setitem__(slice(0, 2), [7]),
            lambda x: x.__setitem__(slice(0, 0), [7, 8, 9]),
            lambda x: x.__setitem__(slice(None, None, 2), [7]),
            lambda x: x.__delitem__(0),
            lambda x: x.__delitem__(slice(0, 2)),
            lambda x: x.__delitem__(99),
            lambda x: 3 in x,
            lambda x: bool(x),
            lambda x: list(reversed(x)),
            lambda x: hash(x),
        ],
    )
    def test_a_list_does_what_a_list_does(self, act):
        mine, other = nnx.List([1, 2, 3, 3]), [1, 2, 3, 3]
        results = []
        for x in (mine, other):
            try:
                results.append(act(x))
            except (IndexError, ValueError, TypeError) as error:
                results.append(type(error))
        assert results[0] == results[1]
        assert list(mine) == other
        assert set(vars(mine)) == {"_length", *map(str, range(len(other)))}

    def test_lists_are_equal_by_their_items(self):
        assert nnx.List([1, 2]) == nnx.List([1, 2])
        assert nnx.List([1]) != nnx.List([2])
        assert nnx.List([1]) != [1]

    def test_a_list_may_grow_while_it_is_read(self):
        items = nnx.List([0])
        for x in items:
            if x < 3:
                items.append(x + 1)
        assert list(items) == [0, 1, 2, 3]

    def test_a_dict_does_what_a_dict_does(self):
        d = nnx.Dict(a=1, b=2)
        for act in (lambda: d["z"], lambda: d.pop("z"), lambda: d.__delitem__("z"), lambda: d[3]):
            with pytest.raises(KeyError):
                act()
        del d["a"]
        assert dict(d) == {"b": 2}
        assert (d.pop("z", 5), d.setdefault("c", 3), d.popitem()) == (5, 3, ("b", 2))
        with pytest.raises(AttributeError):
            del d.z
        d.clear()
        assert not d

    def test_a_sequence_of_nothing_returns_its_arguments(self):
        nothing = nnx.Sequential()
        x = jnp.ones(2)
        assert nothing(x) is x
        assert nothing(x, train=True) is x
        assert nothing(x, rngs=nnx.Rngs(0)) is x
        assert nothing(1, None) == (1, None)
        assert nothing((1, 2)) == (1, 2)
        assert nothing() is None
        assert nothing(a=1) == {"a": 1}


def test_variables_of_plain_values_have_the_operations_of_these():
    number, items = nnx.Variable(1.5), nnx.Variable({"a": 1, "b": 2})
    assert (math.floor(number), math.ceil(number), math.trunc(number)) == (1, 2, 1)
    del items["a"]
    assert items.get_value() == {"b": 2}
    variable = nnx.Param(jnp.ones(2), unit="volt")
    assert variable.get_metadata(exclude_required=True) == {"unit": "volt"}

    @jax.jit
    def f(x):
        with pytest.raises(TraceContextError):
            variable.set_raw_value(x)
        with pytest.raises(TraceContextError):
            del items["b"]
        variable.set_raw_value(3.0, _unsafe_bypass_check=True)

    f(1.0)
    assert variable.get_value() == 3.0
