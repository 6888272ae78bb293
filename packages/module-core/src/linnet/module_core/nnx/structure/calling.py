"""`call`: calls a method of a split module, as a function of its state.

The expression before the call, `call(split).encoder.layers[0]`, is only recorded; the call merges
the module, follows the recorded steps to the method, and splits the module again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...accepted import accepted
from ...records import Record
from ...typing import Output
from .graph import merge, split
from .graphdef import GraphDef


class GetAttr(Record):
    """A recorded attribute access."""

    name: str

    def __init__(self, name: str) -> None:
        vars(self).update(name=name)

    def __call__(self, x: object) -> Output:
        """The attribute of `x`."""
        return getattr(x, self.name)


class GetItem(Record):
    """A recorded item access."""

    key: Any

    def __init__(self, key: object) -> None:
        vars(self).update(key=key)

    def __call__(self, x: Any) -> Output:
        """The item of `x`."""
        return x[self.key]


class DelayedAccessor(Record):
    """Records attribute and item accesses, and applies them when called with an object.

    >>> DelayedAccessor()["layers"][0]({"layers": [3]})
    3
    """

    actions: tuple[Callable[[Any], Any], ...]

    def __init__(self, actions: tuple[Callable[[Any], Any], ...] = ()) -> None:
        vars(self).update(actions=actions)

    def __call__(self, x: object) -> Output:
        """Applies the recorded accesses to `x`."""
        for step in self.actions:
            x = step(x)
        return x

    def __getattr__(self, name: str) -> DelayedAccessor:
        if name.startswith("__"):
            raise AttributeError(name)
        return DelayedAccessor((*self.actions, GetAttr(name)))

    def __getitem__(self, key: object) -> DelayedAccessor:
        return DelayedAccessor((*self.actions, GetItem(key)))


class Caller:
    """Records attribute and item accesses up to a call.

    Args:
      run: called with the recorded accesses (a function of an object) and the call's arguments.
      steps: the accesses so far.
    """

    def __init__(
        self, run: Callable[..., Any], steps: tuple[Callable[[Any], Any], ...] = ()
    ) -> None:
        self._run = run
        self._steps = steps

    def __getattr__(self, name: str) -> Caller:
        if name.startswith("__"):
            raise AttributeError(name)
        return Caller(self._run, (*self._steps, GetAttr(name)))

    def __getitem__(self, key: object) -> Caller:
        return Caller(self._run, (*self._steps, GetItem(key)))

    def __call__(self, *args: object, **kwargs: object) -> Output:
        """Makes the call."""
        return self._run(DelayedAccessor(self._steps), *args, **kwargs)


def call(graphdef_state: Any, /) -> Caller:
    """Calls a method of a split module: `call((graphdef, state)).method(*args)`.

    The call works on new variables and returns the new state; `state` doesn't change.

    Args:
      graphdef_state: `(graphdef, state, ...)`, as `nnx.split` returns it.

    Returns:
      An object that returns `(output, (graphdef, state))` when it, or an attribute or item of it,
      is called.

    >>> from linnet.module_core import nnx
    >>> class Counter(nnx.Module):
    ...     def __init__(self):
    ...         self.count = nnx.Variable(0)
    ...     def add(self, n):
    ...         self.count.value += n
    >>> _, (graphdef, state) = call(nnx.split(Counter())).add(3)
    >>> state.count.value
    3
    """
    graphdef, *states = graphdef_state

    def run(follow: Callable[[Any], Any], *args: object, **kwargs: object) -> object:
        module = merge(graphdef, *states, copy=True)
        output = follow(module)(*args, **kwargs)
        return output, split(module)

    return Caller(run)


def apply(self: GraphDef[Any], state: object, *states: object, graph: bool | None = None) -> Caller:
    """Calls a method of the split module, like `nnx.call((graphdef, state, ...))`."""
    accepted(graph=graph)

    return call((self, state, *states))


GraphDef.apply = apply  # type: ignore[method-assign]
