"""In messages, a number agrees with its noun: "1 value", "2 values".

`counted` in `linnet.module_core.errors` writes both. In the sources of the packages, no value of an
f-string comes directly before a plural.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Words that show that the value is not a number: the verb in "{name} needs", for example.
VERBS = re.compile(
    r"\b(accepts|adds|agrees|along|already|are|as|begins|belongs|changes|computes|consists|contains"
    r"|contracts|differs|does|draws|drops|expects|for|gives|goes|got|has|holds|is|its|makes|maps"
    r"|matches|names|needs|normalizes|occurs|passes|refers|repeats|requires|returns|selects|splits"
    r"|takes|the|this|treats|uses|was|with)\b"
)

# Never one, or not a number.
EXCEPTIONS = {
    # Parts that don't divide a size are at least two.
    ("parts", "parts"),
    ("parts", "devices"),
    ("devices", "devices"),
    # Constants, and multiples of a number of heads.
    ("_MOST_NUMBERS", "numbers"),
    ("rank", "ints"),  # where it isn't 1
    ("features - features % heads + heads", "features"),
    ("rotated", "rotated features"),
    ("groups", "equal groups"),
    # Shapes and names.
    ("names[0]", "leaves"),
    ("what", "branches"),
    ("what", "branch outputs"),
    ("spatial", "positions"),
    ("positions", "positions"),
}

# They are below module-core, so they can't use its helper.
BELOW = ("initializers", "struct")


def plurals(text):
    """Values of f-strings that come before a plural, as (line, value, words)."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or value.conversion != -1:
                continue
            if not isinstance(after, ast.Constant):
                continue
            words = re.match(r" ((?:[a-z-]+ )?[a-z]+s)\b", after.value)
            if words and not VERBS.search(words[1]):
                yield node.lineno, ast.unparse(value.value), words[1]


def test_numbers_agree_with_their_nouns():
    listed = [
        f"{file.relative_to(ROOT)}:{line}: {{{value}}} {words}"
        for file in sorted(ROOT.glob("packages/*/src/**/*.py"))
        if file.relative_to(ROOT).parts[1] not in BELOW
        for line, value, words in plurals(file.read_text("utf-8"))
        if (value, words) not in EXCEPTIONS
    ]
    assert not listed, 'write {counted(n, "value")}:\n' + "\n".join(listed)


def test_a_plural_is_found():
    assert list(plurals('f"got {len(x)} values, {name!r} values, {name} needs it"')) == [
        (1, "len(x)", "values")
    ]
    assert not list(plurals("f\"got {counted(len(x), 'value')} for {what} of them\""))
