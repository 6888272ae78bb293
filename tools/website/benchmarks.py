"""The page of benchmarks: its tables and its picture, from results of tools/bench.

    python tools/bench --only nnx --json figures.json
    python tools/generate.py figures.json    stores these results, and writes the page

Results are kept in docs/assets/benchmarks.json, in the form that `--json` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from workspace import ROOT

RESULTS = ROOT / "docs" / "assets" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "images" / "benchmarks.svg"
FIRST_STEP = ROOT / "docs" / "images" / "first_step.svg"

# Kinds of cases, by the beginnings of their names.
KINDS = {
    "trace": "Tracing",
    "first-step": "Time to the first step",
    "first-trace": "Tracing",
    "init": "Initialization",
    "flops": "The compiled program",
    "bytes": "The compiled program",
    "run": "The compiled program",
    "eager": "Calls without `jax.jit`",
    "depth": "Depth",
    "recurrent": "Recurrence",
    "repeat": "Repeated layers",
    "attention": "Attention",
    "nnx": "Stateful modules",
    "import": "Import",
    "loading": "Loading files",
    "keras": "Keras",
    "scale": "70 billion parameters",
}

# The cases that the picture shows, which are compared with Flax.
SHOWN = {
    "nnx-jit-nothing": "a call to nnx.jit, 702 arrays",
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
    "first-step-jit-init": "compiling and running init, 24 layers",
    "first-step-nnx-jit": "a compiled constructor (nnx), 24 layers",
    "attention-memory-gradient": "memory of attention, 4096 tokens, gradient",
    "attention-4096-gradient": "attention, 4096 tokens, gradient",
    "recurrent-lstm-gradient": "LSTM, 256 steps, gradient",
    "recurrent-gru-gradient": "GRU, 256 steps, gradient",
    "run-transformer-grad-step": "running the compiled step, 24 layers",
}

# The cases that the second picture shows, in seconds, and the labels of their contenders.
STEPS = {
    "first-step-init": "init",
    "first-step-jit-init": "jax.jit(init)",
    "first-step-nnx": "constructor (nnx)",
    "first-step-nnx-jit": "nnx.jit(constructor)",
    "first-step-train": "first training step",
    "first-step-nnx-train": "first training step (nnx)",
}
CONTENDERS = {
    "linnet": "Linnet",
    "linnet loop": "Linnet",
    "linnet repeat": "Linnet, Repeat",
    "flax": "Flax",
}


def results() -> dict[str, Any]:
    """The stored results."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def take_over(file: Path) -> None:
    """Stores the results of a file, replacing those of the same cases."""
    new = json.loads(file.read_text(encoding="utf-8"))
    cases = {case["name"]: case for case in [*results()["cases"], *new["cases"]]}
    kept = {"environment": new["environment"], "cases": list(cases.values())}
    RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def tables(found: dict[str, Any]) -> str:
    """The versions that were measured, in a sentence, and a table for each kind of case."""
    where = found["environment"]
    versions = ", ".join(f"{name} {v}" for name, v in sorted(where["packages"].items()))
    return (
        f"{versions}, Python {where['python']}, {where['cores']} cores, {where['backend']}.\n\n"
        f"{markdown(found['cases'])}"
    )


def markdown(cases: Iterable[dict[str, Any]]) -> str:
    """A table for each kind of case."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        kind = next((k for start, k in KINDS.items() if case["name"].startswith(start)), "Others")
        kinds.setdefault(kind, []).append(case)
    lines = []
    for kind, chosen in kinds.items():
        lines += [f"### {kind}", "", "| measured | compared | ratio | bound | met |"]
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

WIDTH, LEFT, RIGHT, TOP, BOTTOM, STEP = 760, 316, 64, 66, 22, 25
HIGHEST = 1.1
BACKGROUND, INK, MUTED, BAR = "#fbf8f3", "#2d2622", "#6b5f57", "#a8324a"


def svg(cases: Iterable[dict[str, Any]]) -> str:
    """Bars: the cost of Linnet, with Flax's as 1."""
    shown = sorted(
        (ratio["value"], escape(SHOWN[case["name"]]))
        for case in cases
        for ratio in case["ratios"]
        if (ratio["of"], ratio["to"]) == ("linnet", "flax") and case["name"] in SHOWN
    )
    height = TOP + len(shown) * STEP + BOTTOM
    words = "; ".join(f"{label} {value:.3g}" for value, label in shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>Ratios of cost, Linnet to Flax: {words}.</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="14" fill="{BACKGROUND}"/>',
        f'<text x="24" y="28" fill="{INK}" font-weight="600">Cost of Linnet, Flax = 1</text>',
    ]
    for mark in (0, 0.25, 0.5, 0.75, 1):
        x = _x(mark)
        stroke = f'"{INK}" stroke-opacity="1"' if mark == 1 else f'"{MUTED}" stroke-opacity="0.3"'
        parts += [
            f'<path d="M{x} {TOP - 8}V{height - BOTTOM}" stroke={stroke}/>',
            f'<text x="{x}" y="{TOP - 14}" fill="{MUTED}" text-anchor="middle">{mark:g}</text>',
        ]
    for y, (value, label) in zip(range(TOP, height, STEP), shown, strict=False):
        end = _x(value)
        parts += [
            f'<text x="{LEFT - 12}" y="{y + 12}" fill="{INK}" text-anchor="end">{label}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 2):.1f}" height="15" rx="3" '
            f'fill="{BAR}"/>',
            f'<text x="{end + 7:.1f}" y="{y + 12}" fill="{INK}" stroke="{BACKGROUND}" '
            f'stroke-width="4" paint-order="stroke">{value:.3g}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(value: float, highest: float = HIGHEST) -> float:
    """The position at which a ratio is drawn, between the edges."""
    return round(LEFT + value / highest * (WIDTH - LEFT - RIGHT), 1)


def first_step_svg(cases: Iterable[dict[str, Any]]) -> str:
    """Bars: the seconds until something is ready, for each contender of each case."""
    medians = {case["name"]: case["medians"] for case in cases}
    groups = [
        (label, [(CONTENDERS[c], medians[name][c]) for c in CONTENDERS if c in medians[name]])
        for name, label in STEPS.items()
        if medians.get(name)
    ]
    highest = max((seconds for _, bars in groups for _, seconds in bars), default=1.0) * 1.05
    line, gap = STEP - 5, 14
    height = 48 + sum(len(bars) * line + gap for _, bars in groups) + BOTTOM - gap
    words = "; ".join(
        f"{label}: {', '.join(f'{who} {seconds:.3g} s' for who, seconds in bars)}"
        for label, bars in groups
    )
    title = "Processor time from a cold start, 24 layers, in seconds"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(f'{title}. {words}.')}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="14" fill="{BACKGROUND}"/>',
        f'<text x="24" y="28" fill="{INK}" font-weight="600">{title}</text>',
    ]
    y = 48
    for label, bars in groups:
        parts.append(f'<text x="24" y="{y + 12}" fill="{INK}">{escape(label)}</text>')
        for who, seconds in bars:
            end, color = _x(seconds, highest), MUTED if who == "Flax" else BAR
            parts += [
                f'<text x="{LEFT - 12}" y="{y + 12}" fill="{MUTED}" text-anchor="end">{who}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 2):.1f}" height="15" rx="3" '
                f'fill="{color}"/>',
                f'<text x="{end + 7:.1f}" y="{y + 12}" fill="{INK}">{seconds:.3g}</text>',
            ]
            y += line
        y += gap
    return "\n".join([*parts, "</svg>"]) + "\n"
