"""The picture in README.md: the packages, each above what it needs, drawn as SVG.

A package stands one row below the lowest that needs it, as near to the middle of those as there is
room. An edge that follows from others is left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from workspace import Package, find, packages, with_siblings

MARGIN = 28
BOX_WIDTH, NAME_HEIGHT = 304, 44
GAP_X, GAP_Y = 28, 40
BASE_HEIGHT = 40
LINE, LINE_HEIGHT = 44, 17  # characters, pixels

BACKGROUND, EDGE, INK, MUTED = "#fbf8f3", "#b9a99a", "#2d2622", "#6b5f57"
FACADE, BASE = "#a8324a", "#efe7dc"


@dataclass(frozen=True)
class Box:
    """A package and where it is drawn: the middle, the upper and the lower edge."""

    package: Package
    x: float
    top: float
    bottom: float


def svg() -> str:
    """The whole picture."""
    rows = _rows(packages())
    width = 2 * MARGIN + max(map(len, rows)) * (BOX_WIDTH + GAP_X) - GAP_X
    box_height = NAME_HEIGHT + LINE_HEIGHT * max(len(_lines(p)) for p in packages())
    height = 2 * MARGIN + len(rows) * (box_height + GAP_Y) + BASE_HEIGHT
    base = height - MARGIN - BASE_HEIGHT
    boxes: dict[str, Box] = {}
    for level, row in reversed(list(enumerate(rows))):
        top = base - (level + 1) * (box_height + GAP_Y)
        for package, x in zip(row, _places(row, boxes, width), strict=True):
            boxes[package.name] = Box(package, x, top, top + box_height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif">',
        f"<title>{escape(_title())}</title>",
        f'<rect width="{width}" height="{height}" rx="14" fill="{BACKGROUND}"/>',
    ]
    for box in boxes.values():
        needed = [boxes[p.name] for p in _direct(box.package)]
        parts += [_edge(box, other.x, other.top) for other in needed]
        if not needed:
            parts.append(_edge(box, box.x, base))
    parts += [_box(box) for box in boxes.values()]
    parts += [_base(base, width), "</svg>"]
    return "\n".join(parts) + "\n"


def _title() -> str:
    return "The packages of Linnet, each above those that it needs: " + ", ".join(
        f"{p.name} needs {', '.join(s.name for s in _direct(p)) or 'jax'}" for p in packages()
    )


def _rows(all_packages: Sequence[Package]) -> list[list[Package]]:
    level: dict[str, int] = {}
    for package in all_packages:
        level[package.name] = 1 + max((level[s] for s in package.siblings), default=-1)
    for package in reversed(all_packages):
        above = [level[p.name] for p in all_packages if package.name in p.siblings]
        level[package.name] = min(above, default=level[package.name] + 1) - 1
    return [[p for p in all_packages if level[p.name] == i] for i in range(max(level.values()) + 1)]


def _direct(package: Package) -> list[Package]:
    """The siblings that are not needed by another needed sibling anyway."""
    needed = [find(name) for name in package.siblings]
    return [p for p in needed if not any(p in with_siblings([q]) for q in needed if q != p)]


def _places(row: list[Package], above: dict[str, Box], width: float) -> list[float]:
    """The middles of a row's boxes: those of what needs them, moved apart where they overlap."""
    step = BOX_WIDTH + GAP_X
    wished = [
        _mean([box.x for box in above.values() if package in _direct(box.package)] or [width / 2])
        for package in row
    ]
    order = sorted(range(len(row)), key=lambda i: wished[i])
    places = [wished[i] for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + step)
    shift = _mean(wished) - _mean(places)
    lowest, highest = MARGIN + BOX_WIDTH / 2, width - MARGIN - BOX_WIDTH / 2
    shift = min(max(shift, lowest - places[0]), highest - places[-1])
    result = [0.0] * len(row)
    for i, place in zip(order, places, strict=True):
        result[i] = place + shift
    return result


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _lines(package: Package) -> list[str]:
    return textwrap.wrap(package.description.removesuffix(".").removesuffix(" for JAX"), LINE)


def _edge(box: Box, x: float, y: float) -> str:
    middle = (box.bottom + y) / 2
    curve = f"M{box.x:g} {box.bottom:g} C{box.x:g} {middle:g} {x:g} {middle:g} {x:g} {y:g}"
    return f'<path d="{curve}" fill="none" stroke="{EDGE}" stroke-width="2"/>'


def _box(box: Box) -> str:
    facade = box.package.name == "linnet"
    fill, name, text = (FACADE, "#ffffff", "#f6dfe2") if facade else ("#ffffff", INK, MUTED)
    left = box.x - BOX_WIDTH / 2
    shown = [
        f'<rect x="{left:g}" y="{box.top:g}" width="{BOX_WIDTH}" '
        f'height="{box.bottom - box.top:g}" rx="9" '
        f'fill="{fill}" stroke="{FACADE if facade else EDGE}" stroke-width="1.5"/>',
        f'<text x="{left + 14:g}" y="{box.top + 25:g}" font-size="15" font-weight="600" '
        f'fill="{name}">{escape(box.package.name)}</text>',
    ]
    shown += [
        f'<text x="{left + 14:g}" y="{box.top + 46 + i * LINE_HEIGHT:g}" font-size="12" '
        f'fill="{text}">{escape(line)}</text>'
        for i, line in enumerate(_lines(box.package))
    ]
    return "\n".join(shown)


def _base(y: float, width: float) -> str:
    needed = sorted({name for p in packages() for name in p.third_party})
    return (
        f'<rect x="{MARGIN}" y="{y:g}" width="{width - 2 * MARGIN:g}" '
        f'height="{BASE_HEIGHT}" rx="9" fill="{BASE}"/>\n'
        f'<text x="{width / 2:g}" y="{y + 25:g}" font-size="14" text-anchor="middle" '
        f'fill="{MUTED}">{escape(" · ".join(needed))}</text>'
    )
