"""Searches the site as the theme does, with the built index and the theme's ranking.

The theme searches in the browser with lunr: each word of a query matches the words that begin with
it, titles weigh 1000 times as much as text, and a page's front matter may boost the page.
Texts and queries are divided into words at the separators that mkdocs.yml sets. A page counts more
than a section, and so does a result that has more of the query's words. Results of one page are
shown together, at the rank of the best one. Here, lunr for Python does the same.
"""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from workspace import ROOT

INDEX = ROOT / "site" / "search" / "search_index.json"


@cache
def _index(file: Path) -> tuple[Any, re.Pattern[str]]:
    from lunr import get_default_builder, lunr
    from lunr.stop_word_filter import stop_word_filter

    found = json.loads(file.read_text(encoding="utf-8"))
    separator = re.compile(found["config"]["separator"])
    fields = ({"field_name": "title", "boost": 1000}, "text")
    boosted = [
        (
            doc | {name: separator.sub(" ", _plain(doc[name])) for name in ("title", "text")},
            {"boost": doc.get("boost", 1)},
        )
        for doc in found["docs"]
    ]
    builder = get_default_builder()
    builder.pipeline.reset()  # the theme indexes words as they are, not their stems
    builder.pipeline.add(stop_word_filter)
    builder.search_pipeline.reset()
    builder.b(0)  # and counts words regardless of the length of a text
    return lunr(ref="location", fields=fields, documents=boosted, builder=builder), separator


def _plain(text: str) -> str:
    """Text without tags or asterisks, which lunr for Python would treat as wildcards."""
    return html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("*", " ")


def pages(query: str, file: Path = INDEX) -> list[str]:
    """The pages that a query finds, the best first."""
    return [section.partition("#")[0] for section in sections(query, file)]


def sections(query: str, file: Path = INDEX) -> list[str]:
    """The best section of each page that a query finds: `guides/faq/#how-do-i-stop-early`."""
    from lunr.stop_word_filter import WORDS

    index, separator = _index(file)
    words = set(separator.sub(" ", query.lower()).split())
    best: dict[str, float] = {}
    inside: dict[str, tuple[float, str]] = {}
    for match in index.search(" ".join(f"{word}*" for word in words)):
        page = match["ref"].partition("#")[0]
        whole = page == match["ref"]
        terms = match["match_data"].metadata
        found = {word for word in words if any(term.startswith(word) for term in terms)}
        share = len(found) / len(found | (words - WORDS))
        score = match["score"] * (1 + (whole + share) ** 2)
        best[page] = max(best.get(page, 0.0), score)
        if not whole:
            inside[page] = max(inside.get(page, (0.0, "")), (score, match["ref"]))
    return [inside.get(page, (0, page))[1] for page in sorted(best, key=lambda page: -best[page])]
