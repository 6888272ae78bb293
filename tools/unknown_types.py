"""Counts `Any` in the sources: its share among annotated arguments and returns.

`Any` tells an editor nothing. It is right for values of the user's own types; everywhere else, it
hides the types that the code uses. `[tool.linnet.any]` in pyproject.toml holds the highest shares
allowed, so that they only fall. An alias of `Any` says what the value is, but tells a type checker
nothing more: the shares that count aliases as `Any` have ceilings, too.

    python tools/unknown_types.py          the figures of each package; fails above the ceiling
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import workspace

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def annotated(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The annotations of all functions: of "arguments", and of "returns"."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            a = node.args
            for argument in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]:
                if argument is not None and argument.annotation is not None:
                    yield "arguments", argument.annotation
            if node.returns is not None:
                yield "returns", node.returns


def is_any(annotation: ast.expr) -> bool:
    """Whether an annotation is exactly `Any`, in any spelling."""
    return ast.unparse(annotation).strip("'\"").rsplit(".", 1)[-1].lstrip("_") == "Any"


def count(sources: Iterable[str]) -> Counter[str]:
    """The number of annotations of each kind, and how many of these are `Any`."""
    found: Counter[str] = Counter()
    for source in sources:
        for kind, annotation in annotated(ast.parse(source)):
            found[kind] += 1
            found[f"Any {kind}"] += is_any(annotation)
    return found


def shares(found: Counter[str]) -> dict[str, float]:
    """The percentages of `Any`, by kind."""
    return {k: 100 * found[f"Any {k}"] / max(1, found[k]) for k in ("arguments", "returns")}


def aliases(sources: Mapping[str, str]) -> tuple[set[str], set[tuple[str, str]]]:
    """The aliases of `Any`, and those among them that a file defines as something else.

    Args:
      sources: the text of each file, by its name.
    """
    found: set[str] = set()
    otherwise: set[tuple[str, str]] = set()
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.AnnAssign) or node.value is None:
                continue
            if ast.unparse(node.annotation) == "TypeAlias":
                name = ast.unparse(node.target)
                if is_any(node.value):
                    found.add(name)
                else:
                    otherwise.add((Path(file).stem, name))
    return found, {(stem, name) for stem, name in otherwise if name in found}


def count_aliases(sources: Mapping[str, str]) -> Counter[str]:
    """The number of annotations of each kind that are one of the aliases of `Any`."""
    names, otherwise = aliases(sources)
    uses: Counter[str] = Counter()
    for file, source in sources.items():
        tree = ast.parse(source)
        origins = {Path(file).stem} | {
            node.module.rsplit(".", 1)[-1]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
        }
        known = names - {name for stem, name in otherwise if stem in origins}
        uses.update(kind for kind, a in annotated(tree) if ast.unparse(a) in known)
    return uses


def main() -> int:
    """Prints the figures; returns 1 if one is above its ceiling."""
    config = tomllib.loads((workspace.ROOT / "pyproject.toml").read_text("utf-8"))
    ceilings = config["tool"]["linnet"]["any"]
    total: Counter[str] = Counter()
    everything: dict[str, str] = {}
    for package in workspace.packages():
        sources = {str(p): p.read_text("utf-8") for p in sorted(Path(package.source).rglob("*.py"))}
        found = count(sources.values())
        total += found
        everything |= sources
        print(f"{package.short_name:18}", text(found))
    print(f"{'all':18}", text(total))
    uses = count_aliases(everything)
    hidden = total + Counter({f"Any {kind}": n for kind, n in uses.items()})
    print(f"{'with aliases':18}", text(hidden))
    print(f"{'':18}", ", ".join(sorted(aliases(everything)[0])))
    checked = shares(total) | {f"{k}_with_aliases": v for k, v in shares(hidden).items()}
    above = [k for k, share in checked.items() if share > ceilings[k]]
    for kind in above:
        print(
            f"{checked[kind]:.1f} % of the {kind.replace('_', ' ')} are Any; {ceilings[kind]} % is"
            " the most that [tool.linnet.any] allows: say what the values are."
        )
    return bool(above)


def text(found: Counter[str]) -> str:
    """The figures of one line."""
    return "   ".join(
        f"{kind} {found[f'Any {kind}']:4} of {found[kind]:4} ({share:4.1f} %)"
        for kind, share in shares(found).items()
    )


if __name__ == "__main__":
    sys.exit(main())
