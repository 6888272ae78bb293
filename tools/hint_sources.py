"""Finds the hints of a package's errors in its sources.

A hint is the argument `hint=` of a call. It may be a literal or a name, the result of a function in
this file or in one that it imports, or a parameter, whose value is then found at the function's
calls. All of these are followed. An expression that cannot be read also counts as a hint, with a
text that says so, so that no hint that reaches a user is missed.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeAlias

UNREAD = "not readable: "
"""The beginning of the text of a hint that this module cannot read."""

# Functions that return the candidates for a misspelled name, in any package.
_NAMES_CANDIDATES = frozenset(("did_you_mean",))
# The function that returns a number and its noun.
_COUNTS = frozenset(("counted",))

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Carrier: TypeAlias = tuple[str, int | None]  # a parameter: its name, and its position in a call


@dataclass(frozen=True)
class Hint:
    """A hint in a source.

    Attributes:
      where: file and line.
      text: its words, with `{}` for the parts that are filled in at run time.
    """

    where: str
    text: str


def hints_in(folder: Path) -> list[Hint]:
    """All hints in the sources below a folder, or in one file."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    return [hint for file in files for hint in _hints_of(file)]


@dataclass(frozen=True)
class _Place:
    """The place of an expression: its file and the functions around it, innermost first."""

    file: Path
    functions: tuple[Function, ...] = ()

    @property
    def scopes(self) -> tuple[ast.AST, ...]:
        return (*self.functions, _parsed(self.file))


def _hints_of(file: Path) -> Iterator[Hint]:
    carriers = _carriers(_package(file))
    for call, place in _calls(file):
        for value in _given(call, carriers):
            given = [value]
            if (parameter := _parameter(value, place)) is not None:
                given = _defaults(*parameter)  # other hints are at calls to the function
            for text in (text for v in given for text in _texts(v, place)):
                if text:
                    yield Hint(f"{file.name}:{call.lineno}", " ".join(text.split()))


def _given(call: ast.Call, carriers: dict[str, _Carrier]) -> Iterator[ast.expr]:
    """The hint that a call passes, by name or to a function that passes it on."""
    parameter, position = carriers.get(_name_of(call.func), ("hint", None))
    yield from (k.value for k in call.keywords if k.arg in ("hint", parameter))
    if position is not None:
        yield from call.args[position : position + 1]


@functools.cache
def _carriers(files: tuple[Path, ...]) -> dict[str, _Carrier]:
    """The functions that take a hint, each with the parameter that takes it."""
    found: dict[str, _Carrier] = {}
    new = [
        (node, "hint")
        for file in files
        for node in ast.walk(_parsed(file))
        if isinstance(node, Function) and "hint" in _parameters(node)
    ]
    while True:
        found |= {function.name: (name, _position(function, name)) for function, name in new}
        passed_on = (
            _parameter(value, place)
            for file in files
            for call, place in _calls(file)
            for value in _given(call, found)
        )
        new = [passed for passed in passed_on if passed and passed[0].name not in found]
        if not new:
            return found


def _parameters(function: Function) -> list[str]:
    arguments = function.args
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _defaults(function: Function, name: str) -> list[ast.expr]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(positional[::-1], arguments.defaults[::-1], strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [default for argument, default in pairs if argument.arg == name and default]


def _position(function: Function, name: str) -> int | None:
    positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    positional = [parameter for parameter in positional if parameter not in ("self", "cls")]
    return positional.index(name) if name in positional else None


def _parameter(value: ast.expr, place: _Place) -> tuple[Function, str] | None:
    """The function that has `value` as a parameter, and the parameter's name."""
    if not isinstance(value, ast.Name):
        return None
    for function in place.functions:
        if _assigned(value.id, function):
            return None
        if value.id in _parameters(function):
            return function, value.id
    return None


def _texts(value: ast.expr, place: _Place, on_the_way: tuple[ast.AST, ...] = ()) -> list[str]:
    """The possible texts of an expression: both for a conditional one, none if it is not a text.

    Args:
      value: the expression.
      place: its location, in which names are looked up.
      on_the_way: the functions and names that were followed to it.
    """

    def of(part: ast.expr) -> list[str]:
        return _texts(part, place, on_the_way)

    match value:
        case ast.Constant(value=text):
            return [text] if isinstance(text, str) else []
        case ast.JoinedStr(values=parts):
            return _joined([_words(part, place, on_the_way) for part in parts])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined([_words(left, place, on_the_way), _words(right, place, on_the_way)])
        case ast.IfExp(body=body, orelse=other):
            return [*of(body), *of(other)]
        case ast.BoolOp(values=values):
            return [text for v in values for text in of(v)]
        case ast.NamedExpr(value=inner):
            return of(inner)
        case ast.Name(id=name):
            found = next(filter(None, (_assigned(name, scope) for scope in place.scopes)), None)
            if found is not None:
                return [
                    text
                    for given in found
                    if given not in on_the_way
                    for text in _texts(given, place, (*on_the_way, given))
                ]
        case ast.Call(func=func):
            if _name_of(func) in _NAMES_CANDIDATES:
                return ["Did you mean {}?"]
            if _name_of(func) in _COUNTS:
                return ["{}"]
            followed = _function(func, place)
            if followed is not None and followed[0] not in on_the_way:
                function, inside = followed
                return [
                    text
                    for node in _own_nodes(function)
                    if isinstance(node, ast.Return) and node.value is not None
                    for text in _texts(node.value, inside, (*on_the_way, function))
                ]
    return [UNREAD + ast.unparse(value)]


def _words(part: ast.expr, place: _Place, on_the_way: tuple[ast.AST, ...]) -> list[str]:
    """The possible texts of a part of a longer text; `{}` if it cannot be read."""
    if isinstance(part, ast.Constant):
        return [str(part.value)]
    if isinstance(part, ast.FormattedValue):
        if part.conversion != -1 or part.format_spec is not None:
            return ["{}"]
        part = part.value
    texts = ["{}" if text.startswith(UNREAD) else text for text in _texts(part, place, on_the_way)]
    return list(dict.fromkeys(texts)) or [""]


def _joined(parts: Sequence[Sequence[str]]) -> list[str]:
    return ["".join(texts) for texts in product(*parts)]


def _assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in _own_nodes(scope):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign):
            targets = [node.target]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            given = getattr(node, "value", None)
            if given is not None and not (isinstance(given, ast.Name) and given.id == name):
                found.append(given)
    return found


def _function(func: ast.expr, place: _Place) -> tuple[Function, _Place] | None:
    """The called function, and the place of its body."""
    match func:
        case ast.Name(id=name):
            return _defined(name, place.file)
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            return _defined(name, place.file, in_class=True)
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            file = _imported(module, place.file)
            return None if file is None else _defined(name, file)
    return None


def _defined(name: str, file: Path, *, in_class: bool = False) -> tuple[Function, _Place] | None:
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.Module) and not in_class):
            for statement in node.body:
                if isinstance(statement, Function) and statement.name == name:
                    return statement, _Place(file, (statement,))
            if isinstance(node, ast.Module) and (source := _imported(name, file)) is not None:
                return _defined(name, source)
    return None


def _imported(name: str, file: Path) -> Path | None:
    """The file that `name` is imported from, or its own file if it is a module."""
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.ImportFrom) and name in [a.asname or a.name for a in node.names]:
            inside = _file_of(node, file)
            if inside is None:
                return None
            submodule = inside.parent / f"{name}.py"
            return submodule if inside.name == "__init__.py" and submodule.exists() else inside
    return None


def _file_of(node: ast.ImportFrom, file: Path) -> Path | None:
    if not node.level:
        if not (node.module or "").startswith("linnet."):
            return None
        spec = importlib.util.find_spec(node.module or "")
        return None if spec is None or spec.origin is None else Path(spec.origin)
    folder = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
    found = folder.with_suffix(".py") if node.module else folder / "__init__.py"
    return found if found.exists() else folder / "__init__.py"


@functools.cache
def _calls(file: Path) -> tuple[tuple[ast.Call, _Place], ...]:
    found: list[tuple[ast.Call, _Place]] = []

    def visit(node: ast.AST, place: _Place) -> None:
        if isinstance(node, ast.Call):
            found.append((node, place))
        if isinstance(node, Function):
            place = _Place(file, (node, *place.functions))
        for child in ast.iter_child_nodes(node):
            visit(child, place)

    visit(_parsed(file), _Place(file))
    return tuple(found)


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module, except those of nested functions."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, Function):
            yield child
            yield from _own_nodes(child)


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def _package(file: Path) -> tuple[Path, ...]:
    """All files of the package that contains a file."""
    root = file
    while (root.parent / "__init__.py").exists():
        root = root.parent
    return tuple(sorted(root.rglob("*.py"))) if root.is_dir() else (file,)


def _name_of(func: ast.expr) -> str:
    return getattr(func, "attr", getattr(func, "id", ""))
