"""Names of tensors as paths of modules: renames in both directions, and a common spelling.

A name in a state dict, "encoder.layers.3.norm.weight", is a path like those of our modules,
"encoder/layers/3/norm/weight". A table of renames gives parts of it different names; in a target,
"[3]" after a part means index 3 along the first axis of variables that hold several layers.

Linen numbers the modules of a list as `layers_3`, and keywords get an underscore (`if_`); both are
spelled alike for the comparison: "layers/3", "if". A layer in an adapter, its `base_module`, is
spelled as if it were in the adapter's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import ArgumentError, ArgumentTypeError

WRAPPED = "base_module"
"""The attribute in which an adapter (`nnx.LoRA`) holds the layer that it wraps."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_SLOT = re.compile(r"\[(\d+)\]")
_INDEX = re.compile(r"\[(?:\d+|\{\w+\})\]")


def canonical(path: str) -> str:
    """The spelling that equivalent paths share.

    >>> canonical("decoder.layers_3.if_.kernel")
    'decoder/layers/3/if/kernel'
    >>> canonical("query/base_module/kernel")
    'query/kernel'
    """
    parts = []
    for part in path.replace(".", "/").split("/"):
        if part == WRAPPED:
            continue
        name, _, number = part.rpartition("_")
        if name and number.isdecimal():
            parts += [name, number]
        elif part:
            parts.append(part.rstrip("_") or part)
    return "/".join(parts)


def slots_of(path: str) -> tuple[str, tuple[int, ...]]:
    """A path without its indices of stacked layers, and those indices.

    >>> slots_of("layers/block[3]/dense/weight")
    ('layers/block/dense/weight', (3,))
    """
    return _SLOT.sub("", path), tuple(int(n) for n in _SLOT.findall(path))


class Renames:
    """A table of renames, applied in order, each at most once.

    Args:
      table: PyTorch's names -> ours. A key is a prefix of names, or, if it begins with a dot, a
        part anywhere in them. `{i}`, `{j}`, `{k}` and `{n}` match numbers; any other word in braces
        matches one part of a name, or the rest of one.

    Raises:
      ArgumentTypeError: it is not a mapping of strings.
      ArgumentError: a value has a placeholder that its key doesn't have.
    """

    def __init__(self, table: Mapping[str, str] | None) -> None:
        self.table: list[tuple[str, str]] = []
        if table is None:
            return
        if not isinstance(table, Mapping):
            raise ArgumentTypeError(
                f"rename must be a mapping of names, got a {type(table).__name__}.",
                hint='Write {"model.layers.{i}": "layers/{i}"}.',
            )
        for key, value in table.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ArgumentTypeError(f"rename has {key!r}: {value!r}, expected two strings.")
            unknown = set(_PLACEHOLDER.findall(value)) - set(_PLACEHOLDER.findall(key))
            if unknown:
                raise ArgumentError(
                    f"rename has {key!r}: {value!r}, and {{{min(unknown)}}} isn't in the key.",
                )
            self.table.append((key.replace(".", "/"), value.replace(".", "/").strip("/")))

    def add(self, key: str, value: str) -> None:
        """Appends a rename."""
        self.table.append((key, value))

    def forward(self, name: str) -> str:
        """PyTorch's name as a path of ours."""
        path = name.replace(".", "/")
        for key, value in self.table:
            path = _renamed(path, key, value)
        return path

    def backward(self, path: str) -> str:
        """A path of ours as PyTorch's name."""
        for key, value in reversed(self.table):
            if not value and key.startswith("/"):
                continue  # nothing shows where it was
            if set(_PLACEHOLDER.findall(key)) <= set(_PLACEHOLDER.findall(value)):
                anywhere = key.startswith("/")
                path = _renamed(path, "/" * anywhere + value, key.strip("/"))
        return path.replace("/", ".")

    def stacked(self) -> list[str]:
        """The paths of variables that hold several layers, without the index."""
        found = [
            _INDEX.sub("", value[: index.start()])
            for _, value in self.table
            for index in _INDEX.finditer(value)
        ]
        return list(dict.fromkeys(found))


def _is_number(word: str) -> bool:
    """Whether a placeholder matches numbers; `{ii}` is for a list in layer `{i}` of another."""
    return word in ("j", "k", "n") or set(word) == {"i"}


def _renamed(path: str, key: str, value: str) -> str:
    anywhere, key = key.startswith("/"), key.strip("/")
    pattern, end = "", 0
    for match in _PLACEHOLDER.finditer(key):
        word = match[1]
        pattern += re.escape(key[end : match.start()])
        pattern += rf"(?P<{word}>\d+)" if _is_number(word) else rf"(?P<{word}>[^/\[\]]+?)"
        end = match.end()
    pattern += re.escape(key[end:])
    # Both spellings of a number: "layers_3" and "layers/3".
    pattern = re.sub(r"[/_](?=\d|\(\?P<(?:[jkn]|i+)>)", "[/_]", pattern)
    pattern = (r"(?:(?<=/)|^)" if anywhere else "^") + pattern
    pattern += r"(?=/|$)" if key else ""

    def new(match: re.Match[str]) -> str:
        return _PLACEHOLDER.sub(lambda word: match[word[1]], value)

    result = re.sub(pattern, new, path, count=1)
    if result == path:
        return path
    return (result.replace("//", "/") if key else f"{value}/{path}").strip("/")
