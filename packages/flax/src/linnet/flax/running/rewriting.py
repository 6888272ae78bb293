"""`python -m linnet.flax rewrite`: imports and uses of Flax become Linnet's own.

    python -m linnet.flax rewrite PATH...           shows what would change, as a diff
    python -m linnet.flax rewrite PATH... --check   the same; fails if anything would change
    python -m linnet.flax rewrite PATH... --write   changes the files

LibCST finds which names of a program are Flax's (it handles scopes and shadowing), and where they
are in the text. Only these places are replaced, so comments, formatting and strings stay as they
are; in a notebook (.ipynb), only code cells are rewritten. A name that Linnet doesn't have stays as
it is, gets a comment line, and is listed at the end; strings that name a module of Flax are only
listed. A second run changes nothing.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from linnet.flax.running.homes import home
from linnet.flax.running.notebooks import rewrite_notebook
from linnet.flax.running.remedies import REMEDIES
from linnet.flax.running.rewritten import Rewritten

is_module = attrgetter("is_module")
is_in_module = attrgetter("is_in_module")
_MODULE = re.compile(r"flax(\.[A-Za-z_]\w*)+")
SKIPPED = {"__pycache__", "site-packages", "node_modules"}


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m linnet.flax rewrite",
        description="Rewrites imports and uses of Flax to Linnet's own names; shows a diff.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="fail if a file would change")
    how.add_argument("--write", action="store_true", help="change the files")
    options = parser.parse_args(arguments)
    changed, left, failed = 0, [], False
    for path in files(options.paths):
        source = path.read_bytes()
        try:
            result = rewritten(path, source)
        except ImportError as error:
            print(f"{parser.prog}: {error}", file=sys.stderr)
            return 2
        except (ValueError, OSError) as error:
            print(f"{path}: not rewritten: {error}", file=sys.stderr)
            failed = True
            continue
        left += [f"{path}:{line}: {note}" for line, note in result.left]
        if result.code == source:
            continue
        changed += 1
        if options.write:
            path.write_bytes(result.code)
            print(f"rewrote {path}")
        else:
            print(diff(path, source, result.code), end="")
    if left:
        print("\nleft as it is:", *left, sep="\n  ")
    return int(failed or (options.check and changed > 0))


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """The Python files and notebooks among `paths` and in their folders, hidden ones left out."""
    for path in paths:
        if not path.exists():
            raise SystemExit(f"python -m linnet.flax rewrite: there is no {path}")
        if path.is_file():
            yield path
            continue
        for file in sorted([*path.rglob("*.py"), *path.rglob("*.ipynb")]):
            folders = file.relative_to(path).parts[:-1]
            if not any(part in SKIPPED or part.startswith(".") for part in folders):
                yield file


def rewritten(path: Path, source: bytes) -> Rewritten:
    """Rewrites a program or a notebook, depending on its extension."""
    if path.suffix != ".ipynb":
        return rewrite(source)
    return rewrite_notebook(source, rewrite)


def diff(path: Path, old: bytes, new: bytes) -> str:
    """The change to a file, as `diff -u` shows it."""
    before, after = (t.decode("utf-8", "replace").splitlines(keepends=True) for t in (old, new))
    return "".join(difflib.unified_diff(before, after, str(path), str(path)))


def rewrite(source: bytes) -> Rewritten:
    """Rewrites a program.

    >>> print(rewrite(b"import flax.linen as nn  # layers").code.decode())
    import linnet.linen as nn  # layers

    Raises:
      ValueError: it isn't Python.
      MissingExtraError: LibCST is not installed.
    """
    if b"flax" not in source:
        return Rewritten(source, [])
    program = _Program(source)
    program.read()
    program.change()
    return Rewritten(program.edited(), sorted(program.left))


@dataclass
class _Binding:
    """A local name that an import binds to something of Flax."""

    statement: Any
    alias: Any
    path: str
    is_root: bool  # `import flax.linen`, which binds `flax`
    uses: list[tuple[Any, list[Any], list[str]]] = field(default_factory=list)


def _note(name: str) -> str:
    return f"{name} is not in Linnet. {REMEDIES.get(name, '')}".rstrip()


class _Program:
    """A program's text, its imports of Flax with their uses, and the edits to make."""

    def __init__(self, source: bytes) -> None:
        try:
            import libcst
            from libcst import metadata
        except ImportError as error:
            from linnet.module_core.errors import MissingExtraError

            raise MissingExtraError(
                "rewriting needs LibCST, which is not installed.",
                hint="Install it: python -m pip install 'linnet-flax[rewrite]', or libcst alone.",
            ) from error
        self.cst = libcst
        self.source = source
        try:
            tree = libcst.parse_module(source)
        except (libcst.ParserSyntaxError, UnicodeDecodeError, LookupError) as error:
            raise ValueError(str(error)) from error
        wrapper = metadata.MetadataWrapper(tree, unsafe_skip_copy=True)
        spans = wrapper.resolve(metadata.ByteSpanPositionProvider)
        self.span = {node: (s.start, s.start + s.length) for node, s in spans.items()}
        self.parents = wrapper.resolve(metadata.ParentNodeProvider)
        self.scopes = wrapper.resolve(metadata.ScopeProvider)
        self.newline = tree.default_newline.encode()
        self.bindings: dict[int, _Binding] = {}
        self.edits: list[tuple[int, int, bytes]] = []
        self.left: list[tuple[int, str]] = []

    # Analysis.

    def read(self) -> None:
        """Finds the imports of Flax, and the uses of each."""
        for node in self.span:
            if isinstance(node, self.cst.Import):
                self._read_import(node)
            elif isinstance(node, self.cst.ImportFrom):
                self._read_import_from(node)
        for node in self.span:
            if isinstance(node, self.cst.Name):
                self._read_use(node)
            elif isinstance(node, self.cst.SimpleString):
                text = node.evaluated_value
                if isinstance(text, str) and _MODULE.fullmatch(text):
                    self._leave(node, f"the string {node.value}")

    def _read_import(self, node: Any) -> None:
        for alias in node.names:
            path = self._dotted(alias.name)
            if path.split(".")[0] == "flax":
                self.bindings[id(alias)] = _Binding(node, alias, path, alias.asname is None)

    def _read_import_from(self, node: Any) -> None:
        if node.relative or node.module is None or isinstance(node.names, self.cst.ImportStar):
            return
        module = self._dotted(node.module)
        if module.split(".")[0] == "flax":
            for alias in node.names:
                path = f"{module}.{alias.name.value}"
                self.bindings[id(alias)] = _Binding(node, alias, path, False)

    def _read_use(self, node: Any) -> None:
        scope = self.scopes.get(node)
        if scope is None or self._inside(node, (self.cst.Import, self.cst.ImportFrom)):
            return
        parent = self.parents[node]
        if isinstance(parent, self.cst.Attribute) and parent.attr is node:
            return
        for binding in self._bound(scope, node.value):
            chain, names = [node], []
            while isinstance(parent, self.cst.Attribute) and parent.value is chain[-1]:
                chain.append(parent)
                names.append(parent.attr.value)
                parent = self.parents[parent]
            binding.uses.append((node, chain, names))
            return

    def _bound(self, scope: Any, name: str) -> Iterator[_Binding]:
        """The imports of Flax that bind `name` in a scope: the first one for `import flax.a`."""
        for statement in sorted(
            (a.node for a in scope[name] if self._is_import(getattr(a, "node", None))),
            key=lambda n: self.span[n],
        ):
            for alias in statement.names if not self._is_star(statement) else ():
                binding = self.bindings.get(id(alias))
                if binding is not None and self._local(binding) == name:
                    yield binding

    def _local(self, binding: _Binding) -> str:
        if binding.alias.asname is not None:
            return str(binding.alias.asname.name.value)
        return "flax" if binding.is_root else binding.path.rpartition(".")[2]

    def _is_import(self, node: object) -> bool:
        return isinstance(node, (self.cst.Import, self.cst.ImportFrom))

    def _is_star(self, statement: Any) -> bool:
        return isinstance(statement.names, self.cst.ImportStar)

    def _inside(self, node: Any, kinds: tuple[type, ...]) -> bool:
        while node is not None and not isinstance(node, kinds):
            node = self.parents.get(node)
        return node is not None

    def _dotted(self, node: Any) -> str:
        if isinstance(node, self.cst.Attribute):
            return f"{self._dotted(node.value)}.{node.attr.value}"
        return str(node.value)

    # Edits to make.

    def change(self) -> None:
        """Collects the edits."""
        by_statement: dict[int, list[_Binding]] = {}
        for binding in self.bindings.values():
            by_statement.setdefault(id(binding.statement), []).append(binding)
        for bindings in by_statement.values():
            if isinstance(bindings[0].statement, self.cst.Import):
                self._change_import(bindings)
            else:
                self._change_import_from(bindings)
        for node in self.span:
            if isinstance(node, self.cst.ImportFrom) and self._is_star(node) and node.module:
                self._change_star(node)

    def _change_import(self, bindings: list[_Binding]) -> None:
        for binding in bindings:
            modules = self._roots(binding) if binding.is_root else self._renamed(binding)
            if modules == [binding.path]:
                continue
            alone = len(binding.statement.names) == 1
            start, end = self.span[binding.statement if alone else binding.alias]
            if not binding.is_root:
                self._replace(binding.alias.name, modules[0])
            elif alone and self._has_own_line(binding.statement):
                between = self.newline + self._indentation(start)
                lines = [f"import {module}".encode() for module in modules]
                self.edits.append((start, end, between.join(lines)))
            else:
                text = ", ".join(modules)
                self._replace(binding.alias.name, text)

    def _renamed(self, binding: _Binding) -> list[str]:
        """The module for `import flax.a as b`."""
        found = home(binding.path, self._suffixes(binding), is_module)
        if found is None:
            self._unknown(binding.statement, binding.path)
            return [binding.path]
        self._note_unknown_uses(binding)
        return [found.path]

    def _roots(self, binding: _Binding) -> list[str]:
        """The modules to import instead of `import flax.a`, for it and all uses of `flax`."""
        modules, kept = [], False
        if binding.path != "flax":
            found = home(binding.path, fits=is_module)
            if found is None:
                kept = True
                self._unknown(binding.statement, binding.path)
            else:
                modules.append(found.path)
        for node, chain, names in binding.uses:
            # Attributes of an object that isn't a module can't be looked up: an instance may have
            # them.
            for length in range(len(names), -1, -1):
                name = ".".join(["flax", *names[:length]])
                found = home(name)
                if found is not None:
                    break
            assert found is not None  # flax itself is linnet.flax
            if length < len(names) and found.is_module:
                kept = True
                self._unknown(node, ".".join(["flax", *names[: length + 1]]))
                continue
            self._replace_span(self.span[chain[0]][0], self.span[chain[length]][1], found.path)
            modules.append(found.module)
        if kept:
            modules.append(binding.path)
        elif not modules:
            modules.append("linnet.flax")
        return sorted(set(modules))

    def _change_import_from(self, bindings: list[_Binding]) -> None:
        statement = bindings[0].statement
        module = self._dotted(statement.module)
        groups: dict[str, list[_Binding]] = {}
        for binding in bindings:
            found = home(binding.path, self._suffixes(binding), is_in_module)
            if found is not None:
                self._note_unknown_uses(binding)
            target = module if found is None else found.path.rpartition(".")[0]
            groups.setdefault(target, []).append(binding)
        own_line = self._has_own_line(statement)
        lacking = [b.path for b in groups.get(module, ())]
        if len(groups) == 1 or not own_line:
            for path in lacking:
                self._unknown(statement, path)
        if len(groups) == 1:
            (target,) = groups
            if target != module:
                self._replace(statement.module, target)
            return
        start, end = self.span[statement]
        lines = [
            line[line.index(b"#") :]
            for line in self.source[start:end].splitlines()
            if b"#" in line  # between the parentheses
        ]
        for target, members in groups.items():
            names = ", ".join(self._alias(b.alias) for b in members)
            if target == module and own_line:
                for path in lacking:
                    self._leave(statement, _note(path))
                    lines.append(f"# linnet: {_note(path)}".encode())
            lines.append(f"from {target} import {names}".encode())
        between = self.newline + self._indentation(start) if own_line else b"; "
        self.edits.append((start, end, between.join(lines)))

    def _alias(self, alias: Any) -> str:
        name = str(alias.name.value)
        return name if alias.asname is None else f"{name} as {alias.asname.name.value}"

    def _change_star(self, node: Any) -> None:
        module = self._dotted(node.module)
        if node.relative or module.split(".")[0] != "flax":
            return
        found = home(module, fits=is_module)
        if found is None:
            self._unknown(node, module)
        else:
            self._replace(node.module, found.path)

    def _suffixes(self, binding: _Binding) -> list[str]:
        return [".".join(names) for _, _, names in binding.uses if names]

    def _note_unknown_uses(self, binding: _Binding) -> None:
        """Comments on uses of a module that has no such name."""
        for node, _, names in binding.uses:
            for length in range(len(names)):
                above = home(".".join([binding.path, *names[:length]]))
                if above is None or not above.is_module:
                    break  # An object that isn't a module may have any attribute.
                name = ".".join([binding.path, *names[: length + 1]])
                if home(name) is None:
                    self._unknown(node, name)
                    break

    # Edits.

    def _replace(self, node: Any, text: str) -> None:
        self._replace_span(*self.span[node], text)

    def _replace_span(self, start: int, end: int, text: str) -> None:
        self.edits.append((start, end, text.encode()))

    def _unknown(self, node: Any, name: str) -> None:
        """Puts a comment line above the statement that `node` is in."""
        note = _note(name)
        self._leave(node, note)
        blocks = (self.cst.Module, self.cst.IndentedBlock)
        while not isinstance(self.parents[node], blocks):
            node = self.parents[node]
        decorators = [self.span[d][0] for d in getattr(node, "decorators", ())]
        start = min([self.span[node][0], *decorators])
        line = self.source.rfind(b"\n", 0, start) + 1
        comment = f"# linnet: {note}".encode()
        above = []
        for earlier in reversed(self.source[:line].splitlines()):
            if not earlier.strip().startswith(b"#"):
                break
            above.append(earlier.strip())
        edit = (line, line, self._indentation(start) + comment + self.newline)
        if comment not in above and edit not in self.edits:
            self.edits.append(edit)

    def _leave(self, node: Any, note: str) -> None:
        self.left.append((self.source.count(b"\n", 0, self.span[node][0]) + 1, note))

    def _indentation(self, start: int) -> bytes:
        line = self.source[self.source.rfind(b"\n", 0, start) + 1 : start]
        return line[: len(line) - len(line.lstrip())]

    def _has_own_line(self, statement: Any) -> bool:
        line = self.parents[statement]
        return isinstance(line, self.cst.SimpleStatementLine) and len(line.body) == 1

    def edited(self) -> bytes:
        """The text with all edits."""
        text = self.source
        for start, end, new in sorted(self.edits, key=lambda edit: edit[:2], reverse=True):
            text = text[:start] + new + text[end:]
        return text
