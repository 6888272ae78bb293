"""Arguments that have no effect: each is passed to `accepted`, whose table says why.

An argument counts if a docstring describes it: of the function, or of the class whose `__init__`
takes it. Arguments that only an interface requires, such as the path that each filter gets,
are described in the interface. The rules of a function's derivative may read arguments that the
function itself doesn't.
"""

import ast
import re

import workspace

NAME = re.compile(r"^ +(\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)


def described(node):
    """The names in the section `Args` of a docstring."""
    doc = ast.get_docstring(node) or ""
    _, _, section = f"{doc}\n\n".partition("Args:\n")
    section = section.partition("\n\n")[0]
    return {name.strip(" *") for found in NAME.findall(section) for name in found.split(",")}


def functions_of(tree):
    """Functions, with the arguments that a docstring describes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if not any("custom_" in ast.unparse(d) for d in node.decorator_list):
                yield node, described(node)
        elif isinstance(node, ast.ClassDef):
            inits = [f for f in node.body if getattr(f, "name", "") == "__init__"]
            yield from ((f, described(node)) for f in inits)


def is_stub(body):
    """Whether a function only has a docstring, `...`, or an error that a subclass replaces."""
    inside = [
        s for s in body if not isinstance(s, ast.Expr) or not isinstance(s.value, ast.Constant)
    ]
    return all("NotImplementedError" in ast.unparse(s) for s in inside)


def ignored(source):
    """The described arguments that a function's body never reads, with the function's name."""
    for node, names in functions_of(ast.parse(source)):
        a = node.args
        taken = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
        inside = [x for step in node.body for x in ast.walk(step)]
        read = {x.id for x in inside if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
        if not is_stub(node.body):
            yield from ((node.name, x.arg) for x in taken if x.arg in names - read)


def test_what_counts_as_ignored():
    source = '''
def f(x, y, *, z, other=None):
    """Sums.

    Args:
      x, y: numbers.
      z: a number, which
        is described in two lines: of text.

    Returns:
      other: the sum.
    """
    del y
    accepted(z=z)
    return x
class C:
    """Holds.

    Args:
      held: a value.
    """
    def __init__(self, held):
        pass
    def g(self, held):
        """Gives.

        Args:
          held: a value.
        """
        raise NotImplementedError
'''
    assert list(ignored(source)) == [("f", "y"), ("__init__", "held")]


def test_an_argument_without_effect_is_in_the_table():
    found = [
        f"{file.relative_to(workspace.ROOT)}: {name} ignores {argument}"
        for package in workspace.packages()
        for file in package.modules
        for name, argument in ignored(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
