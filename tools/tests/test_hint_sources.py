"""All hints in a package's sources are found and read."""

from pathlib import Path
from textwrap import dedent

import pytest

import hints
from hints import Remedy

REPOSITORY = Path(__file__).parents[2]


def read(folder, **files):
    (folder / "__init__.py").touch()
    for name, source in files.items():
        (folder / f"{name}.py").write_text(dedent(source), "utf-8")
    return [hint.text for hint in hints.hints_in(folder)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise E('x', hint='Write y.')", ["Write y."]),
        ("raise E('x', hint=f'Write {y!r} or {y}.')", ["Write {} or {}."]),
        ("raise E('x', hint='Write ' + y + '.')", ["Write {}."]),
        ("raise E('x', hint='A.' if y else 'B.')", ["A.", "B."]),
        ('raise E("x", hint=f"Write {1 if y else z}.")', ["Write {}."]),
        ("""raise E("x", hint=f"Write {'a' if y else 'b'}.")""", ["Write a.", "Write b."]),
        ("raise E('x', hint=find() or 'B.')", ["not readable: find()", "B."]),
        ("raise E('x', hint=None)", []),
        ("HINT = 'A.'\nraise E('x', hint=HINT)", ["A."]),
        ("raise E('x', hint=elsewhere.HINT)", ["not readable: elsewhere.HINT"]),
        ("raise E('x', hint=did_you_mean(x, y))", ["Did you mean {}?"]),
        ("raise E('x', hint=f\"Pass {counted(n, 'int')}.\")", ["Pass {}."]),
        ("for kind, advice in table: raise E('x', hint=advice)", ["not readable: advice"]),
    ],
)
def test_an_expression(tmp_path, source, expected):
    assert read(tmp_path, module=source) == expected


def test_a_name_that_is_set_more_than_once(tmp_path):
    source = """
    def check(x):
        hint = None
        if x:
            hint = "A."
        hint = f"{hint} B."
        hint += " C."
        raise E("x", hint=hint)
    """
    assert read(tmp_path, module=source) == ["A.", "A. B.", "C. B.", "C."]


def test_a_function_of_this_file_or_another(tmp_path):
    near = """
    from . import other
    from .other import of_other, returning_itself

    def of_this(x):
        if x:
            return f"A {x}."
        return "B."

    class Check:
        def advice(self):
            return "C."

        def check(self, x):
            raise E("x", hint=of_this(x))
            raise E("x", hint=self.advice())
            raise E("x", hint=of_other(x))
            raise E("x", hint=other.of_other(x))
            raise E("x", hint=returning_itself(x))
    """
    far = """
    def of_other(x):
        return inside(x) + " E."

    def inside(x):
        return "D."

    def returning_itself(x):
        return returning_itself(x - 1) if x else "F."
    """
    unread = "not readable: returning_itself(x - 1)"
    expected = ["A {}.", "B.", "C.", "D. E.", "D. E.", unread, "F."]
    assert read(tmp_path, near=near, other=far) == expected


def test_a_parameter_is_read_where_the_function_is_called(tmp_path):
    passing = """
    def refuse(what, reason="A."):
        raise E(what, hint=reason)

    def refuse_all(*, why):
        refuse("all", why)
    """
    calling = """
    refuse("x", "B.")
    refuse("x", reason="C.")
    passing.refuse_all(why="D.")
    """
    assert read(tmp_path, passing=passing, calling=calling) == ["B.", "C.", "D.", "A."]


def test_what_can_not_be_read_needs_a_row_as_well(tmp_path):
    read(tmp_path, module="raise E('x', hint=elsewhere.HINT)")
    found = hints.hints_in(tmp_path)
    assert hints.untried(found, []) == ["module.py:1: not readable: elsewhere.HINT"]
    row = Remedy("not readable: elsewhere.HINT", int, int)
    assert hints.untried(found, [row]) == []


def test_what_is_filled_in_is_looked_for():
    def mistake():
        raise ValueError("Write b(3).")

    hints.try_remedy(Remedy("Write {}({}).", mistake, int))
    hints.try_remedy(Remedy("Write {}({}).", mistake, int, filled=("b", "3")))
    with pytest.raises(AssertionError, match="no hint"):
        hints.try_remedy(Remedy("Write {}({}).", mistake, int, filled=("b", "4")))


@pytest.mark.parametrize("package", sorted((REPOSITORY / "packages").iterdir()))
def test_every_hint_of_this_repository_is_readable(package):
    found = hints.hints_in(package / "src")
    assert [h for h in found if h.text.startswith("not readable") and h.text not in ANY] == []


# Classes of other packages may define how they are serialized; an error may pass on another's hint.
ANY = ["not readable: getattr(x, HINT, None)", "not readable: error.hint"]
