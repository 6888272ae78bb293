"""Every block of Python in docs/ and README.md runs, and prints what stands behind it.

The blocks of a page run one after the other, in one namespace. Whatever a statement prints stands
as a comment behind it, at the end of its last line or in the lines below:

    print(x.shape)  # (2, 3)

    try:
        model.init(key)
    except TypeError as error:
        print(error)
    # the first line of the message
    # the second one, and ...

Both are compared as text, where "..." stands for anything, and a number with three or more digits
behind the point may differ by one in the last: it was rounded, and versions of jax may differ. A
statement is one of the page's own, such as a whole loop; none may print without a comment.
"""

import ast
import contextlib
import importlib.util
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
OPENING = re.compile(r"^\s*(```|~~~)[ \t]*\{?\.?(python|py|pycon)\b.*$", re.M | re.I)
ROUNDED = re.compile(r"-?\d+\.\d{3,}")

# What only some sessions install: `tests` where everything is tested, on the newest jax.
OPTIONAL = ("optax", "orbax", "safetensors", "keras", "equinox", "haiku")


def blocks(text: str) -> list[tuple[int, str]]:
    """The number of each block's first line, and its code."""
    return [(text.count("\n", 0, m.start(1)) + 1, m[1]) for m in BLOCK.finditer(text)]


FILES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [file for file in FILES if blocks(file.read_text(encoding="utf-8"))]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """Where a page's names live; classes look their module up by its name."""
    module = ModuleType("page")
    sys.modules["page"] = module
    yield module
    del sys.modules["page"]


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_block_is_overlooked(file: Path) -> None:
    """One that is indented, or has another spelling, would not run."""
    text = file.read_text(encoding="utf-8")
    assert len(OPENING.findall(text)) == len(blocks(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
# Keras's own warning: in numpy 2, copying an array asks for more than it has.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_page(
    page: Path, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where Keras writes when it is imported
    text = page.read_text(encoding="utf-8")
    if not installed("linnet.linen"):
        pytest.skip("only some packages are installed")
    for name in OPTIONAL:
        if re.search(rf"^(import|from) {name}\b", text, re.M) and not installed(name):
            pytest.skip(f"{name} is not installed")
    for line, block in blocks(text):
        run(block, line, page, module)


def run(block: str, first: int, page: Path, module: ModuleType) -> None:
    """Runs a block that begins in line `first`, and compares what it prints."""
    source = "\n" * (first - 1) + block  # so that a traceback names the line of the page
    comments = {
        token.start[0]: token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for statement in ast.parse(source, str(page)).body:
        code = compile(ast.Module([statement], []), str(page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, module.__dict__)
        if printed := output.getvalue():
            promised = promise(statement, comments)
            assert agree(printed, promised), (
                f"{page.relative_to(ROOT)}, line {statement.end_lineno}\n"
                f"prints:\n{printed}\nand says:\n{promised}"
            )


def promise(statement: ast.stmt, comments: dict[int, tokenize.TokenInfo]) -> str:
    """What stands behind a statement, without the marks of a comment."""
    assert statement.end_lineno is not None
    line = statement.end_lineno
    if line in comments:
        found = [comments[line].string]
    else:
        found = []
        while (comment := comments.get(line := line + 1)) and comment.start[1] == 0:
            found.append(comment.string)
    return "\n".join(text.removeprefix("#").removeprefix(" ").rstrip() for text in found)


def agree(printed: str, promised: str) -> bool:
    """Whether `promised` says what was printed."""
    lines = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())
    pattern = ".*".join(map(pattern_of, promised.split("...")))
    match = re.fullmatch(pattern, lines, re.S)
    numbers = ROUNDED.findall(promised.replace("...", " "))
    return match is not None and all(map(is_near, match.groups(), numbers))


def pattern_of(text: str) -> str:
    """A pattern for the text, with a group for each number that was rounded."""
    pattern, end = "", 0
    for match in ROUNDED.finditer(text):
        digits = len(match[0].partition(".")[2])
        pattern += re.escape(text[end : match.start()]) + rf"(-?\d+\.\d{{{digits}}})"
        end = match.end()
    return pattern + re.escape(text[end:])


def is_near(found: str, expected: str) -> bool:
    """Whether two numbers have the same digits but for one in the last."""
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
def test_comparison(promised: str, printed: str, equal: bool) -> None:
    assert agree(printed, promised) == equal


def test_promises_are_found() -> None:
    text = "print(1)  # 1\nif True:\n    print(2)\n# 2\n\n# a remark\nprint('3\\n4')\n# 3\n# 4\n"
    run(text, 1, ROOT / "page.md", ModuleType("page"))
    for wrong in (
        "print(1)",
        "print(1)  # 2",
        "print(1)\n\n# 1",
        "print(1)\nif True:\n    # 1\n    1",
    ):
        with pytest.raises(AssertionError, match=r"page\.md, line 1\n"):
            run(wrong, 1, ROOT / "page.md", ModuleType("page"))


def installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False
