"""Features for tools that change how a model computes, such as quantizers, profilers and adapters.

These tools ask which module is running, wrap methods again, and create variables in any method.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

from linnet.module_core import errors, linen
from linnet.module_core.linen.context import context
from linnet.module_core.linen.methods import wrap_method_once
from linnet.module_core.replaced import watch


def test_the_module_that_runs_is_on_a_stack_that_others_can_read():
    seen = []

    class Inner(linen.Module):
        def __call__(self, x):
            seen.append(context.module_stack)
            context.module_stack.clear()  # a copy
            return x

    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x):
            return Inner(name="inner")(x)

    Outer().apply({}, 1)
    (stack,) = seen
    assert stack[0] is None
    assert [m.path for m in stack[1:]] == [(), ("inner",)]
    assert context.module_stack == [None]


def test_a_method_can_be_unwrapped_and_wrapped_again():
    class Scale(linen.Module):
        @linen.compact
        def __call__(self, x):
            return x * self.param("scale", jax.nn.initializers.ones, ())

    method = Scale.__call__
    assert method.method_handler_wrapped
    inner = method.__wrapped__
    assert not hasattr(inner, "method_handler_wrapped")

    @functools.wraps(inner)
    def doubled(self, x):
        return 2 * inner(self, x)

    other = type("Scale", (Scale,), {"__call__": wrap_method_once(doubled)})
    assert wrap_method_once(other.__call__) is other.__call__
    variables = other().init(jax.random.key(0), 3.0)
    assert other().apply(variables, 3.0) == 6.0
    # The class doesn't wrap an explicitly wrapped method a second time.
    assert not hasattr(other.__call__.__wrapped__, "method_handler_wrapped")


def test_a_scope_makes_variables_anywhere_in_a_method():
    class Counts(linen.Module):
        def __call__(self, x):  # not compact
            count = self.scope.variable("counts", "n", jnp.zeros, (), jnp.int32)
            if count.is_mutable():
                count.value += 1
            return self.scope.param("scale", lambda key: jnp.float32(2)) * x

    variables = Counts().init(jax.random.key(0), 1.0)
    assert jax.tree.map(float, variables) == {"counts": {"n": 1.0}, "params": {"scale": 2.0}}
    y, changed = Counts().apply(variables, 3.0, mutable=["counts"])
    assert (float(y), int(changed["counts"]["n"])) == (6.0, 2)
    with pytest.raises(errors.ScopeVariableNotFoundError, match='"n"'):
        Counts().apply({"params": {"scale": 2.0}, "counts": {"m": 1}}, 3.0)


def test_a_replaced_function_is_noticed_by_name_and_by_code(monkeypatch):
    is_replaced = watch(jnp, "dot")
    assert not is_replaced()
    with monkeypatch.context() as patch:
        patch.setattr(jnp, "dot", lambda a, b: a)
        assert is_replaced()
    assert not is_replaced()

    function = jax.lax.dot_general
    is_replaced = watch(jax.lax, "dot_general")
    code = function.__code__
    try:
        function.__code__ = (lambda *args, **kwargs: None).__code__
        assert is_replaced()
    finally:
        function.__code__ = code
    assert not is_replaced()


def test_a_function_is_known_as_it_was_when_linnet_was_imported(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(jnp, "einsum", lambda *args: args[0])
        assert watch(jnp, "einsum")()  # asked for now, but seen before
    assert not watch(jnp, "einsum")()
