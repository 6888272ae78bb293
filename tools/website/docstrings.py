"""Explains Linnet's docstrings to griffe, the tool that reads them for the API pages.

griffe doesn't know these six things:

- Linen's modules are dataclasses by inheritance: their fields are the constructor's parameters
  (`releasing.constructors`).
- `scale, bias: ...` among the arguments describes two of them.
- An example (`>>>`) is code wherever it occurs.
- A name in backticks that is described somewhere becomes a link.
- An asterisk in a shape, such as [*batch, features], or in a pattern is an asterisk.
- A private name tells readers nothing, so a signature shows its value instead.

A path such as `functional.layer_norm` or `linnet.struct.field` that leads nowhere is a warning, and
therefore an error in the strict build.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # griffe loads this file by its path

import griffe

from releasing.constructors import add_constructors
from website import api as site_api

LOGGER = logging.getLogger("mkdocs.linnet")

ERRORS = "linnet.module_core.errors"
OF_NAMES = ("Args", "Attributes", "Raises")
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")
SEVERAL = re.compile(r"^  (\*{0,2}\w+(?:, \*{0,2}\w+)+): (.*)$")
NAMES_ALONE = re.compile(r"^  \w+(?:, \w+)*,$")
ITEM = re.compile(r"^\s*[-*] ")
# In [*batch, features], "*.bias" or "head*", outside backticks, Markdown would see emphasis.
ASTERISK = re.compile(r"(`[^`]*`)|(?:(?<=[\[(\"])|(?<=, ))\*(?=[\w.])|(?<=\w)\*(?=\")")
PRIVATE = re.compile(r"(?<![\w.'\"])_[A-Za-z]\w*")
UNION = re.compile(r" \| _[A-Z]\w*")
NAME = re.compile(r"(?<![\[`\w])`([A-Za-z_][\w.]*)(\(\))?`(?![`\]])")
FACADES = {"nn": "linnet.linen", "linen": "linnet.linen", "nnx": "linnet.nnx"}


class Linnet(griffe.Extension):
    """Completes classes and docstrings once a package has been read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Processes everything below `pkg`."""
        add_constructors(pkg)
        for obj in list(_everything(pkg)):
            _show_no_private_names(obj)
        for obj in list(_everything(pkg)):
            if obj.docstring is not None:
                obj.docstring.value = rewritten(obj.docstring.value, obj)
                _know_errors(obj)
            if isinstance(obj, griffe.Class):
                obj.bases = [b for b in obj.bases if not str(b).rpartition(".")[2].startswith("_")]


def _everything(obj: griffe.Object) -> Any:
    yield obj
    for member in obj.members.values():
        if isinstance(member, griffe.Object):
            yield from _everything(member)


def _show_no_private_names(obj: griffe.Object) -> None:
    """Replaces private names in signatures and values.

    A default is replaced with its value, or with `...` if that is private, too, such as the
    sentinel of an argument that wasn't given (in a constructor, with None). In an annotation, a
    private class is left out of a union, and an alias is replaced with its definition.
    """
    if isinstance(obj, griffe.Attribute) and PRIVATE.search(str(obj.value or "")):
        obj.value = None
    for parameter in obj.parameters if isinstance(obj, griffe.Function) else ():
        default = str(parameter.default)
        if PRIVATE.match(default):
            none = "None" if obj.name == "__init__" else "..."
            parameter.default = _value(default, obj) or none
        annotation = str(parameter.annotation)
        shown = PRIVATE.sub(lambda m: _value(m[0], obj) or m[0], UNION.sub("", annotation))
        if shown != annotation:
            parameter.annotation = shown


def _value(name: str, obj: griffe.Object) -> str:
    """The value of a private name of a module, if readers would understand it."""
    found = obj.module.members.get(name)
    if isinstance(found, griffe.Alias):  # `from jax.sharding import Mesh as _Mesh`
        return found.target_path.rpartition(".")[2]
    value = str(found.value or "") if isinstance(found, griffe.Attribute) else ""
    hidden = PRIVATE.search(value) or value == "object()" or "TypeVar(" in value
    return "" if hidden else value


def _know_errors(obj: griffe.Object) -> None:
    """Adds the errors that an object's docstring names to its module, for links."""
    text = obj.docstring.value if obj.docstring is not None else ""
    raised = re.search(r"^Raises:\n((?: .*\n?|\n)*)", text, re.MULTILINE)
    for name in re.findall(r"^  (\w+):", raised[1], re.MULTILINE) if raised else []:
        home = f"{ERRORS}.{name}"
        if home in site_api.api().paths and name not in obj.module.members:
            obj.module.set_member(name, griffe.Alias(name, home, parent=obj.module))


# Text.


def rewritten(text: str, obj: griffe.Object) -> str:
    """A docstring in the form that griffe and Markdown need."""
    lines: list[str] = []
    section, fence = "", None  # the indentation of the example that is being read
    for line in _taken_apart(text.splitlines()):
        indent = line[: len(line) - len(line.lstrip())]
        if heading := SECTION.match(line):
            section = heading[1]
        elif line and not indent:
            section = ""
        if fence is None and line.lstrip().startswith(">>> "):
            fence = indent
            lines += [*_empty_line_after(lines), f"{fence}```pycon"]
        elif fence is not None and not line:
            lines.append(f"{fence}```")
            fence = None
        elif fence is None and ITEM.match(line) and lines and not _in_list(lines[-1]):
            lines += _empty_line_after(lines)
        if fence is not None:
            lines.append(re.sub(r"\s*# doctest: .*$", "", line))
        elif section or not line.startswith("    "):  # otherwise, an equation
            lines.append(linked(line, obj))
        else:
            lines.append(line)
    if fence is not None:
        lines.append(f"{fence}```")
    return "\n".join(lines)


def _empty_line_after(lines: list[str]) -> list[str]:
    """The empty line that Markdown needs before a list or a block of code."""
    return [""] if lines and lines[-1].strip() and not SECTION.match(lines[-1]) else []


def _in_list(line: str) -> bool:
    return bool(ITEM.match(line)) or line.startswith("  ")


def _taken_apart(lines: list[str]) -> list[str]:
    """Describes each of several arguments that share a description."""
    result: list[str] = []
    section, i = "", 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if heading := SECTION.match(line):
            section = heading[1]
        elif line and not line.startswith(" "):
            section = ""
        # Names that continue on the next line.
        while section in OF_NAMES and NAMES_ALONE.match(line) and i < len(lines):
            line = f"{line} {lines[i].strip()}"
            i += 1
        several = SEVERAL.match(line) if section in OF_NAMES else None
        if several is None:
            result.append(line)
            continue
        body = [several[2]]
        while i < len(lines) and lines[i].startswith("    "):
            body.append(lines[i])
            i += 1
        for name in several[1].split(", "):
            result += [f"  {name}: {body[0]}", *body[1:]]
    return result


def linked(line: str, obj: griffe.Object) -> str:
    """Turns the names in a line that are described somewhere into links, and keeps asterisks."""
    line = ASTERISK.sub(lambda m: m[1] or r"\*", line)
    return NAME.sub(lambda m: _link(m, obj), line)


def _link(match: re.Match[str], obj: griffe.Object) -> str:
    text, name = match[0], match[1]
    if name in _own_words(obj):
        return text
    target = find(name, obj)
    if target is None:
        if re.match(r"(functional|linnet\.\w+)\.\w", name) and site_api.resolve(name) is None:
            LOGGER.warning("%s: `%s` in its docstring names nothing", obj.path, name)
        return text
    if target == described_at(obj):
        return text
    return f"[{text}][{target}]"


def _own_words(obj: griffe.Object) -> set[str]:
    """Backticked words that mean the object itself or its parameters, and never become links."""
    words = {obj.name}
    parent = obj.parent
    for owner in (obj, parent):
        if isinstance(owner, griffe.Function):
            words |= {p.name for p in owner.parameters}
        if isinstance(owner, griffe.Class):
            init = owner.members.get("__init__")
            if isinstance(init, griffe.Function):
                words |= {p.name for p in init.parameters}
    return words


def described_at(obj: griffe.Object) -> str | None:
    """The path that describes an object or the class that it belongs to."""
    return site_api.api().paths.get(obj.path)


def find(name: str, obj: griffe.Object) -> str | None:
    """The identifier of what `name` means in the docstring of `obj`, if it is described."""
    first, _, rest = name.partition(".")
    candidates = []
    if first in FACADES and rest:
        candidates.append(f"{FACADES[first]}.{rest}")
    if first == "linnet":
        candidates.append(name)
    with contextlib.suppress(griffe.NameResolutionError):
        candidates.append(".".join(filter(None, [obj.resolve(first), rest])))
    for candidate in candidates:
        found = _described(candidate)
        if found is not None:
            return found
    return None


def _described(path: str) -> str | None:
    """The identifier of a path's entry; for a method, that of the method."""
    home = site_api.resolve(path)
    paths = site_api.api().paths
    if home is not None and home in paths:
        return home
    owner, _, member = path.rpartition(".")
    home = site_api.resolve(owner) if owner else None
    if home in paths and member in site_api.methods(str(home)):
        return f"{home}.{member}"
    return None
