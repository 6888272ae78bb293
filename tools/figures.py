"""The pictures of the guides and design pages, as SVG in the look of README's.

    python tools/figures.py    writes docs/images/*.svg anew

A picture is a list of shapes on a light ground of its own, so that it reads on dark pages, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from picture import BACKGROUND, BASE, EDGE, FACADE, INK, MUTED
from workspace import ROOT

IMAGES = ROOT / "docs" / "images"

# Temporary memory of the gradient of causal attention in MiB, by tokens: of all logits at once, and
# block after block. One sequence, 8 heads of 32, float32, jax 0.10.2 on a CPU:
# jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, k, v).compile().memory_analysis().temp_size_in_bytes
MEMORY = {
    512: (25.0, 14.8),
    1024: (98.1, 17.1),
    2048: (388.1, 21.1),
    4096: (1544.2, 29.3),
    8192: (6160.5, 49.3),
}


class Figure:
    """A picture that grows shape by shape.

    Args:
      width, height: in pixels.
      title: what it shows, for those who cannot see it.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size = width, height
        self._shapes = [
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{EDGE}"/>'
            "</marker></defs>",
            f'<rect width="{width}" height="{height}" rx="14" fill="{BACKGROUND}"/>',
        ]

    def svg(self) -> str:
        """The whole picture."""
        width, height = self._size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif">'
        )
        return "\n".join([head, *self._shapes, "</svg>"]) + "\n"

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 13,
        fill: str = MUTED,
        anchor: str = "start",
        bold: bool = False,
        code: bool = False,
    ) -> None:
        """A line of text whose baseline is at `y`."""
        weight = ' font-weight="600"' if bold else ""
        family = ' font-family="ui-monospace, monospace"' if code else ""
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" '
            f'text-anchor="{anchor}"{weight}{family}>{escape(text)}</text>'
        )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "#ffffff",
        stroke: str = EDGE,
        radius: float = 9,
    ) -> None:
        """A rectangle."""
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
        )

    def box(
        self, x: float, y: float, width: float, title: str, *lines: str, strong: bool = False
    ) -> float:
        """A box with a title and lines of code below it; returns its lower edge."""
        height = 38 + 20 * len(lines)
        fill, ink, code = (FACADE, "#ffffff", "#f6dfe2") if strong else ("#ffffff", INK, MUTED)
        self.rect(x, y, width, height, fill=fill, stroke=FACADE if strong else EDGE)
        self.text(x + 14, y + 24, title, size=14, fill=ink, bold=True)
        for i, line in enumerate(lines):
            self.text(x + 14, y + 46 + 20 * i, line, fill=code, code=True)
        return y + height

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through the points, with a tip at the last one."""
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._shapes.append(
            f'<path d="M{path}" fill="none" stroke="{EDGE}" stroke-width="2"{dashes} '
            'marker-end="url(#tip)"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], color: str, width: float = 2) -> None:
        """A line through the points."""
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        self._shapes.append(
            f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="{width:g}"/>'
        )


def rng_derivation() -> str:
    """From a seed to a parameter, in both styles."""
    figure = Figure(
        860,
        452,
        "linen: SHA-1 of the path and the number of the draw is folded into the stream's root key. "
        "nnx: the number of the draw is folded into the stream's key.",
    )
    left, right, width = 28, 444, 388
    figure.text(left, 44, "linen", size=18, fill=INK, bold=True)
    figure.text(right, 44, "nnx", size=18, fill=INK, bold=True)
    for x, calls in ((left, "model.init(jax.random.key(0), x)"), (right, "nnx.Rngs(0)")):
        figure.box(x, 62, width, "What the program says", calls)
        for start in (x + 93, x + 295):
            figure.arrow((start, 120), (start, 146))
    figure.box(left, 148, 186, "Root key", "of the stream", "key(0)")
    figure.box(left + 202, 148, 186, "Path and draw", "Block_0 ‖ out ‖ 1", "SHA-1, 4 bytes")
    figure.box(right, 148, 186, "Key", "of the stream", "key(0)")
    figure.box(right + 202, 148, 186, "Count", "draws so far", "0, 1, 2, …")
    for x, second in ((left, "hash"), (right, "count")):
        for start in (x + 93, x + 295):
            figure.arrow((start, 226), (start, 252))
        figure.box(x, 254, width, "One fold", f"jax.random.fold_in(key, {second})", strong=True)
        figure.arrow((x + width / 2, 312), (x + width / 2, 338))
        figure.box(x, 340, width, "The parameter", "lecun_normal()(key, (3, 3), float32)")
    figure.text(left, 428, "Siblings don't matter; names do.")
    figure.text(right, 428, "Names don't matter; what was made earlier does.")
    return figure.svg()


def nnx_dispatch() -> str:
    """What a call of `nnx.jit` does."""
    figure = Figure(
        860,
        506,
        "A call compares the remembered structure, gathers values into a flat list, calls jax.jit, "
        "and assigns what the program changed. Only a changed structure is walked again.",
    )
    x, width = 28, 484
    side, side_width = 560, 272
    figure.box(
        x, 28, width, "1 · Take objects out of the arguments", "model, optimizer → Hole, Hole"
    )
    figure.arrow((x + width / 2, 86), (x + width / 2, 112))
    figure.box(
        x, 114, width, "2 · Does the snapshot still hold?", "global count, or map(is_, now, then)"
    )
    figure.arrow((x + width / 2, 172), (x + width / 2, 198))
    figure.text(x + width / 2 + 10, 190, "yes")
    figure.box(x, 200, width, "3 · Gather the values", "list(map(attrgetter, variables))")
    figure.arrow((x + width / 2, 258), (x + width / 2, 284))
    figure.box(
        x,
        286,
        width,
        "4 · jax.jit",
        "static: the structure · traced: a flat list",
        "returns the output and what changed, nothing else",
        strong=True,
    )
    figure.arrow((x + width / 2, 364), (x + width / 2, 390))
    figure.box(x, 392, width, "5 · Assign what changed", "one assignment a changed variable")
    figure.box(side, 114, side_width, "Walk the objects", "tokens → GraphDef", "variables → list")
    figure.arrow((x + width, 143), (side - 2, 143))
    figure.text((x + width + side) / 2, 134, "no", anchor="middle")
    figure.arrow((side + 60, 192), (side + 60, 229), (x + width + 2, 229))
    figure.box(side, 286, side_width, "First call: trace", "objects around tracers", "Effect")
    figure.arrow((side - 2, 325), (x + width + 2, 325), dashed=True)
    figure.text(x, 482, "Equal structures are one object, so comparing two is comparing pointers.")
    return figure.svg()


def attention_memory() -> str:
    """All logits at once, block after block, and what that takes."""
    figure = Figure(
        860,
        396,
        "Exact attention holds all logits. Chunked attention visits blocks of them one by one, "
        "leaves out those that causality empties, and keeps a row's maximum, sum and weighted sum. "
        f"At {max(MEMORY)} tokens, a gradient takes {MEMORY[max(MEMORY)][0]:,.0f} MiB or "
        f"{MEMORY[max(MEMORY)][1]:.0f}.",
    )
    side, cells, top = 200, 8, 96
    for x, name in ((28, "exact"), (256, "chunked")):
        figure.text(x, 44, name, size=18, fill=INK, bold=True)
        figure.text(x, 84, "keys →", size=12)
    figure.text(28, 66, "queries × keys in memory")
    figure.text(256, 66, "one block at a time")
    figure.rect(28, top, side, side, fill=FACADE, stroke=FACADE, radius=3)
    cell = side / cells
    for row in range(cells):
        for column in range(cells):
            here = (row, column) == (5, 3)
            done = (row, column) < (5, 3)
            skipped = column > row
            fill = FACADE if here else BASE if skipped else "#ead3d6" if done else "#ffffff"
            figure.rect(
                256 + column * cell,
                top + row * cell,
                cell,
                cell,
                fill=fill,
                stroke="#d9cdbf",
                radius=1,
            )
    figure.text(28, top + side + 24, "memory: length²", fill=INK)
    figure.text(256, top + side + 24, "memory: length", fill=INK)
    figure.text(256, top + side + 46, "of a row: maximum, sum, weighted sum", size=12)
    figure.text(256, top + side + 64, "beige: left out under causality", size=12)
    _chart(figure, 548, top, 284, side)
    return figure.svg()


def _chart(figure: Figure, left: float, top: float, width: float, height: float) -> None:
    figure.text(left - 36, 44, "a gradient's memory, MiB", size=18, fill=INK, bold=True)
    figure.text(left - 36, 66, "one sequence, 8 heads of 32, float32")
    lengths = list(MEMORY)
    low, high = 10.0, 10_000.0

    def at(tokens: int, mebibytes: float) -> tuple[float, float]:
        across = math.log(tokens / lengths[0]) / math.log(lengths[-1] / lengths[0])
        up = math.log(mebibytes / low) / math.log(high / low)
        return left + across * width, top + (1 - up) * height

    for mark in (10, 100, 1000, 10_000):
        y = at(lengths[0], mark)[1]
        figure.line([(left, y), (left + width, y)], "#e6dccf", 1)
        figure.text(left - 8, y + 4, f"{mark:,}", size=11, anchor="end")
    for tokens in lengths:
        x = at(tokens, low)[0]
        figure.text(x, top + height + 18, f"{tokens}", size=11, anchor="middle")
    figure.text(left + width / 2, top + height + 38, "tokens", size=12, anchor="middle")
    for kind, color, name, below in ((0, FACADE, "exact", -10), (1, MUTED, "chunked", -10)):
        points = [at(tokens, values[kind]) for tokens, values in MEMORY.items()]
        figure.line(points, color, 3)
        x, y = points[-2]
        figure.text(x - 6, y + below, name, fill=color, anchor="end", bold=True)


def figures() -> dict[Path, str]:
    """What the files should hold."""
    drawn = {
        "rng_derivation": rng_derivation(),
        "nnx_dispatch": nnx_dispatch(),
        "attention_memory": attention_memory(),
    }
    return {IMAGES / f"{name}.svg": svg for name, svg in drawn.items()}


if __name__ == "__main__":
    for path, content in figures().items():
        path.write_text(content, encoding="utf-8")
