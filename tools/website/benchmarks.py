"""The page of benchmarks: its tables and its picture, from results of tools/bench.

    python tools/bench --only nnx --json figures.json
    python tools/website/benchmarks.py figures.json    takes these results over, and writes the page

Results are kept in docs/assets/benchmarks.json, in the form that `--json` writes. Without a file,
page and picture are written anew from what is kept there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from picture import BACKGROUND, FACADE, INK, MUTED
from workspace import ROOT

RESULTS = ROOT / "docs" / "assets" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "images" / "benchmarks.svg"
TABLES = re.compile(r"(<!-- results[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)

# Kinds of cases, by how their names begin.
KINDS = {
    "trace": "Tracing",
    "first": "Tracing",
    "init": "Initialization",
    "flops": "The compiled program",
    "bytes": "The compiled program",
    "run": "The compiled program",
    "eager": "Calls without `jax.jit`",
    "depth": "Depth",
    "recurrent": "Recurrence",
    "attention": "Attention",
    "nnx": "Stateful modules",
    "import": "Import",
    "keras": "Keras",
}

# What the picture shows: cases that are compared with Flax.
SHOWN = {
    "nnx-jit-nothing": "a call of nnx.jit, 702 arrays",
    "nnx-jit-step": "a training step under nnx.jit",
    "nnx-split": "nnx.split",
    "nnx-eval-shape": "nnx.eval_shape, 24 layers",
    "nnx-trace": "tracing merge and call (nnx), 24 layers",
    "nnx-construct": "making a model (nnx), 24 layers",
    "import-nnx": "import nnx",
    "import-linen": "import linen",
    "trace-transformer-scan": "tracing nn.scan over 24 layers",
    "init-transformer-abstract": "eval_shape of init, 24 layers",
    "init-transformer-eager": "init, 24 layers",
    "attention-memory-gradient": "memory of attention, 4096 tokens, gradient",
    "attention-4096-gradient": "attention, 4096 tokens, gradient",
    "recurrent-lstm-gradient": "LSTM, 256 steps, gradient",
    "recurrent-gru-gradient": "GRU, 256 steps, gradient",
    "run-transformer-grad-step": "running the compiled step, 24 layers",
}


def results() -> dict[str, Any]:
    """What is kept."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def generated(found: dict[str, Any]) -> dict[Path, str]:
    """What page and picture should hold."""
    text = PAGE.read_text(encoding="utf-8")
    tables = f"\n{environment(found['environment'])}\n\n{markdown(found['cases'])}\n"
    return {PAGE: TABLES.sub(lambda m: m[1] + tables + m[2], text), PICTURE: svg(found["cases"])}


def environment(found: dict[str, Any]) -> str:
    """What was measured with, in a sentence."""
    versions = ", ".join(f"{name} {v}" for name, v in sorted(found["packages"].items()))
    return f"{versions}, Python {found['python']}, {found['cores']} cores, {found['backend']}."


def markdown(cases: Iterable[dict[str, Any]]) -> str:
    """A table for each kind of case."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        kind = KINDS.get(case["name"].split("-")[0], "Others")
        kinds.setdefault(kind, []).append(case)
    lines = []
    for kind, chosen in kinds.items():
        lines += [f"### {kind}", "", "| measured | compared | ratio | bound | kept |"]
        lines.append("|---|---|---:|---:|---|")
        lines += [_row(case, ratio) for case in chosen for ratio in case["ratios"]]
        lines.append("")
    return "\n".join(lines)


def _row(case: dict[str, Any], ratio: dict[str, Any]) -> str:
    value = f"{ratio['value']:.3f}" + (f" ± {ratio['error']:.3f}" if ratio["error"] else "")
    bound = "" if ratio["at_most"] is None else f"{ratio['at_most']:.4g}"
    met = {None: "", True: "yes", False: "**no**"}[ratio["met"]]
    note = f" ({ratio['note']})" if ratio.get("note") else ""
    compared = f"{ratio['of']} / {ratio['to']}"
    return f"| {case['about']} `{case['name']}`{note} | {compared} | {value} | {bound} | {met} |"


# The picture.

WIDTH, LEFT, RIGHT, TOP, BOTTOM, STEP, BAR = 760, 316, 64, 66, 22, 25, 15
HIGHEST = 1.1


def svg(cases: Iterable[dict[str, Any]]) -> str:
    """Bars: how much of Flax's cost Linnet needs."""
    found = {
        case["name"]: ratio["value"]
        for case in cases
        for ratio in case["ratios"]
        if (ratio["of"], ratio["to"]) == ("linnet", "flax")
    }
    shown = [(label, found[name]) for name, label in SHOWN.items() if name in found]
    shown.sort(key=lambda pair: pair[1])
    height = TOP + len(shown) * STEP + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(_said(shown))}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="14" fill="{BACKGROUND}"/>',
        f'<text x="24" y="28" fill="{INK}" font-weight="600">What Linnet costs, Flax = 1</text>',
    ]
    for value in (0, 0.25, 0.5, 0.75, 1):
        x = _x(value)
        line = (
            f'stroke="{INK if value == 1 else MUTED}" stroke-opacity="{1 if value == 1 else 0.3}"'
        )
        parts.append(f'<path d="M{x} {TOP - 8}V{height - BOTTOM}" {line}/>')
        parts.append(
            f'<text x="{x}" y="{TOP - 14}" fill="{MUTED}" text-anchor="middle">{value:g}</text>'
        )
    for i, (label, value) in enumerate(shown):
        y = TOP + i * STEP
        end = _x(value)
        parts += [
            f'<text x="{LEFT - 12}" y="{y + 12}" fill="{INK}" text-anchor="end">{escape(label)}'
            "</text>",
            f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 2):.1f}" height="{BAR}" rx="3" '
            f'fill="{FACADE}"/>',
            f'<text x="{end + 7:.1f}" y="{y + 12}" fill="{INK}" stroke="{BACKGROUND}" '
            f'stroke-width="4" paint-order="stroke">{value:.3g}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(value: float) -> float:
    """Where a ratio stands between the edges."""
    return round(LEFT + value / HIGHEST * (WIDTH - LEFT - RIGHT), 1)


def _said(shown: Sequence[tuple[str, float]]) -> str:
    """The picture in words."""
    return "Ratios of cost, Linnet to Flax: " + "; ".join(f"{a} {v:.3g}" for a, v in shown) + "."


def main(arguments: Sequence[str]) -> None:
    """Takes over the results that are named, and writes page and picture."""
    found = results()
    for name in arguments:
        new = json.loads(Path(name).read_text(encoding="utf-8"))
        kept = {case["name"]: case for case in found["cases"]}
        kept |= {case["name"]: case for case in new["cases"]}
        found = {"environment": new["environment"], "cases": list(kept.values())}
        RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path, text in generated(found).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
