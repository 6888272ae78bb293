"""No sentence or example in this repository is one of Flax's.

See `wording`: the strings of the installed Flax are read when the test runs, and a failure names
the place of our own text.
"""

from pathlib import Path

import flax
import pytest

from parity import wording

ROOT = Path(__file__).parents[2]
THEIRS = sorted(Path(flax.__path__[0]).rglob("*.py"))
OURS = [
    file
    for pattern in (
        "*.md",
        "noxfile.py",
        "docs/**/*.md",
        "docs/**/*.py",
        "packages/*/*.md",
        "packages/*/src/**/*.py",
        "packages/*/tests/**/*.py",
        "tools/**/*.py",
    )
    for file in sorted(ROOT.glob(pattern))
]

WORDS = 7
"""A run of this many words counts as somebody's sentence; shorter ones are common phrases."""

CHARACTERS = 130
"""The same for code, as tokens joined by spaces; calls to a constructor or to `init` are
shorter."""


def test_sentences():
    theirs = [text for file in THEIRS for text in wording.texts(file)]
    assert len(theirs) > 1000
    ours = [text for file in OURS for text in wording.texts(file)]
    found = wording.shared(ours, theirs, at_least=WORDS)
    assert not found, listed(found)


def test_examples():
    theirs = [code for file in THEIRS for code in wording.examples(file, doctests_only=True)]
    assert len(theirs) > 100
    ours = [code for file in OURS for code in wording.examples(file)]
    found = wording.shared(ours, theirs, at_least=CHARACTERS, weight="characters")
    assert not found, listed(found)


def listed(found):
    return "say it in words of our own:\n" + "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("written", "at_least", "runs"),
    [
        ('"""It takes one, or two of these, and then three."""', 7, 1),
        ('"""It takes one, or two of them."""', 7, 0),
        ('# It takes one, or two\n# of these, and then three.\nx = f"{1}"', 7, 1),
        ('f"It takes one or {2} of these and then three"', 6, 0),  # each part is a text
    ],
)
def test_runs_are_found_across_lines(written, at_least, runs, tmp_path):
    ours, theirs = tmp_path / "ours.py", tmp_path / "theirs.py"
    ours.write_text(written)
    theirs.write_text("message = 'Say: it takes one or two of these and then three'")
    found = wording.shared(wording.texts(ours), wording.texts(theirs), at_least=at_least)
    assert len(found) == runs
