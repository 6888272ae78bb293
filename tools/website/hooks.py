"""The hooks that mkdocs calls while it builds the site.

They add the generated pages to those in docs/, complete the navigation with them, and redirect
links out of docs/, which lead somewhere in the repository but not on the site.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import workspace
from website import api as site_api
from website import pages as site_pages
from website import reference
from workspace import ROOT

DOCS = ROOT / "docs"
SHOWN = (".md", ".svg", ".png", ".ipynb")
INCLUDED = re.compile(r"^<!-- README\.md: (.*) -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#|mailto:)([^()\s]+)\)")
SOURCE = '<details class="mkdocstrings-source"'
CELL = re.compile(r"^<td.*</td>$", re.MULTILINE)
LONG = re.compile(r"(?<=<code>)[^<]{20,}(?=</code>)")
BREAK = re.compile(r"(?<=\w)(?=\.[a-z])|(?<=\()(?=\w)")
FENCE = re.compile(r"(^(```+|~~~+).*?^\2\s*?$)", re.MULTILINE | re.DOTALL)


@event_priority(100)
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Completes the navigation: an entry `folder/` becomes the folder's pages that no entry names.

    The version is in the header and in the titles.
    """
    for kept in vars(reference).values():
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()  # pages change while you write
    config.site_name += f" {workspace.find('linnet').version}"
    if not config.repo_url:
        config.edit_uri = None
    known = sorted({*site_pages.pages(), *_written()})
    named = set(_named(config.nav))
    config.nav = _completed(config.nav, known, named)
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for path, text in site_pages.pages().items():
        if files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Redirects links that leave docs/, and inserts the parts that come from the README."""
    uri = page.file.src_uri
    text = _turned(markdown, uri, _origin(uri))
    if uri in reference.texts():
        text = reference.expanded(text)
    return INCLUDED.sub(lambda m: _turned(_section(m[1]), uri, "."), text)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leaves methods out of the table of contents of API pages, and parts out of the changelogs'.

    Sources, which mkdocstrings shows folded, aren't searched: they contain too many names. Long
    code in a table may break before a dot or after a bracket.
    """
    if page.file.src_uri == "changelogs.md":
        for item in _items(page.toc.items):
            if item.level == 2:
                item.children = []
    if page.file.src_uri.startswith("api/"):
        described = set(site_api.api().paths)
        for item in _items(page.toc.items):
            if item.id in described:
                item.children = []
    html = CELL.sub(lambda m: LONG.sub(lambda c: BREAK.sub("<wbr>", c[0]), m[0]), html)
    return html.replace(SOURCE, f"{SOURCE} data-search-exclude")


def _items(items: list[Any]) -> list[Any]:
    return [x for item in items for x in (item, *_items(item.children))]


# Navigation.


def _written() -> list[str]:
    """The pages in docs/."""
    return [p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")]


def _named(nav: Any) -> list[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav or []
    return [path for value in values for path in _named(value)]


def _completed(nav: Any, known: list[str], named: set[str]) -> Any:
    if isinstance(nav, dict):
        return {title: _completed(value, known, named) for title, value in nav.items()}
    if not isinstance(nav, list):
        return nav
    result: list[Any] = []
    for item in nav:
        if isinstance(item, str) and item.endswith("/"):
            result.extend(p for p in known if posixpath.dirname(p) + "/" == item and p not in named)
        else:
            result.append(_completed(item, known, named))
    return result


# Links.


def _turned(text: str, page: str, base: str) -> str:
    """The text of a page, with links made for the site.

    Args:
      text: Markdown.
      page: where it is shown.
      base: the folder in the repository that its links start from.
    """
    parts = FENCE.split(text)  # text, fence, its marks, text ...
    texts = [LINK.sub(lambda m: _link(m, page, base), part) for part in parts[::3]]
    return "".join(a + b for a, b in zip(texts, [*parts[1::3], ""], strict=True))


def _section(title: str) -> str:
    """A section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise PluginError(f"README.md has no section {title!r}.")
    return found[0]


def _link(match: re.Match[str], page: str, base: str) -> str:
    """A link that leads to a page of the site, or its text alone.

    A link to a package's folder leads to its API page; a link to a program, or to another file that
    the site shows, leads to that file's page. Of other links, only the text remains.
    """
    label, (target, _, anchor) = match[1], match[2].partition("#")
    path = posixpath.normpath(posixpath.join(base, target))
    if not path.startswith("docs/") and not (ROOT / path).exists():
        raise PluginError(f"{page} links to {target}, which doesn't exist.")
    shown = _shown(path)
    if shown is None and path.startswith("docs/") and path.endswith(SHOWN):
        shown = path.removeprefix("docs/")  # if it isn't there, mkdocs says so
    if shown is None:
        return label
    relative = posixpath.relpath(shown, posixpath.dirname(page) or ".")
    return f"[{label}]({relative}{'#' if anchor else ''}{anchor})"


def _origin(page: str) -> str:
    """The folder, in the repository, of the file that a page's text comes from."""
    if page in ("maintaining/contributing.md", "maintaining/security.md"):
        return "."
    return posixpath.dirname(f"docs/{page}")


def _shown(path: str) -> str | None:
    """The page of the site that shows a file or folder of the repository."""
    pages = {
        "README.md": "index.md",
        "CONTRIBUTING.md": "maintaining/contributing.md",
        "SECURITY.md": "maintaining/security.md",
    }
    if path in pages:
        return pages[path]
    if path.startswith("docs/") and not path.endswith(".py"):
        return None
    if path.startswith("docs/examples/") and (DOCS.parent / path) in site_pages.programs():
        return path.removeprefix("docs/").removesuffix(".py") + ".md"
    for package in workspace.packages():
        folder = package.folder.relative_to(ROOT).as_posix()
        if path == f"{folder}/CHANGELOG.md":
            return "changelogs.md"
        if path == folder or path.startswith(f"{folder}/"):
            return site_pages.package_page(package)
    return None
