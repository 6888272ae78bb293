"""Every block of Python in docs/ and README.md runs, and prints what the page says.

The blocks of a page run one after another, in one namespace. What a statement prints is written
as a comment after it, at the end of its last line or in the lines below. For the statements of a
block without such a comment, the output is in a block of plain text after that block, at most one
line ("It prints") further down.

    print(x.shape)  # (2, 3)

    try:
        model.init(key)
    except TypeError as error:
        print(error)
    # the first line of the message
    # the second one, and ...

What is printed and what the page says are compared as text, where "..." matches anything, and a
number with three or more digits after the point may differ by one in the last: it was rounded, and
versions of jax may differ. A statement is one at the top level, such as a whole loop.

A page with tabs runs once for each label, as its readers read it: everything outside tabs, and
in each set of tabs the one with that label, or the first if there is none.

    /// tab | linen
    ...
    ///
    /// tab | nnx
    ...
    ///
"""

import ast
import contextlib
import importlib.util
import io
import re
import sys
import tokenize
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from fixtures import fully_compiled
from fixtures import quick_compilation as quick_compilation
from notebooks import TAB

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
PLAIN = re.compile(r"\s*(?:^[^#`|\n]+\n\n)?^```(?:text)?\n(.*?)^```$", re.M | re.S)
OPENING = re.compile(r"^\s*(```|~~~)[ \t]*\{?\.?(python|py|pycon)\b.*$", re.M | re.I)
ROUNDED = re.compile(r"-?\d+\.\d{3,}")

# Pages that compare bits. On other pages, numbers are rounded, so they compile quickly.
OF_BITS = ["docs/design/bit_identical.md", "docs/design/rng_derivation.md"]

# Only some sessions install these: `tests`, which tests everything, on the newest jax.
OPTIONAL = ("optax", "orbax", "safetensors", "keras", "equinox", "haiku", "flatbuffers")


class Block(NamedTuple):
    """A block of Python: the number of its first line, its code, and the plain text after it."""

    line: int
    code: str
    text: str = ""


class Tab(NamedTuple):
    """A tab: its label, the labels of its set, and its offsets in the page."""

    label: str
    labels: list[str]
    start: int
    end: int


def blocks(page):
    """All blocks of a page."""
    found = []
    for match in BLOCK.finditer(page):
        plain = PLAIN.match(page, match.end())
        line = page.count("\n", 0, match.start(1)) + 1
        found.append(Block(line, match[1], plain[1] if plain else ""))
    return found


def tabs(page):
    """All tabs of a page; those with nothing between them are a set."""
    found, labels, end = [], [], None
    for match in TAB.finditer(page):
        if end is None or page[end : match.start()].strip():
            labels = []
        labels.append(match[1])
        end = match.end()
        found.append(Tab(match[1], labels, match.start(), end))
    return found


def readers(page):
    """The labels with which a page is read; only "" if its tabs hold no Python."""
    labels = [tab.label for tab in tabs(page) if blocks(page[tab.start : tab.end])]
    return list(dict.fromkeys(labels)) or [""]


def as_read(page, reader):
    """A page without the tabs that a reader doesn't open, with the same line numbers."""
    for tab in reversed(tabs(page)):
        if tab.label != (reader if reader in tab.labels else tab.labels[0]):
            page = page[: tab.start] + "\n" * page.count("\n", tab.start, tab.end) + page[tab.end :]
    return page


FILES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXTS = {file: file.read_text(encoding="utf-8") for file in FILES}
PAGES = [
    pytest.param(
        file, reader, id="-".join(filter(None, [file.relative_to(ROOT).as_posix(), reader]))
    )
    for file, text in TEXTS.items()
    if blocks(text)
    for reader in readers(text)
]


@pytest.fixture
def module():
    """The module with a page's names; classes look their module up by its name."""
    module = ModuleType("page")
    sys.modules["page"] = module
    yield module
    del sys.modules["page"]


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_block_is_overlooked(file):
    """A block that is indented, or whose first line is written differently, would not run."""
    text = TEXTS[file]
    assert len(OPENING.findall(text)) == len(blocks(text))
    assert text.count("\n/// tab") == len(tabs(text)), "every /// tab | LABEL has its own ///"


@pytest.mark.parametrize(("page", "reader"), PAGES)
# A warning from Keras versions older than numpy 2, about copies of arrays.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_page(page, reader, module, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where Keras writes when it is imported
    text = as_read(TEXTS[page], reader)
    for name in OPTIONAL:
        needs = rf"^(import|from) {name}\b|\bpip install {name}\b"
        if re.search(needs, text, re.M) and not installed(name):
            pytest.skip(f"{name} is not installed")
    as_users_do = page.relative_to(ROOT).as_posix() in OF_BITS
    with fully_compiled() if as_users_do else contextlib.nullcontext():
        for block in blocks(text):
            run(block, page, module)


def run(block, page, module):
    """Runs a block, and compares what it prints."""
    source = "\n" * (block.line - 1) + block.code  # so that a traceback names the page's line
    comments = {
        token.start[0]: token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    rest = ""
    for statement in ast.parse(source, str(page)).body:
        code = compile(ast.Module([statement], []), str(page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, module.__dict__)
        if (printed := output.getvalue()) and (promised := promise(statement, comments)):
            compare(printed, promised, page, statement.lineno)
        else:
            rest += printed
    if rest:
        compare(rest, block.text, page, block.line)


def compare(printed, promised, page, line):
    assert agree(printed, promised), (
        f"{page.relative_to(ROOT)}, line {line}\nprints:\n{printed}\nand says:\n{promised}"
    )


def promise(statement, comments):
    """The comment after a statement, without its marks."""
    assert statement.end_lineno is not None
    line = statement.end_lineno
    if line in comments:
        found = [comments[line].string]
    else:
        found = []
        while (comment := comments.get(line := line + 1)) and comment.start[1] == 0:
            found.append(comment.string)
    return "\n".join(text.removeprefix("#").removeprefix(" ").rstrip() for text in found)


def agree(printed, promised):
    """Whether `promised` says what was printed."""
    lines = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())
    pattern = ".*".join(map(pattern_of, promised.rstrip("\n").split("...")))
    match = re.fullmatch(pattern, lines, re.S)
    numbers = ROUNDED.findall(promised.replace("...", " "))
    return match is not None and all(map(is_near, match.groups(), numbers))


def pattern_of(text):
    """A pattern for the text, with a group for each number that was rounded."""
    pattern, end = "", 0
    for match in ROUNDED.finditer(text):
        digits = len(match[0].partition(".")[2])
        pattern += re.escape(text[end : match.start()]) + rf"(-?\d+\.\d{{{digits}}})"
        end = match.end()
    return pattern + re.escape(text[end:])


def is_near(found, expected):
    """Whether two numbers differ by at most one in the last digit."""
    digits = len(expected.partition(".")[2])
    return abs(Decimal(found) - Decimal(expected)).scaleb(digits) <= 1


@pytest.mark.parametrize(
    ("promised", "printed", "equal"),
    [
        ("(2, 3)", "(2, 3)\n", True),
        ("(2, 3)", "(2, 4)\n", False),
        ("", "anything\n", False),
        ("a ... c\nd", "a b\nb c\nd\n", True),
        ("a ... c", "a b d\n", False),
        ("loss 0.0010", "loss 0.0009\n", True),
        ("loss 0.0010", "loss 0.0008\n", False),
        ("loss 0.0010", "loss 0.001\n", False),
        ("[-1.125 2.250]", "[-1.126 2.249]\n", True),
        ("[-1.125 2.250]", "[1.125 2.250]\n", False),
        ("0.5", "0.4\n", False),
        ("0.123... 1.250", "0.12399 1.251\n", True),
    ],
)
def test_comparison(promised, printed, equal):
    assert agree(printed, promised) == equal


def test_promises_are_found():
    page, module = ROOT / "page.md", ModuleType("page")
    code = "print(1)  # 1\nif True:\n    print(2)\n# 2\n\n# a remark\nprint('3\\n4')\n# 3\n# 4\n"
    run(Block(1, code), page, module)
    run(Block(1, "print(1)\nprint(2)  # 2\nprint(3)", "1\n3\n"), page, module)
    for wrong in (
        "print(1)",
        "print(1)  # 2",
        "print(1)\n\n# 1",
        "if True:\n    # 1\n    print(1)",
    ):
        with pytest.raises(AssertionError, match=r"page\.md, line 1\n"):
            run(Block(1, wrong), page, module)


@pytest.mark.parametrize(
    ("between", "found"),
    [
        ("\n\n```\n", True),
        ("\n\nIt prints\n\n```text\n", True),
        ("\n\n## Next\n\n```\n", False),
        ("\n\nOne\nparagraph\n\nand another\n\n```\n", False),
        ("\n\n```toml\n", False),
    ],
)
def test_plain_text_is_found(between, found):
    (block,) = blocks(f"# Page\n\n```python\nprint(1)\n```{between}1\n```\n")
    assert block == Block(4, "print(1)\n", "1\n" if found else "")


def test_a_page_is_read_by_each_label_of_its_tabs():
    tab = "/// tab | {}\n\n```python\nx = {}\n```\n\n///\n"
    page = f"# Page\n\n{tab.format('a', 1)}{tab.format('b', 2)}\nText\n\n{tab.format('c', 3)}"
    assert readers(page) == ["a", "b", "c"]
    assert [block.code for block in blocks(as_read(page, "a"))] == ["x = 1\n", "x = 3\n"]
    assert [block.line for block in blocks(as_read(page, "b"))] == [13, 23]
    assert readers("# Page\n\n/// tab | pip\n\nText\n\n///\n") == [""]


def installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False
