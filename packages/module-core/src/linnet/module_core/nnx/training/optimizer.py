"""`Optimizer`: a gradient transformation, such as one from optax, with its state.

The optimizer owns only what is not in the model: a step count and the transformation's state, where
each array is a variable. It does not own the model, which is an argument of `update(model, grads)`,
so that two optimizers can share a model, and a function of both sees no aliasing.

A transformation is any object with optax's `init` and `update`; this module never imports optax.

State that belongs to a variable has the variable's sharding on the mesh. If the variable's metadata
has `optimizer_sharding`, that sharding applies to the optimizer alone: gradients, moments and
updates are sharded accordingly, and the final update is converted back to the variable's sharding
before it is added (Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054, stage 1).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, Generic, Protocol

import jax
import jax.numpy as jnp

from ...arrays import strong
from ...errors import ArgumentError, ArgumentTypeError, counted, describe
from ...typing import PyTree
from ..filters import Filter, to_predicate
from ..nodes.marks import static
from ..nodes.pytree import Pytree
from ..structure.graph import pure, state
from ..structure.states import Path, State, from_flat_state, path_text, to_flat_state
from ..structure.updating import update
from ..variable.layout import laid_out
from ..variable.sharding_metadata import OPTIMIZER_SHARDING, axis_names_of, optimizer_metadata
from ..variable.variable import Variable
from ..variable.variable_types import BatchStat, OptArray, OptState, OptVariable, Param
from .initial_states import initial_state

_MISSING: Any = object()

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    M = TypeVar("M", default=Any)  # the model's type; Any for a bare `Optimizer`
else:
    from typing import TypeVar

    M = TypeVar("M")

T = TypeVar("T")


class GradientTransformation(Protocol):
    """The interface of optax's optimizers."""

    @property
    def init(self) -> Any:
        """`init(params)` returns the state."""

    @property
    def update(self) -> Any:
        """`update(grads, state, params)` returns the updates and the new state."""


class Optimizer(Pytree, Generic[M]):
    """Updates a model's variables from their gradients.

    Args:
      model: the model to optimize; the optimizer keeps no reference to it.
      tx: an optax transformation, or anything with its `init` and `update`.
      wrt: filter for the variables to optimize; usually `nnx.Param`. A filter by path alone also
        selects batch statistics, about which the optimizer warns.
      graph: accepted for Flax programs.

    Attributes:
      step: the number of updates so far.
      opt_state: the transformation's state, with a variable in place of each array: `OptVariable`
        with the metadata of the model's variable that it belongs to, or otherwise `OptArray`.
      tx, wrt: the arguments.

    Raises:
      ArgumentTypeError: `wrt` is missing, `tx` is not a transformation, or `model` is a class.
      ArgumentError: `wrt` selects nothing, or variables that have no gradient.

    >>> import jax, jax.numpy as jnp, optax
    >>> from linnet.module_core import nnx
    >>> class Linear(nnx.Module):
    ...     def __init__(self):
    ...         self.kernel = nnx.Param(jnp.ones((2, 3)))
    >>> model = Linear()
    >>> optimizer = nnx.Optimizer(model, optax.sgd(0.5), wrt=nnx.Param)
    >>> grads = nnx.State({"kernel": nnx.Param(jnp.ones((2, 3)))})
    >>> updates = optimizer.update(model, grads)
    >>> float(model.kernel[0, 0]), int(optimizer.step.value)
    (0.5, 1)
    """

    def __init__(
        self,
        model: M,
        tx: GradientTransformation,
        *,
        wrt: Filter = _MISSING,
        graph: bool | None = None,
    ) -> None:
        if wrt is _MISSING:
            raise ArgumentTypeError(
                f"{type(self).__name__} needs to be told which variables to optimize: 'wrt' is"
                " missing.",
                hint=(
                    "Write nnx.Optimizer(model, tx, wrt=nnx.Param), or use "
                    "nnx.ModelAndOptimizer, which keeps the model and optimizes all of its "
                    "parameters."
                ),
            )
        if not (callable(getattr(tx, "init", None)) and callable(getattr(tx, "update", None))):
            raise ArgumentTypeError(
                "tx must be a gradient transformation, such as optax.adam(1e-3); got "
                f"{describe(tx)}.",
                hint="The order is nnx.Optimizer(model, tx, wrt=nnx.Param).",
            )
        if isinstance(model, type):
            raise ArgumentTypeError(
                f"{type(self).__name__} takes a model, got the class {model.__name__}.",
                hint="Make an instance of it first.",
            )
        params = state(model, wrt, graph=graph)
        _check_optimizable(model, params, wrt)
        jax.tree.map(_make_array, params, is_leaf=_is_variable)
        self.step = OptState(jnp.zeros((), jnp.uint32))
        self.tx = static(tx)
        state_of_tx = initial_state(tx.init, params)
        self.opt_state = jax.tree.map(_as_variable, state_of_tx, is_leaf=_is_variable)
        self.wrt = static(wrt)

    def __getattr__(self, name: str) -> Any:
        # Called for missing attributes.
        hint = ""
        if name == "model":
            hint = (
                " An Optimizer doesn't keep the model: pass it to update(model, grads), or use"
                " nnx.ModelAndOptimizer."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.{hint}")

    def update(self, model: object, grads: PyTree = _MISSING, /, **kwargs: object) -> Any:
        """Updates the model's variables, the transformation's state and the step, in place.

        Args:
          model: the model that the optimizer was created for, or one of the same structure.
          grads: gradients as returned by `nnx.grad`: a state with a leaf at the path of each
            optimized variable. Leaves of other variables are ignored.
          **kwargs: extra arguments for the transformation: a line search takes
            `value=loss, grad=grads, value_fn=f`, and calls `f` with states of bare values.

        Returns:
          The state of the updates that were added to the variables.

        Raises:
          ArgumentTypeError: `grads` is missing, or comes first.
          ArgumentError: `grads` don't match the variables; the message lists every path.
        """
        if grads is _MISSING:
            raise ArgumentTypeError(
                "update(model, grads) takes the model and its gradients; 'grads' is missing.",
                hint="nnx.ModelAndOptimizer keeps the model and takes only gradients.",
            )
        if isinstance(model, State) and not isinstance(grads, State) and isinstance(grads, Pytree):
            raise ArgumentTypeError(
                "update(model, grads) takes the model first, got a State and then"
                f" {type(grads).__name__}.",
                hint="Write optimizer.update(model, grads).",
            )
        variables = state(model, self.wrt)
        chosen = _chosen(grads, variables, self.wrt)
        params, before = pure(variables), pure(self.opt_state)
        divided = _is_divided(variables)
        if divided:
            chosen, params = _divided(variables, chosen), _divided(variables, params)
        extra = {name: _bare(value, variables) for name, value in kwargs.items()}
        try:
            updates, after = self.tx.update(chosen, before, params, **extra)
        except (TypeError, ValueError) as error:
            self._explain(error, params, before)
            raise
        _check_updates(updates, variables)
        add = _add_whole if divided else _add
        arrays = jax.tree.map(add, variables, updates, is_leaf=_is_variable)
        if not isinstance(variables, Variable):
            plain = [(p, x) for p, x in to_flat_state(arrays) if x is not None]
            if plain:
                update(model, from_flat_state(plain))
        same: bool = jax.tree.structure(before) == jax.tree.structure(after)  # type: ignore[operator]
        if same:
            put = _put_divided if divided else _put
            jax.tree.map(put, self.opt_state, after, is_leaf=_is_variable)
        else:  # a transformation may change the structure of its state
            self.opt_state = jax.tree.map(OptArray, after)
        self.step.set_raw_value(self.step.raw_value + 1)
        return updates

    def _explain(self, error: Exception, params: object, opt_state: object) -> None:
        """Raises the underlying error if the model caused the transformation's error."""
        expected: Any = jax.eval_shape(self.tx.init, params)
        wanted: Any = jax.tree.structure(expected)
        if wanted != jax.tree.structure(opt_state):
            raise ArgumentError(
                "The optimizer was made for variables other than the"
                f" {counted(len(_flat(params)), 'variable')} of the model that"
                f" {_name_of(self.wrt)} selects.",
                hint=(
                    "Make a new optimizer after adding or removing parameters, or to train "
                    "another model."
                ),
            ) from error
        there: list[Any] = jax.tree.leaves(opt_state)
        wrong = [
            f"opt_state{jax.tree_util.keystr(path)} has {jnp.shape(old)}, expected {new.shape}"
            for (path, new), old in zip(
                jax.tree_util.tree_leaves_with_path(expected), there, strict=True
            )
            if jnp.shape(old) != new.shape
        ]
        if wrong:
            raise ArgumentError(
                f"The optimizer was made for variables of other shapes: {'; '.join(wrong[:8])}.",
                hint=(
                    "Was a layer replaced after the optimizer was made? Make a new optimizer "
                    "afterwards."
                ),
            ) from error


class ModelAndOptimizer(Optimizer[M]):
    """An `Optimizer` that keeps its model: `update(grads)`.

    Args:
      model: the model to optimize.
      tx: an optax transformation.
      wrt: filter for the variables to optimize.

    Attributes:
      model: the model.
    """

    def __init__(self, model: M, tx: GradientTransformation, *, wrt: Filter = Param) -> None:
        super().__init__(model, tx, wrt=wrt)
        self.model = model

    def update(self, grads: PyTree, /, **kwargs: object) -> Any:  # type: ignore[override]
        """Updates the model; see `Optimizer.update`."""
        return super().update(self.model, grads, **kwargs)


def _is_variable(x: object) -> bool:
    return isinstance(x, Variable)


def _as_variable(x: object) -> Variable[Any]:
    if not isinstance(x, Variable):
        return OptArray(x)
    return OptVariable.from_metadata(x.raw_value, optimizer_metadata(x.get_metadata()))


def _is_divided(variables: object) -> bool:
    found = jax.tree.leaves(variables, is_leaf=_is_variable)
    return any(isinstance(v, Variable) and _division(v) is not None for v in found)


def _division(variable: Variable[Any]) -> object:
    return variable._metadata.get(OPTIMIZER_SHARDING)


def _divided(variables: object, values: T) -> T:
    """The values of variables, laid out by `optimizer_sharding` where a variable has one."""

    def of_one(variable: object, value: object) -> object:
        if not isinstance(variable, Variable):
            return value
        return laid_out(variable, value, names=_division(variable))

    divided: T = jax.tree.map(of_one, variables, values, is_leaf=_is_variable)
    return divided


def _put(variable: Variable[Any], value: object) -> None:
    value = strong(value)
    if isinstance(value, jax.Array):  # the usual case: not a tree
        if value is not variable.raw_value:
            variable.set_raw_value(value)
        return
    old, new = jax.tree.leaves(variable.raw_value), jax.tree.leaves(value)
    if not all(a is b for a, b in zip(old, new, strict=True)):
        variable.set_raw_value(value)


def _put_divided(variable: Variable[Any], value: object) -> None:
    _put(variable, laid_out(variable, value))


def _add_whole(variable: object, update: object) -> object:
    if isinstance(variable, Variable) and _division(variable) is not None:
        names = axis_names_of(variable)
        update = laid_out(variable, update, names=() if names is None else names)
    return _add(variable, update)


def _add(variable: object, update: object) -> object:
    """Adds an update to a variable in place, and returns the sum if it is an array."""
    if not isinstance(variable, Variable):
        return _sum(variable, update)
    value = variable.raw_value
    if isinstance(value, jax.Array):  # the usual case: not a tree
        variable.set_raw_value(_sum(value, update))
    else:
        variable.set_raw_value(jax.tree.map(_sum, value, update))
    return None


def _sum(param: Any, change: Any) -> jax.Array:
    """The sum in the parameter's dtype, with a strong type."""
    total = param + change
    if isinstance(total, jax.Array) and not total.weak_type and total.dtype == param.dtype:
        return total  # the usual case; each conversion costs as much as the addition
    return jnp.asarray(total).astype(jnp.asarray(param).dtype)


def _make_array(variable: object) -> None:
    """Converts a variable's numbers to arrays with strong types, as its first update would.

    Otherwise a step is compiled twice, once for each type.
    """
    if not isinstance(variable, Variable):
        return
    value = variable.raw_value
    if isinstance(value, jax.Array) and not value.weak_type:
        return
    old, structure = jax.tree.flatten(value)
    new = [strong(jnp.asarray(x)) if isinstance(x, (float, complex)) else strong(x) for x in old]
    if not all(map(is_, old, new)):
        variable.set_raw_value(jax.tree.unflatten(structure, new))


def _bare(value: object, variables: object) -> object:
    """An extra argument with plain values instead of variables, which optax doesn't support.

    A state that has a leaf for each optimized variable is reduced to these leaves.
    """
    if isinstance(value, Pytree):
        value = state(value)
    if isinstance(value, State) and isinstance(variables, State):
        given, wanted = _flat(value), _flat(variables)
        if len(given) > len(wanted) and given.keys() >= wanted.keys():
            value = from_flat_state((p, given[p]) for p in wanted)
    return pure(value)


def _flat(tree: PyTree) -> dict[Path, Any]:
    return {(): tree} if isinstance(tree, Variable) else dict(to_flat_state(tree))


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(path_text(p) for p in paths[:8]) + more


def _check_optimizable(model: object, params: object, wrt: Filter) -> None:
    flat = _flat(params)
    if not flat:
        there = sorted({type(v).__name__ for v in _flat(state(model)).values()})
        raise ArgumentError(
            f"wrt={_name_of(wrt)} selects no variable of {type(model).__name__}, which has "
            f"{', '.join(there) or 'none at all'}.",
            hint="wrt is a filter: a type such as nnx.Param, or nnx.PathContains('decoder'). A"
            " string stands for a tag in the variables' metadata, not for a collection.",
        )
    whole = [p for p, v in flat.items() if not _has_gradient(v)]
    if whole:
        raise ArgumentError(
            f"wrt={_name_of(wrt)} selects variables that have no gradient, because their type is "
            f"not floating: {_listed(whole)}.",
            hint=(
                "Give them a different Variable type from the parameters, or leave them out: "
                "wrt=nnx.All(nnx.Param, nnx.Not(nnx.PathContains('count')))."
            ),
        )

    averages = [p for p, v in flat.items() if isinstance(v, BatchStat)]
    if averages and len(averages) < len(flat):
        warnings.warn(
            f"wrt={_name_of(wrt)} selects running averages of batch statistics and parameters, "
            f"and the optimizer will change them: {_listed(averages)}.\n"
            "  To train the parameters alone, write nnx.All(nnx.Param, ...) around the filter, for "
            "the gradient as well.",
            stacklevel=3,
        )


def _name_of(wrt: Filter) -> str:
    return wrt.__name__ if isinstance(wrt, type) else repr(wrt)


def _has_gradient(leaf: object) -> bool:
    value = leaf.raw_value if isinstance(leaf, Variable) else leaf
    if isinstance(value, jax.Array):
        return bool(jnp.issubdtype(value.dtype, jnp.inexact))
    return all(
        jnp.issubdtype(getattr(x, "dtype", None) or type(x), jnp.inexact)
        for x in jax.tree.leaves(value)
    )


def _chosen(grads: object, variables: object, wrt: Filter) -> object:
    """The gradients of the variables: bare values in a tree of the same structure."""
    if isinstance(grads, Pytree):  # a module whose variables hold gradients
        grads = state(grads)
    wanted = _flat(variables)
    if isinstance(grads, tuple) and [isinstance(g, State) for g in grads] == [False, True]:
        raise ArgumentError(
            "grads must be a state, as nnx.grad returns it, got the pair of"
            f" {describe(grads[0])} and a state.",
            hint="nnx.value_and_grad returns a pair: loss, grads = nnx.value_and_grad(f)(model).",
        )
    if not isinstance(grads, (State, dict, Variable)):
        raise ArgumentError(
            f"grads must be a state, as nnx.grad returns it, got {describe(grads)}.",
            hint="With several differentiated arguments, pass the state that belongs to the model.",
        )
    given = _flat(grads)
    missing = [p for p in wanted if p not in given]
    unknown = [p for p in given if p not in wanted and _means(wrt, p, given[p])]
    if missing or unknown:
        parts = [f"missing: {_listed(missing)}"] * bool(missing)
        parts += [f"unknown: {_listed(unknown)}"] * bool(unknown)
        raise ArgumentError(
            f"grads don't have the structure of the {counted(len(wanted), 'variable')} to"
            f" optimize; {'; '.join(parts)}.",
            hint=(
                "Were they computed for another model, for a part of it, or with a "
                "filter other than wrt?"
            ),
        )
    bare = {p: g.raw_value if isinstance(g, Variable) else g for p, g in given.items()}
    # Gradients of single examples are accepted: for differential privacy, tx averages them.
    _check_shapes("grads", bare, wanted, examples=True)
    if isinstance(variables, Variable):
        return bare[()]
    return from_flat_state((p, bare[p]) for p in wanted)


def _check_shapes(
    what: str, given: Mapping[Path, Any], wanted: Mapping[Path, Any], examples: bool = False
) -> None:
    """Checks that arrays have the shapes of their variables.

    Args:
      what: what the arrays are called in the message.
      given: the arrays by path.
      wanted: the variables by path.
      examples: whether an array may have additional axes in front.
    """
    wrong = []
    for path, variable in wanted.items():
        if path in given and isinstance(getattr(variable, "raw_value", variable), jax.Array):
            shape, expected = jnp.shape(given[path]), variable.shape
            own = shape[len(shape) - len(expected) :] if examples else shape
            if own != expected:
                wrong.append(f"{path_text(path)} has {shape} for {expected}")
    if wrong:
        raise ArgumentError(f"{what} don't have the shapes of their variables: {', '.join(wrong)}.")


def _check_updates(updates: object, variables: object) -> None:
    """Checks that adding updates changes no shape."""
    what = "grads, or the updates that tx makes of them,"
    if isinstance(variables, Variable):
        _check_shapes(what, {(): updates}, {(): variables})
    elif isinstance(updates, (State, dict)):
        _check_shapes(what, _flat(updates), _flat(variables))


def _means(wrt: Filter, path: Path, leaf: object) -> bool:
    # The type of a bare value isn't known, so it is assumed to be selected.
    return not isinstance(leaf, Variable) or to_predicate(wrt)(path, leaf)
