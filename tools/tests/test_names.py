"""Exported names and submodules: each name means the same to Python and to type checkers.

`nnx.state` was both a function and the file `state.py`, and a type checker took it to be the file.
"""

import ast

import workspace

INITS = {
    str(path.relative_to(workspace.ROOT)): path
    for package in workspace.packages()
    for path in package.source.rglob("__init__.py")
}


def exported(source):
    """The names that a package's file imports or defines, each with its origin."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield name.asname or name.name, node.module, name.name
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, None, None


def test_no_exported_name_is_also_a_submodule():
    for init, path in INITS.items():
        folder = path.parent
        package = ".".join(path.parts[path.parts.index("src") + 1 : -1])
        submodules = {p.stem for p in folder.iterdir() if p.suffix == ".py" or p.is_dir()}
        for name, module, original in exported(path.read_text("utf-8")):
            if name not in submodules or name.startswith("_"):
                continue
            # The submodule itself, by its own name: `from . import x`, or `from package import x`.
            itself = original == name and module in (None, package)
            # `functional/` names a file after its function; both type checkers take the function.
            function = folder.name == "functional" and module == name == original
            assert itself or function, f"{init}: {name} is exported, and is a submodule as well"
