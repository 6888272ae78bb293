"""An nnx module split into its structure and a flat dict of its values by path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from linnet.module_core import nnx


class Graph:
    """The structure of a module, from which it is rebuilt.

    Args:
      module: an nnx module; not changed.

    Attributes:
      params: the paths of the trainable values, such as `layers/0/kernel`.
      state: all other paths.
      rng: the paths in `state` that belong to random streams.
    """

    def __init__(self, module: nnx.Module) -> None:
        from linnet.module_core import nnx

        copy = nnx.clone(module)
        # Left over from an earlier call: they are results, not state.
        nnx.pop(copy, nnx.Intermediate)
        self._paths = {_text(path): path for path, _ in _leaves(copy)}
        kinds = {_text(path): leaf for path, leaf in _leaves(copy)}
        self.params = [n for n, leaf in kinds.items() if _is_trained(leaf)]
        self.state = [n for n in kinds if n not in set(self.params)]
        self.rng = {n for n, leaf in kinds.items() if isinstance(leaf, nnx.RngState)}
        self._structures: dict[bool | None, Any] = {None: nnx.graphdef(copy)}
        copy.train()
        self._structures[True] = nnx.graphdef(copy)
        copy.eval()
        self._structures[False] = nnx.graphdef(copy)

    def values(self, module: object) -> dict[str, Any]:
        """The values of all variables and arrays of a module, by path."""
        from linnet.module_core import nnx

        return {
            _text(path): _as_arrays(
                leaf.get_raw_value() if isinstance(leaf, nnx.Variable) else leaf
            )
            for path, leaf in _leaves(module)
            if _text(path) in self._paths or not isinstance(leaf, nnx.Intermediate)
        }

    def sown(self, module: object) -> list[str]:
        """The paths of the values that a call has sown."""
        from linnet.module_core import nnx

        return [
            _text(path)
            for path, leaf in _leaves(module)
            if _text(path) not in self._paths and isinstance(leaf, nnx.Intermediate)
        ]

    def divided(self, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The trainable values, and the others."""
        return {n: values[n] for n in self.params}, {n: values[n] for n in self.state}

    def module(self, training: bool | None, values: dict[str, Any]) -> nnx.Module:
        """A new module with these values.

        Args:
          training: its mode; None for the mode of the given module.
          values: the values by path.
        """
        from linnet.module_core import nnx

        pairs = [(path, values[name]) for name, path in self._paths.items()]
        made: nnx.Module = nnx.merge(self._structures[training], nnx.FlatState(pairs, sort=True))
        return made


def _leaves(module: object) -> Iterable[tuple[tuple[Any, ...], Any]]:
    from linnet.module_core import nnx

    return nnx.to_flat_state(nnx.state(module))


def _text(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _is_trained(leaf: object) -> bool:
    from linnet.module_core import nnx

    if not isinstance(leaf, nnx.Param):
        return False
    arrays = jax.tree_util.tree_leaves(leaf.get_raw_value())
    return all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in arrays)


def _as_arrays(value: object) -> object:
    """Converts a Python number in a variable to the array that it would be traced as."""
    return jax.tree.map(lambda x: x if hasattr(x, "dtype") else jnp.asarray(x), value)
