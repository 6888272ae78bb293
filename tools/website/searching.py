"""What a search of the site finds, by the built index and the way in which the theme ranks.

The theme searches in the browser with lunr: titles weigh 1000 times what text does, a page's front
matter may boost it, and the last word of a query may be the beginning of one. Results of one page
are shown together, by the best of them. Here lunr for Python does the same with the same index;
how titles and sections are weighed against each other was compared with a browser once.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from workspace import ROOT

INDEX = ROOT / "site" / "search" / "search_index.json"


@cache
def _index(file: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    from lunr import lunr

    found = json.loads(file.read_text(encoding="utf-8"))
    documents = {doc["location"]: doc for doc in found["docs"]}
    fields = ({"field_name": "title", "boost": 1000}, "text")
    boosted = [(doc, {"boost": doc.get("boost", 1)}) for doc in documents.values()]
    return lunr(ref="location", fields=fields, documents=boosted), documents


def pages(query: str, file: Path = INDEX) -> list[str]:
    """The pages that a query finds, the best first."""
    index, documents = _index(file)
    words = query.lower().split()
    terms = " ".join([*(f"+{word}" for word in words[:-1]), f"+{words[-1]}*"])
    best: dict[str, float] = {}
    for match in index.search(terms):
        page = match["ref"].partition("#")[0]
        whole = page == match["ref"]
        found = f"{documents[match['ref']]['title']} {documents[match['ref']]['text']}".lower()
        everything = all(word in found for word in words)
        score = match["score"] * (1 + (whole + everything) ** 2)
        best[page] = max(best.get(page, 0.0), score)
    return sorted(best, key=lambda page: -best[page])
