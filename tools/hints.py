"""Hints are tried: each remedy that an error of a package suggests is a program that runs.

A hint that does not work costs its reader more than none. So a package's tests have a table: a
mistake, words of the hint that it is answered with, and the program that follows the hint to the
letter. `hints_in` reads from the sources which hints there are, and `untried` tells which of them
no row of a table covers, so that a new hint without a row fails a test.

A hint that asks ("Was the model initialized with a differently shaped input?") suggests a cause and
no program; it needs no row.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Remedy:
    """A mistake, and the program that its hint leads to.

    Attributes:
      words: of the hint, as in the source, with `{}` for what is filled in; long enough to tell it
        from others.
      mistake: raises the error.
      corrected: the same program, changed as the hint says.
    """

    words: str
    mistake: Callable[[], Any]
    corrected: Callable[[], Any]


@dataclass(frozen=True)
class Hint:
    """A hint in a source.

    Attributes:
      where: file and line.
      text: its words; what is filled in at run time is `{}`.
    """

    where: str
    text: str


def told(error: BaseException) -> str:
    """Everything that is printed of an error, in one line."""
    text = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return " ".join(text.split())


def try_remedy(remedy: Remedy) -> None:
    """Makes the mistake, reads the hint, and follows it.

    Raises:
      AssertionError: there is no error, or another one.
    """
    try:
        result = remedy.mistake()
    except Exception as error:
        text = told(error)
        parts = remedy.words.replace("{{}}", "{}").split("{}")
        assert all(part in text for part in parts), (
            f"the error has no hint {remedy.words!r}: {text}"
        )
    else:
        raise AssertionError(f"no error for {remedy.words!r}, but {result!r}")
    remedy.corrected()


def hints_in(folder: Path) -> list[Hint]:
    """All hints that the sources below a folder, or one file, give to errors."""
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    return [hint for file in files for hint in _hints_of(file)]


def untried(
    hints: Iterable[Hint], remedies: Sequence[Remedy], explained: Sequence[str] = ()
) -> list[str]:
    """The hints that suggest something and that no remedy covers, a line each.

    Args:
      hints: from `hints_in`.
      remedies: the table.
      explained: words of hints that suggest no program, such as where to read more.
    """
    known = [*(remedy.words for remedy in remedies), *explained]
    return [
        f"{hint.where}: {hint.text}"
        for hint in hints
        if not _only_asks(hint.text) and not any(words in hint.text for words in known)
    ]


def unknown(hints: Sequence[Hint], words: Iterable[str]) -> list[str]:
    """Words of a table that are in no hint (any more)."""
    return [w for w in words if not any(w in hint.text for hint in hints)]


def _only_asks(text: str) -> bool:
    return all(s.endswith("?") for s in re.split(r"(?<=[.?!])\s+", text.strip()))


def _hints_of(file: Path) -> Iterator[Hint]:
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            for call in _own_nodes(node):
                yield from _hint_of_call(call, [node, tree], file)


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own_nodes(child)


def _hint_of_call(call: ast.AST, scopes: Sequence[ast.AST], file: Path) -> Iterator[Hint]:
    if not isinstance(call, ast.Call):
        return
    for keyword in call.keywords:
        if keyword.arg == "hint":
            for text in _texts(keyword.value, scopes):
                yield Hint(f"{file.name}:{call.lineno}", " ".join(text.split()))


def _texts(value: ast.expr, scopes: Sequence[ast.AST]) -> list[str]:
    """The texts that an expression may have: of a conditional one both, of a name all given.

    Args:
      value: the expression.
      scopes: the function that it is in, and the module, whose constants have names, too.
    """
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in parts)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [
                a + b
                for a in _texts(left, scopes) or ["{}"]
                for b in _texts(right, scopes) or ["{}"]
            ]
        case ast.IfExp(body=body, orelse=other):
            return [*_texts(body, scopes), *_texts(other, scopes)]
        case ast.BoolOp(values=values):
            return [text for v in values for text in _texts(v, scopes)]
        case ast.Name(id=name):
            found = next(filter(None, (_assigned(name, scope) for scope in scopes)), [])
            return [text for given in found for text in _texts(given, scopes)]
    return []


def _assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in _own_nodes(scope):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets = [node.target]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            given = getattr(node, "value", None)
            if given is not None and not (isinstance(given, ast.Name) and given.id == name):
                found.append(given)
    return found
