"""The imports between the files of a package, read from the sources.

Imports inside functions count; those under `TYPE_CHECKING` don't, since they don't run.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple


class Import(NamedTuple):
    """An import of another file of the package.

    Attributes:
      file: name of the imported file.
      at_top: whether it runs when the importing file is loaded.
    """

    file: str
    at_top: bool


def files_of(root: Path) -> dict[str, Path]:
    """The files of a package by name: "linen.module" is `linen/module.py`."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in sorted(root.rglob("*.py"))
    }


def imports_of(name: str, files: dict[str, Path], package: str) -> Iterator[Import]:
    """What a file imports from its own package.

    Args:
      name: the name of the file, one of `files`.
      files: the files of the package, by name.
      package: the name of the package: "linnet.module_core".

    Raises:
      LookupError: it imports something that is neither a file of the package nor a name in one.
    """
    folder = name.split(".")[:-1]
    for node, is_top in _running(ast.parse(files[name].read_text(encoding="utf-8")), True):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = folder[: len(folder) - node.level + 1]
                module = node.module or ""
            elif f"{node.module}.".startswith(f"{package}."):
                base, module = [], (node.module or "").removeprefix(package).strip(".")
            else:
                continue
            parts = [*base, *(module.split(".") if module else [])]
            targets = [(parts, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            inside = [a.name for a in node.names if f"{a.name}.".startswith(f"{package}.")]
            names = (name.removeprefix(package).strip(".") for name in inside)
            targets = [(name.split(".") if name else [], "__init__") for name in names]
        else:
            continue
        for parts, imported in targets:
            whole = [*parts, imported]
            options = (whole, [*whole, "__init__"], parts, [*parts, "__init__"])
            found = next((n for n in map(".".join, options) if n in files), None)
            if found is None:
                raise LookupError(f"{name}: {ast.unparse(node)}")
            yield Import(found, is_top)


def _running(node: ast.AST, is_top: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The statements below a node that run, and whether they run when the file is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other, is_top
                yield from _running(other, is_top)
            continue
        yield child, is_top
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _running(child, is_top and not inside)


@functools.cache
def graph_below(root: Path, package: str) -> Mapping[str, list[Import]]:
    """The imports of each file of a package whose sources are in `root`, read once per process.

    Reading takes seconds: tests ask for it when they run, not when they are collected.
    """
    return MappingProxyType(graph_of(files_of(root), package))


def graph_of(files: dict[str, Path], package: str) -> dict[str, list[Import]]:
    """The imports of each file; see `imports_of`."""
    return {name: list(imports_of(name, files, package)) for name in files}
