"""Tests have no annotations, since no type checker reads them: a wrong one would go unnoticed.

The same holds for the tools that mypy doesn't read: `[tool.linnet]` in pyproject.toml names those
that it does. Annotations that the subject of a test needs are kept: those of classes' fields, and
of functions whose annotations are read. Programs that type checkers do read are in
packages/linnet/tests/typed.
"""

import ast

import workspace

TYPED = workspace.ROOT / "packages" / "linnet" / "tests" / "typed"
# Functions whose annotations a test reads.
READ = {
    "test_nnx_flattening.py": {"tick"},
    "test_nnx_optimizer.py": {"step"},
    "test_nnx_view.py": {"set_view"},
}


def annotated(source):
    """The names of functions and variables with annotations, and their lines; fields left out."""
    tree = ast.parse(source)
    fields = {s for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for s in c.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = (x for x in ast.walk(node.args) if isinstance(x, ast.arg))
            if node.returns or any(x.annotation for x in arguments):
                yield node.name, node.lineno
        elif isinstance(node, ast.AnnAssign) and node not in fields:
            yield ast.unparse(node.target), node.lineno


def test_what_counts_as_an_annotation():
    source = """
async def f(): ...
async def returns() -> int: ...
def positional(x: int, /): ...
def some(*xs: int): ...
def keyword(*, x: int): ...
class C:
    field: int = 3
    def method(self, x: int):
        local: int = x
        self.attribute: int = x
"""
    names = ["returns", "positional", "some", "keyword", "method", "local", "self.attribute"]
    assert sorted(name for name, _ in annotated(source)) == sorted(names)


def test_what_is_not_checked_has_none():
    folders = [p.folder / "tests" for p in workspace.packages()] + [workspace.ROOT / "tools"]
    checked = {*TYPED.rglob("*.py"), *workspace.typed_tools()}
    found = [
        f"{file.relative_to(workspace.ROOT)}:{line}: {name}"
        for folder in folders
        for file in sorted(folder.rglob("*.py"))
        if file not in checked
        for name, line in annotated(file.read_text("utf-8"))
        if name not in READ.get(file.name, ())
    ]
    assert not found, "annotations that no type checker reads:\n" + "\n".join(found)
