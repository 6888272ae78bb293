"""Writes the pages in docs/api: expands lines such as `::: nn.Dense`.

People write these pages, so names are in a chosen order, in the form that users type. A line is one
of

    ::: nn.Dense                      the docstring and the signature
    ::: nnx.bridge.ToNNX              the same for a name in a namespace
    ::: nn from linnet.layers_norm    all names from there that have no separate line

A name that an earlier page describes becomes a link to it; a name from jax becomes a link to jax's
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from website import api as site_api
from workspace import ROOT

PAGES = ROOT / "docs" / "api"
SHORT = {"nn": "linnet.linen", "nnx": "linnet.nnx"}
LINE = re.compile(r"^::: ((?:nn|nnx|linnet)(?:\.\w+)*)(?: from (\S+))?$", re.MULTILINE)
JAX = "https://docs.jax.dev/en/latest/_autosummary"


@cache
def texts() -> dict[str, str]:
    """The written pages of the API, by their paths in docs/."""
    found = sorted(PAGES.rglob("*.md"))
    return {p.relative_to(PAGES.parent).as_posix(): p.read_text(encoding="utf-8") for p in found}


@cache
def described() -> dict[str, str]:
    """The name under which each definition is described, as written in the line of a page."""
    found: dict[str, str] = {}
    for text in texts().values():
        for name in names(text):
            home = site_api.resolve(full(name))
            if home is not None:
                found.setdefault(home, name)
    return found


def names(text: str) -> list[str]:
    """The names in the lines of a page."""
    return [name for match in LINE.finditer(text) for name in _names(match)]


def full(name: str) -> str:
    """The path that a program imports: `linnet.linen.Dense` for `nn.Dense`."""
    first, dot, rest = name.partition(".")
    return f"{SHORT.get(first, first)}{dot}{rest}"


def expanded(text: str) -> str:
    """A page with each line replaced by the text from which mkdocstrings makes a description."""

    def replaced(match: re.Match[str]) -> str:
        level = 3 if re.search(r"^## ", text[: match.start()], re.MULTILINE) else 2
        alone = match[2] is None
        return "\n".join(line for name in _names(match) for line in _lines(name, level, alone))

    return LINE.sub(replaced, text)


def entry(home: str, heading: str, level: int, paths: list[str]) -> list[str]:
    """The lines of a description.

    Args:
      home: the path of its definition.
      heading: its heading on the page.
      level: the heading's level.
      paths: other paths that lead there.
    """
    anchors = "".join(f"[](){{#{path}}}" for path in dict.fromkeys(paths) if path != home)
    lines = [anchors, ""] if anchors else []
    lines += [f"::: {home}", "    options:", f"      heading: {heading}"]
    lines += [f"      toc_label: {heading}", f"      heading_level: {level}"]
    if inherited := sorted(site_api.inherited(home)):
        lines += [f"      inherited_members: [{', '.join(inherited)}]"]
    return [*lines, ""]


def _names(match: re.Match[str]) -> list[str]:
    if match[2] is None:
        return [match[1]]
    module = full(match[1])
    alone = _on_lines_of_their_own()
    return [
        f"{match[1]}.{name}"
        for name in site_api.exports(module)
        if f"{match[1]}.{name}" not in alone
        if (home := site_api.resolve(f"{module}.{name}") or site_api.external(f"{module}.{name}"))
        if home.startswith(f"{match[2]}.") and not site_api.is_module(home)
    ]


@cache
def _with_lines() -> frozenset[str]:
    """The paths of all names on the pages; each has an anchor of its own."""
    return frozenset(full(name) for text in texts().values() for name in names(text))


@cache
def _on_lines_of_their_own() -> frozenset[str]:
    return frozenset(m[1] for text in texts().values() for m in LINE.finditer(text) if not m[2])


def _lines(name: str, level: int, alone: bool) -> Iterator[str]:
    path = full(name)
    home = site_api.resolve(path)
    if home is None:
        of_jax = site_api.external(path)
        yield f"{'#' * level} {name} {{ .doc .doc-heading #{path} }}\n"
        yield f"This is jax's own [`{of_jax}`]({JAX}/{of_jax}.html).\n"
    elif described()[home] != name and not alone:  # no heading: searches would find it first
        yield f"[](){{#{path}}}`{name}` is [`{described()[home]}`][{home}].\n"
    elif described()[home] != name:
        yield f"{'#' * level} {name} {{ .doc .doc-heading #{path} }}\n"
        yield f"{site_api.summary(home)} It is [`{described()[home]}`][{home}].\n"
    else:
        others = [p for p in site_api.api().others.get(home, []) if p not in _with_lines()]
        yield from entry(home, name, level, [path, site_api.api().paths[home], *others])
