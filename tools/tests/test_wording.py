"""Phrases that `docs/maintaining/writing.md` replaces don't come back into sources and pages."""

import re
from bisect import bisect
from itertools import accumulate
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    file
    for pattern in (
        "packages/*/src/**/*.py",
        "packages/*/tests/**/*.py",
        "packages/*/*.md",
        "docs/**/*.md",
        "docs/**/*.py",
        "tools/**/*.py",
        "tools/parity/differences.toml",
        "*.md",
    )
    for file in sorted(ROOT.glob(pattern))
    if file.name not in ("writing.md", "benchmarks.md", Path(__file__).name)
]

PHRASES = {
    r"what (to compute|parameters are made) in": "the computation dtype",
    r"goes? before (it|them|what)\b": "takes precedence over it",
    r"takes? the place of": "replaces",
    r"in the place of": "in place of",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bRefuses\b": "Raises an error for, or Checks that",
    r"\b(is|are) refused\b": "raises an error",
    r"(?<!there )\b(is|are) no (array|key|module|integer|number|mesh|tree|string)s?\b": "is not",
    r"\b(it|which|that|they) (is|are) there\b(?! for)": "exists",
    r"\b(stands?|stood) (in(?! for)|at|under|beside|behind|there|on|among|the|still)\b": "is in",
    r"\blies? about\b": "is left over",
    r"\bby hand\b": "explicitly, or hand-written",
    r"\banew\b": "again",
    r"^ +[`*\w, ]+: of (the|its|our|an?|each|every)\b": "a noun: the rate of the layer",
    r"\b(bits|bytes|seconds|parameters|rows?|tokens) an? (byte|device|layer|model|step|token)\b": (
        "per"
    ),
    r"\bbeside\b": "next to, with, besides",
    r"\b(is|are|was|were) told\b": "gets, is passed",
    r"\bgo(es)? by (position|name|path|type)s?\b": "follows, or is matched by",
    r"\barrays? of (NumPy|jax)\b": "a NumPy array",
    r"\b(is|are) no \w+ any ?more\b": "is no longer",
    r"\b(has|have) not (the|an?|any)\b": "does not have",
    r"\bThere are: ": "Available: ",
    r"\bexists already\b": "already exists",
    r"\b(any|no|some)thing else than\b": "something other than",
    r"\bbroadcasts? to each other\b": "broadcast together",
    r"\banother (shape|dtype|size|structure|order|layout)\b": "a different shape",
    r"\bmeanwhile\b": "in the meantime",
    r"\b(Valid|Known|Read|Compared|Allowed) are\b": "Valid axes are",
    r"\boutside of\b": "outside",
    r"\bhandles? on\b": "a handle to",
    r"\bfit each other\b": "fit together",
    r"\b(has|have|had) got\b": "has received",
    r"\banother \w+ than\b": "a filter other than",
    r"(?<!method )\bcalls? of (`|an? |one |each |every )": "a call to",
    r"^ +[`*\w, ]+: for (each|every) [`\w ]+ (the|its|an?)\b": "for each argument, an axis",
    r"\bof which (one|none|two|both)\b": "one of which",
    r"\b(written|named|defined|sorted|drawn|handled|spelled|laid out) otherwise\b": "differently",
    r"\b(is|are) a part of\b": "is part of",
    r"\bseems? (the|an?|too) ": "seems to be",
    r"\b(says?|said|knows?|knew|learns?) of (it|them|an?|the|this|that|no|its)\b": "about",
    r"\b(is|are|has an?|have an?) (?!\w+ly )\w+ already\b": "is already sorted",
    r"\bunless given\b": "by default, 0; or (default: 0)",
    r"\bits kin\b": "related functions",
    r"\b[Rr]eplac(e|es|ing) [^.,;:]{1,60} by (an?|ones?|its|their|the(?! time)|`)": "with",
    r"\bat (each|every) call\b": "on each call",
    r"\bserves? for\b": "is used for",
    r"(?<!to )\bwithin rounding\b": "up to rounding",
    r"\bcomputes? the same[.,;:]": "computes the same result",
}

# By file or folder.
EXCEPTIONS = {
    # Measured against the same models written without a library.
    "docs/guides/plain_functions.md": [r"\bby hand\b"],
    "packages/module-core/tests/test_sharding.py": [r"\bby hand\b"],
    # The text of a hint.
    "packages/module-core/tests/test_variables.py": [r"\bmend(s|ed|ing)?\b"],
    # Names.
    "tools/bench/": [r"\bby hand\b", r"(?<!method )\bcalls? of (`|an? |one |each |every )"],
    "tools/parity/test_partitioning.py": [r"\bbeside\b"],
    "tools/releasing/bump.py": [r"\bmend(s|ed|ing)?\b"],
}


# The characters around the words of a line: indentation, comment sign, quotes of a string.
EDGES = re.compile(r"""^\s*(?:# |[rbf]*["'](?!["']))?|\s*["']?\s*$""")


def flowing(text):
    """The text with spaces for line breaks, and the offset at which each line begins."""
    lines = [EDGES.sub("", line) for line in text.splitlines()]
    return " ".join(lines), [0, *accumulate(len(line) + 1 for line in lines)]


def names_of_tests(text):
    """The name of each test, split into words, and its line."""
    for match in re.finditer(r"^ *def (test_\w+)", text, re.MULTILINE):
        yield text.count("\n", 0, match.start()) + 1, match[1].replace("_", " ")


IN_LINES = [phrase for phrase in PHRASES if phrase.startswith("^")]
AT_WORDS = [phrase for phrase in PHRASES if phrase.startswith(r"\b")]
OTHERS = [phrase for phrase in PHRASES if phrase not in IN_LINES + AT_WORDS]


def has_any(phrases, text, flags=0):
    """Whether any phrase is in the text; `re` searches quickly for phrases that begin alike."""
    return re.search("|".join(phrases), text, flags) is not None


def phrases_to_find(text, flow, names):
    """All phrases if the file has any; checking this first takes less than half the time."""
    if has_any(IN_LINES, text, re.MULTILINE):
        return PHRASES
    for group in (AT_WORDS, OTHERS):
        if has_any(group, flow) or has_any(group, names, re.IGNORECASE):
            return PHRASES
    return {}


def found():
    for file in FILES:
        name = file.relative_to(ROOT).as_posix()
        excepted = [p for place in EXCEPTIONS if name.startswith(place) for p in EXCEPTIONS[place]]
        text = file.read_text("utf-8")
        flow, starts = flowing(text)
        tests = list(names_of_tests(text))
        names = "\n".join(words for _, words in tests)
        for phrase, better in phrases_to_find(text, flow, names).items():
            if phrase in excepted:
                continue
            if phrase.startswith("^"):
                matches = re.finditer(phrase, text, re.MULTILINE)
                places = [(text.count("\n", 0, m.start()) + 1, m) for m in matches]
            else:
                places = [(bisect(starts, m.start()), m) for m in re.finditer(phrase, flow)]
                places += [(n, m) for n, t in tests if (m := re.search(phrase, t, re.IGNORECASE))]
            for number, match in places:
                yield f"{name}:{number}: {match[0]!r}: {better}"


def test_a_phrase_over_two_lines_is_found():
    flow, starts = flowing(
        'raise Error(\n    "by another "\n    "filter than it"\n)\n# outside\n# of it\n'
    )
    assert [bisect(starts, m.start()) for m in re.finditer("another filter|outside of", flow)] == [
        2,
        5,
    ]


def test_phrases_that_have_a_better_word():
    listed = list(found())
    assert not listed, "see docs/maintaining/writing.md:\n" + "\n".join(listed)


@pytest.mark.parametrize("phrase", PHRASES)
def test_each_phrase_is_one_that_can_be_found(phrase):
    examples = (
        "what to compute in; goes before it; takes the place of; in the place of; to mend; "
        "Refuses; is refused; is no array; it is there; stands in; lies about; by hand; anew; "
        "bytes a device; beside; is told; goes by name; array of NumPy; is no array any more; "
        "has not the; There are: a, b; exists already; something else than; "
        "broadcast to each other; another shape; meanwhile; Valid are; outside of; a handle on; "
        "fit each other; has got; another filter than; a call of `f`; of which none; "
        "written otherwise; is a part of; seems the first; says of it; replaces x by an array; "
        "is sorted already; 0 unless given; and its kin; at each call; serves for; "
        "equal within rounding; "
        "computes the same;\n"
        "  rate: of the layer\n  axes: for each argument an axis"
    )
    assert re.search(phrase, examples, re.MULTILINE)
