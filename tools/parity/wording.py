"""Finds wording that we share with another library: runs of the same words, and of the same code.

Nothing in this repository is copied. Names, numbers and facts belong to everyone; a sentence or an
example that two libraries share word for word does not. So this module reads the strings, comments
and examples of both at run time, and reports the runs that they share by their places in *ours*.

A text is the sequence of words of a docstring, a message or a comment, without examples.
Identifiers (`param_dtype`, `jax.lax.scan`), single letters (those of equations) and arguments with
defaults are part of a run but don't count, since both libraries must name the same things. In an
f-string, each part between two values is a text.

An example is the sequence of its code's tokens, without imports, which are the same for everyone.

`_TOKEN` finds the same tokens as Python's own tokenizer, which is slower: on Python 3.11, most of
the time was spent in it.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_WORD = re.compile(r"[A-Za-z_][\w.]*\w|\w")
_DEFAULT = re.compile(r"\w+=[^\s,)]*")
_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
    | (?P<code>
        (?:[bfru]|br|fr|rb|rf)?(?:
            \"\"\"(?:[^\\]|\\.)*?\"\"\" | \'\'\'(?:[^\\]|\\.)*?\'\'\'
            | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*'
        )
        | \.?\d(?:[\w.]|(?<=[eE])[+-](?=\d))* | \w+
        | \.\.\. | -> | := | (?:\*\*|//|<<|>>|[-+*/%@&|^=<>!])=? | [^\s\\]
    )
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Passage:
    """A text or an example: its place, and its words or tokens."""

    file: Path
    line: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """A run that a passage of ours shares with a passage of the other library."""

    passage: Passage
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.passage.file}:{self.passage.line}: {' '.join(self.words)}"


@dataclass(frozen=True)
class Contents:
    """The contents of a Python file or a Markdown page: its texts, its code, and its examples."""

    texts: tuple[Passage, ...]
    code: tuple[Passage, ...]
    examples: tuple[Passage, ...]


@functools.cache
def contents(file):
    """The passages of a file, which is read once."""
    source = file.read_text("utf-8")
    if file.suffix == ".md":
        blocks = [
            (source.count("\n", 0, block.start()) + 2, block[1])
            for block in _BLOCK.finditer(source)
        ]
        text = _text(file, 1, _BLOCK.sub("", source))
        code = [Passage(file, line, tuple(_tokens(block))) for line, block in blocks]
        return Contents((text,), (), tuple(code))
    tree = ast.parse(source)
    strings = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    texts = [_text(file, node.lineno, _without_examples(node.value)) for node in strings]
    texts += [_text(file, line, comment) for line, comment in _comments(source)]
    found = ((node.lineno, _doctest(node.value)) for node in strings)
    examples = [Passage(file, line, tuple(_tokens(code))) for line, code in found if code]
    return Contents(
        tuple(texts), (Passage(file, 1, tuple(_tokens_of(source, tree))),), tuple(examples)
    )


def texts(file):
    """The texts of a Python file or of a Markdown page."""
    return contents(file).texts


def examples(file, *, doctests_only=False):
    """The code of a file, and of the examples in its docstrings or on the page."""
    found = contents(file)
    return found.examples if doctests_only else found.code + found.examples


def shared(ours, theirs, *, at_least, weight="words"):
    """The longest runs that ours and theirs have in common.

    Args:
      ours, theirs: the passages to compare.
      at_least: the smallest length of a reported run.
      weight: the unit of length, `words` (without identifiers) or `characters`.
    """
    known = defaultdict(list)
    seed = 4 if weight == "words" else 8
    for passage in theirs:
        for start in range(len(passage.words) - seed + 1):
            known[passage.words[start : start + seed]].append((passage.words, start))
    found = []
    for passage in ours:
        start, words = 0, passage.words
        while start <= len(words) - seed:
            places = known.get(words[start : start + seed])
            length = (
                max((_agree(words, start, *place) for place in places), default=0) if places else 0
            )
            run = words[start : start + length]
            if length and _weight(run, weight) >= at_least:
                found.append(Shared(passage, run))
                start += length
            else:
                start += 1
    return found


def _agree(ours, start, theirs, other):
    """The number of equal words, from `start` in ours and from `other` in theirs."""
    most = min(len(ours) - start, len(theirs) - other)
    return next((i for i in range(most) if ours[start + i] != theirs[other + i]), most)


def _weight(run, weight):
    if weight == "characters":
        return len(" ".join(run))
    return sum(word.isalpha() and len(word) > 1 for word in run)


def _text(file, line, text):
    words = _WORD.findall(_DEFAULT.sub(" = ", text))
    return Passage(file, line, tuple(word.lower() for word in words))


def _comments(source):
    """Comments; those in consecutive lines are one."""
    first, last, parts = 0, -1, list[str]()
    line, end = 1, 0
    for token in _TOKEN.finditer(source):
        comment = token["comment"]
        if comment is None or comment.startswith("# type:"):
            continue
        line += source.count("\n", end, token.start())
        end = token.start()
        if parts and line != last + 1:
            yield first, " ".join(parts)
            parts = []
        if not parts:
            first = line
        parts.append(comment.lstrip("#: "))
        last = line
    if parts:
        yield first, " ".join(parts)


def _without_examples(text):
    """A docstring without its doctests, whose output extends to the next empty line."""
    kept, inside = [], False
    for line in text.splitlines():
        inside = line.lstrip().startswith(">>>") or (inside and bool(line.strip()))
        if not inside:
            kept.append(line)
    return "\n".join(kept)


def _doctest(text):
    """The code of a docstring's doctests."""
    lines = (line.lstrip() for line in text.splitlines())
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")))


def _tokens(code):
    """The tokens of code without comments and imports; nothing if it isn't Python."""
    try:
        code = textwrap.dedent(code)
        tree = ast.parse(code)
    except SyntaxError:
        return []
    return _tokens_of(code, tree)


def _tokens_of(code, tree):
    lines = code.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for line in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[line] = "\n"
    tokens = (token["code"] for token in _TOKEN.finditer("".join(lines)))
    return [sys.intern(token) for token in tokens if token]
