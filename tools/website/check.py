"""Follows every link inside of a built site: pages, anchors, pictures, scripts.

    python tools/website/check.py site

What is wrong is listed, and the exit status is 1. Nothing is asked of other hosts; but a page that
would load a script, a style or a font from one is wrong, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
OF_THE_PAGE_ALONE = ("canonical", "next", "prev", "edit", "alternate")


class Page(HTMLParser):
    """The links, and what they can lead to, of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, bool]] = []
        """Targets, and whether the page loads them by itself."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append((values["href"], False))
        name = LOADED.get(tag)
        if name in values and values.get("rel") not in OF_THE_PAGE_ALONE:
            self.links.append((values[name], True))


def problems(site: Path) -> list[str]:
    """What is wrong in the site of that folder, a line each."""
    pages = {p: Page(p.read_text(encoding="utf-8")) for p in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"{site} holds no page."]
    found = []
    for path, page in pages.items():
        base = site if path.name == "404.html" else path.parent
        for target, loaded in page.links:
            problem = _problem(target, loaded, base, path, pages, site)
            if problem:
                found.append(f"{path.relative_to(site)}: {target!r} {problem}")
    return found


def _problem(
    target: str, loaded: bool, base: Path, path: Path, pages: dict[Path, Page], site: Path
) -> str | None:
    """What is wrong with one link, or None."""
    parts = urlsplit(target)
    if parts.scheme in ("data", "mailto"):
        return None
    if parts.scheme or parts.netloc:
        return "is loaded from another host" if loaded else None
    place = path
    if parts.path:
        start = site if parts.path.startswith("/") else base
        place = (start / unquote(parts.path).lstrip("/")).resolve()
        if place.is_dir():
            place /= "index.html"
    if not place.exists():
        return "leads nowhere"
    fragment = unquote(parts.fragment)
    if fragment and place in pages and fragment not in pages[place].anchors:
        return "names an anchor that the page lacks"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the folder that is named."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    site = Path(folder).resolve()
    found = problems(site)
    print("\n".join(found) if found else "Every link inside of the site leads somewhere.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
