"""How children get their names and places."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core.config import temp_flip_flag
from linnet.module_core.errors import (
    AssignSubModuleError,
    CallCompactUnboundModuleError,
    CallSetupUnboundModuleError,
    CallShareScopeOnUnboundModuleError,
    NameInUseError,
    SetAttributeFrozenModuleError,
    SetAttributeInModuleSetupError,
)
from linnet.module_core.linen import (
    Module,
    Sequential,
    compact,
    compact_name_scope,
    nowrap,
    share_scope,
)
from linnet.struct import FrozenDict, dataclass

KEY = jax.random.key(0)
X = jnp.ones((1, 2))
ones = jax.nn.initializers.ones


class Scale(Module):
    """One parameter, so that a tree of parameters shows where modules are."""

    @compact
    def __call__(self, x):
        return x * self.param("s", ones, ())


def paths(variables):
    """The modules that have a parameter."""
    flat = jax.tree_util.tree_flatten_with_path(variables["params"])[0]
    return {"/".join(k.key for k in path[:-1]) for path, _ in flat}


def paths_of(model):
    return paths(model.init(KEY, X))


def run(body):
    """The places of the modules in a compact method."""

    class Net(Module):
        @compact
        def __call__(self, x):
            return body(self, x)

    return paths_of(Net())


def test_automatic_names_count_by_class_and_skip_explicit_ones():
    class Other(Scale):
        pass

    def body(self, x):
        for module in (Scale(name="Scale_5"), Scale(), Other(), Scale(name="z"), Scale(), Other()):
            x = module(x)
        return x

    assert run(body) == {"Scale_5", "Scale_0", "Other_0", "z", "Scale_1", "Other_1"}


def test_an_automatic_name_never_skips_a_taken_one():
    with pytest.raises(NameInUseError, match='Could not create submodule "Scale_0" in Module Net'):
        run(lambda self, x: Scale(name="Scale_0")(x) + Scale()(x))


@pytest.mark.parametrize(
    "body",
    [
        lambda self, x: Scale(name="a")(x) + Scale(name="a")(x),
        lambda self, x: Scale(name="a")(x) + self.param("a", ones, ()),
        lambda self, x: self.param("a", ones, ()) + self.param("a", ones, ()),
        lambda self, x: self.param("a", ones, ()) + Scale(name="a")(x),
        lambda self, x: self.param("a", ones, ()) + self.variable("params", "a", jnp.ones).value,
    ],
)
def test_a_name_is_used_once(body):
    with pytest.raises(NameInUseError, match='"a" in Module Net: Name in use'):
        run(body)


def test_one_name_in_two_collections_is_fine():
    def body(self, x):
        return self.param("a", ones, ()) * self.variable("state", "a", jnp.ones, ()).value

    assert run(body) == {""}


def test_setup_names_by_attribute_and_path():
    class Net(Module):
        def setup(self):
            self.one = Scale()
            self.listed = [Scale(), Scale()]
            self.nested = {"b": [Scale(), {"c": Scale()}], 3: Scale()}
            self.told = Scale(name="explicit")

        def __call__(self, x):
            assert type(self.listed) is tuple
            assert type(self.nested) is FrozenDict
            modules = (self.one, *self.listed, self.nested["b"][0], self.nested["b"][1]["c"])
            for module in (*modules, self.nested[3], self.told):
                x = module(x)
            return x

    assert paths_of(Net()) == {
        *("one", "listed_0", "listed_1", "nested_b_0", "nested_b_1_c", "nested_3", "explicit")
    }


def test_unused_modules_of_setup_leave_no_trace():
    class Net(Module):
        def setup(self):
            self.unused = Scale()

        def __call__(self, x):
            return x

    assert Net().init(KEY, X) == {}


def test_fields_name_the_modules_given_to_a_constructor():
    class Net(Module):
        sub: Any
        many: Any
        table: Any

        def __call__(self, x):
            for module in (self.sub, *self.many, self.table["q"]):
                x = module(x)
            return x

    model = Net(Scale(name="dropped"), [Scale(), Scale()], {"q": Scale(), "r": 3})
    assert paths_of(model) == {"sub", "many_0", "many_1", "table_q"}
    assert type(model.many) is list  # the user's module is as it was
    assert model.sub.scope is None
    with temp_flip_flag("preserve_adopted_names", True):
        assert paths_of(model) == {"dropped", "many_0", "many_1", "table_q"}

    class Keeps(Net):
        preserve_adopted_names = True

    assert "dropped" in paths_of(Keeps(Scale(name="dropped"), [Scale()], {"q": Scale()}))


def test_modules_in_struct_dataclasses_and_tuples():
    @dataclass
    class Pair:
        left: Any
        right: Any

    class Net(Module):
        pair: Any

        def __call__(self, x):
            return self.pair.left(self.pair.right[1](x))

    assert paths_of(Net(Pair(Scale(), (3, Scale())))) == {"pair_left", "pair_right_1"}


def test_one_module_given_twice_has_one_set_of_parameters():
    class Two(Module):
        a: Any
        b: Any

        def __call__(self, x):
            return self.a(self.b(x))

    shared = Scale()
    assert paths_of(Two(shared, shared)) == {"a"}
    assert paths_of(Two(Two(shared, Scale()), Two(Scale(), shared))) == {"a/a", "a/b", "b/a"}


def test_a_module_made_in_compact_keeps_its_place_wherever_it_is_passed():
    def body(self, x):
        return Sequential([Scale(), Scale(parent=None), lambda y: Scale()(y)])(x)

    assert run(body) == {"Scale_0", "Sequential_0/layers_1", "Sequential_0/Scale_0"}


def test_a_module_waiting_in_setup_belongs_to_whom_it_is_passed_to():
    class Net(Module):
        def setup(self):
            self.chain = Sequential([Scale(), Scale(name="mine")])

        def __call__(self, x):
            return self.chain(x)

    assert paths_of(Net()) == {"chain/layers_0", "mine"}


def test_a_module_that_waits_in_vain_says_so():
    class Net(Module):
        def setup(self):
            Scale()(X)

        def __call__(self, x):
            return x

    with pytest.raises(CallCompactUnboundModuleError, match="assigned to self"):
        Net().init(KEY, X)


def test_compact_methods_share_names_and_setup_names_stay_taken():
    class Net(Module):
        @compact
        def up(self, x):
            return Scale()(x)

        @compact
        def down(self, x):
            return Scale()(x)

        def __call__(self, x):
            return self.up(self.down(self.up(x)))

    assert paths_of(Net()) == {"Scale_0"}

    class Mixed(Module):
        def setup(self):
            self.Scale_0 = Scale()

        @compact
        def __call__(self, x):
            return Scale()(x)

    bound = Mixed().bind({}, rngs=KEY, mutable=True)
    for _ in range(2):
        with pytest.raises(NameInUseError, match="Scale_0"):
            bound(X)


def test_a_compact_method_that_calls_another_continues_counting():
    class Net(Module):
        @compact
        def inner(self, x):
            return Scale()(x)

        @compact
        def __call__(self, x):
            return Scale()(self.inner(Scale()(x)))

    assert paths_of(Net()) == {"Scale_0", "Scale_1", "Scale_2"}


def test_name_scopes():
    class Net(Module):
        @compact_name_scope
        def up(self, x):
            return Scale()(Scale()(x))

        @compact
        def __call__(self, x):
            return Scale()(self.up(self.up(x)))

    assert paths_of(Net()) == {"up/Scale_0", "up/Scale_1", "Scale_0"}


class LowRank(Module):
    base: Any

    def setup(self):
        share_scope(self, self.base)

    @compact
    def __call__(self, x):
        return self.base(x) + self.param("a", ones, ())


def test_share_scope_moves_a_child_up_or_follows_a_stranger():
    assert set(LowRank(Scale()).init(KEY, X)["params"]) == {"s", "a"}

    class Net(Module):
        @compact
        def __call__(self, x):
            return LowRank(Scale(name="base"))(x)

    assert set(Net().init(KEY, X)["params"]["base"]) == {"s", "a"}

    class Deep(Module):
        def setup(self):
            self.inner = Scale()

        def __call__(self, x):
            return self.inner(x)

    assert paths_of(LowRank(Deep())) == {"", "inner"}
    with pytest.raises(CallShareScopeOnUnboundModuleError, match="Scale"):
        share_scope(Scale(), Scale())


def test_where_modules_may_be_made():
    class Plain(Module):
        def __call__(self, x):
            return Scale()(x)

    with pytest.raises(AssignSubModuleError, match="made a submodule Scale in a method"):
        Plain().init(KEY, X)

    class Free(Module):
        def __call__(self, x):
            return Scale(parent=None)

    assert Free().apply({}, X).scope is None

    class Helped(Module):
        @nowrap
        def make(self):
            return Scale()

        @compact
        def __call__(self, x):
            return self._inner(x)

        def _inner(self, x):
            return self.make()(x)

    assert paths_of(Helped()) == {"Scale_0"}


def test_attributes_are_set_in_setup_only():
    class Late(Module):
        def __call__(self, x):
            self.y = x

    with pytest.raises(SetAttributeFrozenModuleError, match="Can't set y="):
        Late().apply({}, X)

    class Over(Module):
        width: int = 1

        def setup(self):
            self.width = 2

        def __call__(self):
            pass

    with pytest.raises(SetAttributeInModuleSetupError, match="width"):
        Over().apply({})
    with pytest.raises(CallSetupUnboundModuleError, match="Over"):
        Over().setup()


def test_lists_and_dicts_of_a_bound_module_are_immutable():
    class Net(Module):
        sizes: Any

        def setup(self):
            self.mine = [1, [2]]
            self.table = {"a": [3]}

        def __call__(self):
            return self.sizes, self.mine, self.table

    sizes, mine, table = Net([1, {"k": [2]}]).apply({})
    assert sizes == (1, FrozenDict({"k": (2,)}))
    assert mine == (1, (2,))
    assert table == FrozenDict({"a": (3,)})


def test_setup_runs_once_and_only_when_needed():
    runs = []

    class Net(Module):
        def setup(self):
            runs.append(1)
            self.a = Scale()

        def __call__(self, x):
            return self.a(self.a(x))

    bound = Net().bind({"params": {"a": {"s": 2.0}}})
    assert runs == []
    assert bound(X).sum() == 8
    assert bound.a(X).sum() == 4
    assert runs == [1]


def test_setup_that_fails_can_run_again():
    class Net(Module):
        def setup(self):
            self.a = Scale()
            raise RuntimeError("no")

        def __call__(self, x):
            return x

    bound = Net().bind({})
    with pytest.raises(RuntimeError, match="no"):
        bound(X)
    with pytest.raises((RuntimeError, NameInUseError)):
        bound(X)
