"""The public interface of a package: every name that its users, or its siblings, may rely on.

A package offers the names in the `__all__` of its `__init__`, or, without `__all__`, the names
defined there and those imported `as` themselves; a module among them offers its own names in the
same way. A module that no `__init__` offers is internal, whatever its name. The exception is a name
that a sibling imports from it, since an older sibling may be installed next to a newer package.
Sources are read, not imported; names that are loaded lazily are under `TYPE_CHECKING`.

All packages are loaded together, as if they were installed, so that re-exported names and inherited
members can be followed to their definitions.
"""

from __future__ import annotations

import ast
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import griffe

from workspace import Package

from .constructors import add_constructors
from .history import sources

# None: the name is offered, but its value is known only at run time.
Offered: TypeAlias = "griffe.Object | griffe.Alias | None"

_UNRESOLVED = (griffe.AliasResolutionError, griffe.CyclicAliasError, KeyError)


@dataclass(frozen=True, eq=False)
class Tree:
    """All packages at one commit.

    Attributes:
      root: the namespace that holds them.
      again: the names that each module imports as themselves, by the module's path; "a.b.*" for
        all names of another module.
      uses: the names that each module imports from this namespace, anywhere in its code.
      folder: the folder in which the sources were read.
      origin: the path of each file in the repository, by its path in `folder`.
    """

    root: griffe.Module
    again: dict[str, set[str]]
    uses: dict[str, set[str]]
    folder: Path
    origin: dict[str, str]

    def place(self, thing: griffe.Object | griffe.Alias) -> str:
        """The file and line of an object: `packages/struct/src/linnet/struct/_field.py:12`."""
        try:
            name = Path(str(thing.filepath)).relative_to(self.folder).as_posix()
        except (ValueError, *_UNRESOLVED):
            return ""
        return f"{self.origin.get(name, name)}:{thing.lineno or 1}"

    @cached_property
    def public_classes(self) -> set[str]:
        """The paths of the classes that a package offers."""
        return {
            found.path
            for name in self.root.members
            for _, found in _offers(self, f"linnet.{name}")
            if isinstance(found, griffe.Class)
        }


@dataclass(frozen=True)
class Surface:
    """The interface of one package at one commit.

    Attributes:
      offered: the objects by dotted name.
      used: the names that are offered only because a sibling imports them.
    """

    tree: Tree
    offered: dict[str, Offered]
    used: set[str]

    def find(self, name: str, *, anywhere: bool) -> Offered:
        """The object that a name refers to, or None; with `anywhere`, even if it isn't offered."""
        return _home(self.tree, name) if anywhere else self.offered.get(name)

    def passes_on(self, sibling: Package) -> bool:
        """Whether the package offers an object that a sibling defines."""
        found = (thing for thing in self.offered.values() if isinstance(thing, griffe.Object))
        return any(_inside(thing.path, sibling.import_names) for thing in found)


@cache
def tree_at(commit: str) -> Tree:
    """All packages at a commit, read once."""
    with tempfile.TemporaryDirectory() as name:
        return tree_in(Path(name), sources(commit, Path(name)))


def tree_in(folder: Path, origin: dict[str, str] | None = None) -> Tree:
    """All packages with sources in one folder, as if they were installed there."""
    (folder / "linnet").mkdir(exist_ok=True)
    seen = _Imports()
    loader = griffe.GriffeLoader(
        search_paths=[folder], extensions=griffe.load_extensions(seen), allow_inspection=False
    )
    logging.getLogger("griffe").setLevel(logging.ERROR)
    root = loader.load("linnet")
    assert isinstance(root, griffe.Module)
    loader.resolve_aliases(implicit=True, external=False)
    add_constructors(root)
    return Tree(root, seen.again, seen.uses, folder, origin or {})


def surface(package: Package, commit: str) -> Surface:
    """The interface of a package at a commit."""
    return surface_of(tree_at(commit), package.import_names)


def surface_of(tree: Tree, import_names: tuple[str, ...]) -> Surface:
    """The interface of a package with these import names in a tree."""
    offered: dict[str, Offered] = {}
    for name in import_names:
        offered.update(_offers(tree, name))
    used: dict[str, Offered] = {}
    for user, names in tree.uses.items():
        if not _inside(user, import_names):
            for name in names:
                if _inside(name, import_names) and _home(tree, name) is not None:
                    used.update(_named(tree, name))
    return Surface(tree, used | offered, used.keys() - offered.keys())


class _Imports(griffe.Extension):
    """Records the imports of modules while griffe reads them; griffe does not keep their form."""

    def __init__(self) -> None:
        self.again: dict[str, set[str]] = {}
        self.uses: dict[str, set[str]] = {}

    def on_module_instance(self, *, node: Any, mod: griffe.Module, **kwargs: Any) -> None:
        again, uses = set(), set()
        for statement in ast.walk(node):
            if isinstance(statement, ast.ImportFrom):
                again |= {a.name for a in statement.names if a.asname == a.name}
                if [a.name for a in statement.names] == ["*"]:
                    again.add(f"{_absolute(statement, mod)}.*")
                if statement.level == 0 and (statement.module or "").startswith("linnet."):
                    uses |= {f"{statement.module}.{a.name}" for a in statement.names}
            elif isinstance(statement, ast.Import):
                uses |= {a.name for a in statement.names if a.name.startswith("linnet.")}
        self.again[mod.path], self.uses[mod.path] = again, uses


def _absolute(statement: ast.ImportFrom, module: griffe.Module) -> str:
    """The module that a name is imported from."""
    if not statement.level:
        return statement.module or ""
    parts = module.path.split(".")
    parts = parts[: len(parts) - statement.level + module.is_init_module]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


def _offers(tree: Tree, name: str, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, Offered]]:
    """The names that a module offers, with those of the modules that it offers."""
    module = _resolved(_member(tree, name))
    if not isinstance(module, griffe.Module) or module.path in inside:
        return
    for short in sorted(_exported(tree, module)):
        yield from _named(tree, f"{name}.{short}", (*inside, module.path))


def _named(tree: Tree, name: str, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, Offered]]:
    found = _home(tree, name)
    if isinstance(found, griffe.Module) and not found.path.startswith("linnet."):
        return
    yield name, found
    if isinstance(found, griffe.Module):
        yield from _offers(tree, name, inside)


def _home(tree: Tree, name: str) -> Offered:
    """The object that a name finally refers to."""
    found = _resolved(_member(tree, name))
    if isinstance(found, griffe.Module) and isinstance(found.parent, griffe.Module):
        # `from .conv import conv`: griffe keeps the module of that name, Python the function.
        imported = found.parent.imports.get(found.name, found.path)
        return _resolved(_member(tree, imported)) or found
    return found


def _exported(tree: Tree, module: griffe.Module) -> set[str]:
    names = set(tree.again.get(module.path, ()))
    for star in [name for name in names if name.endswith(".*")]:
        names.remove(star)
        origin = _resolved(_member(tree, star.removesuffix(".*")))
        if isinstance(origin, griffe.Module):
            names |= {n for n in _exported(tree, origin) if not n.startswith("_")}
    if module.exports is not None:
        names |= {name for name in module.exports if isinstance(name, str)}
    else:
        names |= {
            name
            for name, member in module.members.items()
            if not name.startswith("_")
            and not member.is_alias
            and not member.is_module
            and not _is_type_variable(member)
        }
    return names - {"__version__"}


def _is_type_variable(member: Offered) -> bool:
    value = str(getattr(member, "value", ""))
    return value.startswith(("TypeVar(", "ParamSpec(", "typing.TypeVar("))


def _member(tree: Tree, name: str) -> Offered:
    try:
        found: Offered = tree.root[name.removeprefix("linnet.")]
    except _UNRESOLVED:
        return None
    return found


def _resolved(member: Offered) -> Offered:
    """The object that a name finally refers to; the alias itself for another library's."""
    if isinstance(member, griffe.Alias):
        try:
            return member.final_target
        except _UNRESOLVED:
            return member
    return member


def _inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
