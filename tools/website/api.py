"""The contents of the API pages: every public name, in the module that a program imports it from.

The names are read from the sources as text, without importing anything. A module's public names are
those in its `__all__`; without one, the names without an underscore that it defines, those that it
imports `as` themselves, and those that an `import *` provides. A name that is a module becomes a
part, with names of its own. A package that defines nothing itself (a facade: it installs several
modules) gets a list of its names, each of which links to its description. A new package or name
thus appears automatically.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import workspace
from workspace import Package


@dataclass(frozen=True)
class Entry:
    """A public name.

    Attributes:
      path: the path that a program writes, such as `linnet.layers_norm.linen.LayerNorm`.
      home: the path of its definition, such as `linnet.layers_norm.linen.layer.LayerNorm`; None if
        it is defined outside the packages.
    """

    path: str
    home: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def file(self) -> str:
        """The module that defines it."""
        return self.home.rpartition(".")[0]


@dataclass(frozen=True)
class Part:
    """A public module: its docstring, its names, and the modules among them."""

    path: str
    entries: list[Entry]
    parts: list[Part]

    @property
    def doc(self) -> str:
        """The module's docstring."""
        return docstring(self.path)

    def walk(self) -> Iterator[Part]:
        """This part and all parts below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass
class Api:
    """All packages.

    Attributes:
      parts: for each import name, the part.
      paths: for each definition, the path under which it is described.
      others: for each definition, the other paths under which packages export it.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)


def is_facade(package: Package) -> bool:
    """Whether the package only re-exports names of other packages."""
    return len(package.import_names) > 1


@cache
def api() -> Api:
    """The public names of each package."""
    found = Api()
    own = [p for p in workspace.packages() if not is_facade(p)]
    facades = [p for p in workspace.packages() if is_facade(p)]
    for package in own:
        for name in package.import_names:
            found.parts[name] = _part(name, name, found)
    for package in facades:
        for name in package.import_names:
            found.parts[name] = _part(name, None, Api())
    for package in facades:
        for name in package.import_names:
            _describe_the_rest(found, found.parts[name])
    return found


def _describe_the_rest(found: Api, facade: Part) -> None:
    """Adds to each package the names that it defines but only the facade makes public."""
    for entry in [e for part in facade.walk() for e in part.entries]:
        owner = next((n for n in found.parts if entry.home.startswith(f"{n}.")), None)
        if owner is None or owner == facade.path or entry.home in found.paths:
            continue
        nearest = max(
            (p for p in found.parts[owner].walk() if entry.home.startswith(f"{p.path}.")),
            key=lambda p: len(p.path),
        )
        found.paths[entry.home] = entry.home
        nearest.entries.append(Entry(entry.home, entry.home))


def _part(module: str, package: str | None, found: Api) -> Part:
    """The part with that name; adds the definitions described in it to `found`.

    Args:
      module: its dotted name.
      package: only definitions inside this are described; None for a facade, which shows all.
      found: the definitions that have already been described.
    """
    entries: list[Entry] = []
    modules: list[str] = []
    for name in exports(module):
        home = resolve(f"{module}.{name}")
        if home is not None and is_module(home):
            if home.startswith(f"{module}.") and home not in modules:
                modules.append(home)
            continue
        if name == "__version__" or (package and home and not home.startswith(f"{package}.")):
            continue
        if home is None:
            if package is None:
                entries.append(Entry(f"{module}.{name}", external(f"{module}.{name}")))
            continue
        path = f"{module}.{name}"
        if package is None or found.paths.setdefault(home, path) == path:
            entries.append(Entry(path, home))
        else:
            found.others.setdefault(home, []).append(path)
    parts = [_part(m, package, found) for m in modules]
    return Part(module, entries, [p for p in parts if p.entries or p.parts])


@cache
def exports(module: str) -> tuple[str, ...]:
    """A module's public names, in the order of their appearance."""
    names = list(_bindings(module))
    listed = _listed(module)
    if listed is not None:
        order = {name: place for place, name in enumerate(names)}
        return tuple(sorted(listed, key=lambda name: order.get(name, len(names))))
    return tuple(name for name in names if _is_public(module, name))


def resolve(path: str) -> str | None:
    """The path of the definition (or module) behind `path`; None if it is outside the packages."""
    for _ in range(20):
        module, _, name = path.rpartition(".")
        if module and file_of(module) is None:  # it may be another module's name here
            found = resolve(module)
            return None if found in (None, module) else resolve(f"{found}.{name}")
        # A package may hold a function named like the file that defines it: the function takes
        # precedence.
        source = _bindings(module).get(name) if file_of(module) is not None else None
        if source in (None, path):
            return path if source or file_of(path) is not None else None
        path = source
    raise ValueError(f"{path} is imported in a circle.")


def is_module(path: str) -> bool:
    """Whether `path`, as `resolve` gives it, is a module rather than a definition in one."""
    module, _, name = path.rpartition(".")
    bound = file_of(module) is not None and name in _definitions(module)
    return file_of(path) is not None and not bound


def external(path: str) -> str:
    """The original path of an object that isn't ours, such as `jax.nn.relu`."""
    for _ in range(20):
        module, _, name = path.rpartition(".")
        if file_of(module) is None:
            return path
        source = _bindings(module).get(name)
        if source is None or source == path:
            return path
        path = source
    return path


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of ours, or None for any other path."""
    if not module:
        return None
    relative = Path(*module.split("."))
    for package in workspace.packages():
        for path in (
            package.source / relative / "__init__.py",
            package.source / relative.with_suffix(".py"),
        ):
            if path.exists():
                return path
    return None


def docstring(module: str) -> str:
    """A module's docstring, unchanged."""
    # Not cleaned: an equation below the first line would be mistaken for indented text.
    return (ast.get_docstring(_tree(module), clean=False) or "").strip()


def summary(home: str) -> str:
    """The first line of the docstring of a definition, or an empty string."""
    module, _, name = home.rpartition(".")
    if file_of(module) is None:
        return ""
    found = [  # several, if a function is overloaded
        ast.get_docstring(node) or ""
        for node in _tree(module).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
    ]
    text = next(filter(None, found), "") or _comment_below(module, name)
    return text.split("\n\n")[0].replace("\n", " ")


def has_example(home: str) -> bool:
    """Whether the docstring of a definition, or of one of its methods, has a doctest."""
    module, _, name = home.rpartition(".")
    found = [node for node in _tree(module).body if name in _targets(node)]
    return any(">>> " in ast.unparse(node) for node in found)


def methods(home: str) -> set[str]:
    """The public methods of a class that have a docstring, inherited ones included."""
    module, _, name = home.rpartition(".")
    return inherited(home).union(
        function.name
        for node in (_tree(module).body if file_of(module) else [])
        if isinstance(node, ast.ClassDef) and node.name == name
        for function in node.body
        if isinstance(function, ast.FunctionDef)
        and not function.name.startswith("_")
        and ast.get_docstring(function)
    )


def inherited(home: str) -> set[str]:
    """The methods that a class inherits from bases that have no entry of their own."""
    module, _, name = home.rpartition(".")
    bases = [
        resolve(f"{module}.{ast.unparse(base)}")
        for node in (_tree(module).body if file_of(module) else [])
        if isinstance(node, ast.ClassDef) and node.name == name
        for base in node.bases
    ]
    parts = [base for base in bases if base and base != home and base not in api().paths]
    return {method for part in parts for method in methods(part)}


def _comment_below(module: str, name: str) -> str:
    """The string below an assignment."""
    body = _tree(module).body
    for node, following in pairwise(body):
        if name in _targets(node) and isinstance(following, ast.Expr):
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    return ""


@cache
def _tree(module: str) -> ast.Module:
    path = file_of(module)
    if path is None:
        raise LookupError(f"{module} is not a module of these packages.")
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _bindings(module: str) -> dict[str, str]:
    """The original path of each top-level name; for a name defined in the module, its own path."""
    found: dict[str, str] = {}
    for node in _statements(_tree(module).body):
        if isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            for name, source in _imported(origin, node):
                found[name] = f"{origin}.{source}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    found[alias.asname] = alias.name
        else:
            other = _renamed(node)
            for name in _targets(node):
                found.setdefault(name, found.get(other, f"{module}.{name}"))
    for name in _listed(module) or ():  # a module that is loaded on demand
        if name not in found and file_of(f"{module}.{name}"):
            found[name] = f"{module}.{name}"
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The top level of a module, with both branches of its conditions."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body)
            yield from _statements(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _statements(node.body)
        else:
            yield node


def _targets(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    return []


def _renamed(node: ast.stmt) -> str:
    """The name for which an assignment defines an alias."""
    value = node.value if isinstance(node, ast.Assign) else None
    return value.id if isinstance(value, ast.Name) else ""


@cache
def _definitions(module: str) -> frozenset[str]:
    """The names that a module defines itself rather than imports."""
    return frozenset({name for node in _statements(_tree(module).body) for name in _targets(node)})


def _origin(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    path = file_of(module)
    is_package = path is not None and path.name == "__init__.py"
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


@cache
def _listed(module: str) -> tuple[str, ...] | None:
    """`__all__`, if it is a list of strings, including names unpacked into it from a tuple.

    The tuple may be the `__all__` of another module, imported under a different name.
    """
    constants: dict[str, tuple[str, ...]] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "__all__":
                    constants[alias.asname or alias.name] = _listed(_origin(module, node)) or ()
        if not isinstance(node, ast.Assign):
            continue
        for name in _targets(node):
            if isinstance(node.value, ast.List | ast.Tuple):
                values: list[str] = []
                for item in node.value.elts:
                    if isinstance(item, ast.Constant) and isinstance(item.value, str):
                        values.append(item.value)
                    elif isinstance(item, ast.Starred) and isinstance(item.value, ast.Name):
                        values.extend(constants.get(item.value.id, ()))
                constants[name] = tuple(values)
    return constants.get("__all__")


def _imported(origin: str, node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, paired with its name in the source module."""
    for alias in node.names:
        if alias.name != "*":
            yield alias.asname or alias.name, alias.name
        elif file_of(origin) is not None:
            parts = (n for n in exports(origin) if file_of(f"{origin}.{n}") is None)
            yield from ((name, name) for name in parts)


def _is_public(module: str, name: str) -> bool:
    if name.startswith("_") or name in ("TYPE_CHECKING", "annotations"):
        return False
    if name in _definitions(module):
        return not _is_constant_of_typing(module, name)
    return any(
        alias.asname == name
        or (alias.name == "*" and name in dict(_imported(_origin(module, node), node)))
        for node in _statements(_tree(module).body)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def _is_constant_of_typing(module: str, name: str) -> bool:
    """Whether a name is a type variable, which nobody imports."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and name in _targets(node):
            call = node.value
            return isinstance(call, ast.Call) and ast.unparse(call.func).endswith("TypeVar")
    return False
