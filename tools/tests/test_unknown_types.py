"""The count of `Any`: which annotations it counts."""

import unknown_types

SOURCE = """
import typing
from typing import Any, TypeAlias

Tree: TypeAlias = Any

class C:
    field: Any = None

    def f(self, a: Any, b: "Any", c: Tree, *rest: typing.Any, d: list[Any]) -> Any:
        def inner(x) -> int: ...

def g(**options: object) -> None: ...
"""


def test_count():
    found = unknown_types.count([SOURCE])
    assert (found["arguments"], found["Any arguments"]) == (6, 3)
    assert (found["returns"], found["Any returns"]) == (3, 1)
    assert unknown_types.shares(found) == {"arguments": 50, "returns": 100 / 3}


def test_aliases():
    sources = {
        "typing.py": SOURCE,
        "trees.py": "Tree: TypeAlias = dict\n\ndef f(x: Tree) -> int: ...",
        "uses.py": "from a.trees import Tree\n\ndef f(x: Tree) -> Tree: ...",
        "others.py": "from a.typing import Tree\n\ndef f(x: Tree, y: int) -> Tree: ...",
    }
    assert unknown_types.aliases(sources) == ({"Tree"}, {("trees", "Tree")})
    assert unknown_types.count_aliases(sources) == {"arguments": 2, "returns": 1}
