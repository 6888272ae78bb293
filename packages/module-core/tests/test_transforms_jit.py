"""`nn.jit` compiles each structure once, and never runs the wrong program.

Also tested: arguments that are handles to variables, bound methods, modules without a scope, and
names that are taken.
"""

import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linnet.module_core import linen as nn
from linnet.module_core.axis_rules import logical_axis_rules
from linnet.module_core.errors import ArgumentError, NameInUseError
from linnet.struct import PyTreeNode, serialization

KEY = jax.random.key(0)
X = jnp.arange(3.0)
ones = jax.nn.initializers.ones


class Dense(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Field(nn.Module):
    """Multiplies by the value that `read` finds in its field, and counts its traces."""

    value: Any
    read: Any
    traces: Any = dataclasses.field(default=None, compare=False)

    @nn.jit
    def __call__(self, x):
        self.traces.count += 1
        return self.read(self.value) * x


class Traces:
    """A count; the fingerprints of two counts are the same."""

    def __init__(self):
        self.count = 0


serialization.register_serialization_state(Traces, lambda traces: {}, lambda traces, _: traces)


class Gain:
    def __init__(self, db):
        self.db = db

    __hash__ = None


serialization.register_serialization_state(
    Gain, lambda gain: {"db": gain.db}, lambda gain, state: Gain(state["db"])
)


class Point(NamedTuple):
    a: float
    b: Any


@dataclasses.dataclass
class Options:
    scale: float
    names: list


class Node(PyTreeNode):
    value: Any


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def same(value):
    return value


KINDS = {
    "int": (lambda n: n, same),
    "float": (lambda n: n / 2, same),
    "list": (lambda n: [n, 1], lambda v: v[0]),
    "dict": (lambda n: {"a": {"b": n}}, lambda v: v["a"]["b"]),
    "set": (lambda n: {n, 7}, lambda v: min(v)),
    "namedtuple": (lambda n: Point(1.0, [n]), lambda v: v.b[0]),
    "partial": (lambda n: functools.partial(jnp.add, n), lambda v: v(1)),
    "dataclass": (lambda n: Options(n, ["a"]), lambda v: v.scale),
    "node": (lambda n: Node(n), lambda v: v.value),
    "node of array": (lambda n: Node(jnp.full(3, n)), lambda v: v.value),
    "numpy": (lambda n: np.full(3, n), same),
    "numpy scalar": (lambda n: np.float32(n), same),
    "jax": (lambda n: jnp.full(3, n), same),
    "state dict": (lambda n: Gain(n), lambda v: v.db),
    "enum": (lambda n: Color(n), lambda v: v.value),
    "module": (lambda n: Dense(n), lambda v: v.features),
    "method": (lambda n: Gain(n).__init__, lambda v: v.__self__.db),
}


@pytest.mark.parametrize("kind", KINDS)
def test_fields_that_are_equal_share_a_program_and_others_do_not(kind):
    make, read = KINDS[kind]
    traces = Traces()
    for expected in (1, 1, 2):
        got = Field(make(expected), read, traces).apply({}, X)
        np.testing.assert_array_equal(got, read(make(expected)) * X)
    assert traces.count == 2


@pytest.mark.parametrize(
    "values", [(2, 2.0, True), (0.0, -0.0), (np.float32(1), np.float16(1)), (1.0, np.ones(()))]
)
def test_fields_that_compare_equal_but_act_differently_are_distinguished(values):
    traces = Traces()
    x = jnp.ones(2, jnp.float16) if isinstance(values[0], np.floating) else jnp.arange(2)
    for value in values:
        got = Field(value, lambda v: jnp.arctan2(v, -1) if v == 0 else v, traces).apply({}, x)
        expected = (jnp.arctan2(value, -1) if np.all(value == 0) else value) * x
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert traces.count == len(values)


def test_a_field_may_be_traced():
    traces = Traces()

    def f(w, x):
        return Field(w, same, traces).apply({}, x)

    for w in (2.0, 3.0):
        assert jax.jit(f)(w, X).tolist() == (w * X).tolist()
        assert jax.grad(lambda w: f(w, X).sum())(w) == 3


class Gate(nn.Module):
    traces: Any

    @nn.compact
    def __call__(self, x):
        self.traces.count += 1
        calls = self.variable("stats", "calls", jnp.zeros, ())
        calls.value += 1
        return Dense(3)(x)


Gates = nn.jit(Gate)


class Stack(nn.Module):
    traces: Any

    @nn.compact
    def __call__(self, x):
        for _ in range(4):
            x = Gates(self.traces)(x)
        return x


def test_equal_siblings_share_a_program_and_keep_their_own_variables():
    traces = Traces()
    model = Stack(traces)
    variables = model.init(KEY, X)
    assert traces.count == 1
    assert set(variables["params"]) == {f"JitGate_{i}" for i in range(4)}
    for step in range(2, 4):
        _, changed = model.apply(variables, X, mutable="stats")
        variables |= changed
        assert all(v["calls"] == step for v in variables["stats"].values())
    assert traces.count == 2


@pytest.mark.parametrize("how", ["path", "name", "parts"])
def test_a_method_that_reads_its_place_is_compiled_for_each(how):
    class Named(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x):
            here = {
                "path": lambda: "/".join(self.path),
                "name": lambda: self.name,
                "parts": lambda: Part(name="part")(),
            }[how]()
            return x + self.variable("state", f"in {here}", jnp.zeros, ()).value

    class Part(nn.Module):
        def __call__(self):
            return self.path[0]

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Named(name="a")(Named(name="b")(x))

    for _ in range(2):
        state = Two().init({}, X)["state"]
        assert {k: list(v) for k, v in state.items()} == {"a": ["in a"], "b": ["in b"]}


def test_what_surrounds_a_call_is_part_of_it():
    seen = []

    class Looks(nn.Module):
        @nn.jit
        def __call__(self, x):
            from linnet.module_core.axis_rules import get_logical_axis_rules

            seen.append(get_logical_axis_rules())
            return x

    Looks().apply({}, X)
    with logical_axis_rules((("a", "b"),)):
        Looks().apply({}, X)
        Looks().apply({}, X)
    assert seen == [(), (("a", "b"),)]


def test_methods_and_functions_have_programs_of_their_own():
    class Pair(nn.Module):
        def plus(self, x):
            return x + 1

        def minus(self, x):
            return x - 1

    def both(m):
        jitted = nn.jit(Pair, methods=["plus", "minus"])()
        plus, minus = (nn.jit(lambda m, sign=sign: jnp.ones(()) * sign) for sign in (1, -1))
        return jitted.plus(0), jitted.minus(0), plus(m), minus(m)

    assert nn.apply(nn.compact(both), Pair())({}) == (1, -1, 1, -1)


def test_a_shared_module_is_compiled_once():
    Shared = nn.jit(Gate)
    traces = Traces()

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            gate = Shared(traces)
            return gate(gate(gate(x)))

    variables = Twice().init({"params": KEY}, X)
    traces.count = 0
    Twice().apply(variables, X, mutable="stats")
    assert traces.count == 1


# Handles to variables.

LIFTS = {
    "jit": nn.jit,
    "remat": nn.remat,
    "fold_rngs": nn.fold_rngs,
    "map_variables": lambda f: nn.map_variables(f, "params"),
    "add_metadata_axis": lambda f: nn.add_metadata_axis(f, {"params": 0}),
    "cond": lambda f: lambda m, *args: nn.cond(True, f, f, m, *args),
}


class Ledger(nn.Module):
    lift: Any

    def setup(self):
        self.account = self.variable("bank", "balance", jnp.zeros, ())

    def __call__(self, x):
        def deposit(m, account, x):
            account.value += x
            return account.value

        return self.lift(deposit)(self, self.account, x)


@pytest.mark.parametrize("lift", LIFTS)
def test_a_variable_may_be_an_argument(lift):
    y, changed = Ledger(LIFTS[lift]).init_with_output({}, 3.0)
    assert y == 3
    assert changed["bank"]["balance"] == 3


def test_a_variable_may_be_a_field_or_a_keyword():
    class Adds(nn.Module):
        accounts: Any

        @nn.jit
        def __call__(self, x, more):
            for account in (*self.accounts["all"], more):
                account.value += x

    class Bank(nn.Module):
        @nn.compact
        def __call__(self, x):
            a, b, c = (self.variable("bank", name, jnp.zeros, ()) for name in "abc")
            Adds({"all": [a, b]})(x, more=c)

    assert Bank().init({}, 2.0)["bank"] == {"a": 2, "b": 2, "c": 2}


# Bound methods, and modules without a scope.


class Router(nn.Module):
    take: Any

    def setup(self):
        self.dense = Dense(3)
        self.other = Dense(3)

    def up(self, x):
        return self.dense(x)

    def down(self, x):
        return -self.dense(x)

    def positive(self, x):
        return x.sum() > 100

    def step(self, x, _):
        return self.dense(x), None

    def __call__(self, x):
        self.dense(x)
        return self.take(self, x)


@pytest.mark.parametrize(
    ("take", "expected"),
    [
        (lambda self, x: nn.cond(True, self.up, self.down, self, x), 3),
        (lambda self, x: nn.switch(1, [self.up, self.down], self, x), -3),
        (lambda self, x: nn.while_loop(self.positive, self.up, self, x), 1),
        (lambda self, x: nn.vjp(self.up, self, x)[0], 3),
        (lambda self, x: nn.jvp(self.up, self, (x,), (x,), {})[0], 3),
        (lambda self, x: nn.jit(self.up)(self, x), 3),
        (lambda self, x: nn.remat(self.down)(self, x), -3),
        (
            lambda self, x: nn.scan(self.step, {"params": nn.broadcast}, length=2)(self, x, None)[
                0
            ],
            9,
        ),
    ],
)
def test_bound_methods_represent_their_functions(take, expected):
    assert Router(take).init_with_output(KEY, jnp.ones(3))[0].tolist() == [expected] * 3


def test_a_bound_method_of_another_module_raises_an_error():
    model = Router(lambda self, x: nn.jit(self.dense.__call__)(self, x))
    with pytest.raises(ArgumentError, match=r"dense \(Dense\)") as error:
        model.init(KEY, X)
    assert "lambda m" in str(error.value)
    fixed = Router(lambda self, x: nn.jit(lambda m, *args: m.dense.__call__(*args))(self, x))
    fixed.init(KEY, X)


def test_a_module_without_a_scope_has_nothing_to_lift():
    class Compiled(nn.Module):
        traces: Any

        @nn.compact
        def __call__(self, x):
            self.traces.count += 1
            return Dense(2)(x)

        @nn.jit
        def init_with_output(self, *args, **kwargs):
            return super().init_with_output(*args, **kwargs)

        @nn.remat
        def apply(self, *args, **kwargs):
            return super().apply(*args, **kwargs)

    traces = Traces()
    for _ in range(2):
        y, variables = Compiled(traces).init_with_output(KEY, X)
    assert traces.count == 1
    np.testing.assert_array_equal(y, Compiled(traces).apply(variables, X))


# Names.


@pytest.mark.parametrize("lift", [nn.jit, nn.remat, nn.fold_rngs])
def test_the_name_of_an_argument_is_taken(lift):
    def clash(m, first):
        Dense(3, name="same")
        return first(X)

    def fits(m, first):
        return Dense(3, name="other")(first(X))

    class Net(nn.Module):
        body: Any

        @nn.compact
        def __call__(self):
            return lift(self.body)(self, Dense(3, name="same"))

    with pytest.raises(NameInUseError, match="same"):
        Net(clash).init(KEY)
    assert set(Net(fits).init(KEY)["params"]) == {"same", "other"}


def test_a_lifted_method_continues_the_names_of_the_method_that_calls_it():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.more(Dense(3)(x))

        def more(self, x):
            return Dense(3)(x)

    class CompactBlock(Block):
        @nn.compact
        def more(self, x):
            return Dense(3)(x)

    class Twice(Block):
        @nn.compact
        def __call__(self, x):
            return self.more(self.more(x))

    for cls in (Block, CompactBlock, Twice):
        for lift in (
            nn.jit,
            nn.remat,
            lambda cls, methods: nn.jit(nn.remat(cls, methods=methods), methods=methods),
        ):
            params = lift(cls, methods=["more"])().init(KEY, X)["params"]
            assert set(params) == {"Dense_0", "Dense_1"}
