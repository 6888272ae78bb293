"""`python -m linnet.flax rewrite`: how it changes a program's text."""

import builtins
import json
import textwrap

import pytest

from linnet.flax.running import remedies, rewriting
from linnet.flax.running.homes import home
from linnet.flax.running.notebooks import rewrite_notebook
from linnet.module_core.errors import MissingExtraError

PAIRS = {
    "an alias": ("import flax.linen as nn  # layers", "import linnet.linen as nn  # layers"),
    "a module": ("from flax import linen,  nnx", "from linnet import linen,  nnx"),
    "names over lines": (
        "from flax.core import (\n    freeze,  # one\n    FrozenDict as D,\n)",
        "from linnet.core import (\n    freeze,  # one\n    FrozenDict as D,\n)",
    ),
    "everything": ("from flax.linen import *", "from linnet.linen import *"),
    "a name by its class": (
        "from flax.linen.linear import Dense",
        "from linnet.linen.linear import Dense",
    ),
    "the root": (
        "import flax\n\n@flax.struct.dataclass\nclass A:\n    x: flax.linen.Dense  # x",
        "import linnet.linen\nimport linnet.struct\n\n"
        "@linnet.struct.dataclass\nclass A:\n    x: linnet.linen.Dense  # x",
    ),
    "the root as an object": (
        "import flax\nprint(flax, flax.__version__)",
        "import linnet.flax\nprint(linnet.flax, linnet.flax.__version__)",
    ),
    "among others": (
        "import os, flax.linen, flax.nnx as nnx\nflax.linen.Dense.init",
        "import os, linnet.linen, linnet.nnx as nnx\nlinnet.linen.Dense.init",
    ),
    "what shadows": (
        "import flax\ndef f(flax):\n    return flax.linen\nflax.nnx.Param",
        "import linnet.nnx\ndef f(flax):\n    return flax.linen\nlinnet.nnx.Param",
    ),
    "in a function": (
        "def f():\n\timport flax\n\tflax.nnx.Param, flax.linen.Dense",
        "def f():\n\timport linnet.linen\n\timport linnet.nnx\n"
        "\tlinnet.nnx.Param, linnet.linen.Dense",
    ),
    "text": (
        '"""import flax.linen"""\nimport flax\nx = f"flax.linen {flax.linen.Dense}"  # flax.linen',
        '"""import flax.linen"""\nimport linnet.linen\n'
        'x = f"flax.linen {linnet.linen.Dense}"  # flax.linen',
    ),
    "other libraries": ("from .flax import linen\nimport flaxen, jax", None),
    "line ends": (
        "import flax\r\nflax.linen.Dense\r\n",
        "import linnet.linen\r\nlinnet.linen.Dense\r\n",
    ),
    "letters": (
        "import flax.linen as nn\nñ = 'ünï'; nn.Dense",
        "import linnet.linen as nn\nñ = 'ünï'; nn.Dense",
    ),
}


@pytest.mark.parametrize("what", PAIRS)
def test_programs(what):
    before, after = PAIRS[what]
    result = rewriting.rewrite(before.encode())
    assert result.code.decode() == (before if after is None else after)
    assert result.left == []
    assert rewriting.rewrite(result.code).code == result.code


def test_unknown_names_stay_and_are_listed(monkeypatch):
    monkeypatch.setitem(remedies.REMEDIES, "flax.linen.Nothing", "Use Dense.")
    program = textwrap.dedent("""\
        import flax
        from flax import linen
        from flax.linen import Dense, Nothing  # layers
        if True:
            @linen.absent
            def f(): return flax.linen.Gone(flax.linen.Dense)
        mock("flax.linen.Dense")
        """)
    result = rewriting.rewrite(program.encode())
    assert result.code.decode() == textwrap.dedent("""\
        import flax
        import linnet.linen
        from linnet import linen
        from linnet.linen import Dense
        # linnet: flax.linen.Nothing is not in Linnet. Use Dense.
        from flax.linen import Nothing  # layers
        if True:
            # linnet: flax.linen.absent is not in Linnet.
            # linnet: flax.linen.Gone is not in Linnet.
            @linen.absent
            def f(): return flax.linen.Gone(linnet.linen.Dense)
        mock("flax.linen.Dense")
        """)
    assert result.left == [
        (3, "flax.linen.Nothing is not in Linnet. Use Dense."),
        (5, "flax.linen.absent is not in Linnet."),
        (6, "flax.linen.Gone is not in Linnet."),
        (7, 'the string "flax.linen.Dense"'),
    ]
    assert rewriting.rewrite(result.code).code == result.code


def test_homes_are_importable():
    assert home("flax.linen.Dense").path == "linnet.linen.Dense"
    assert home("flax.linen", ["Dense", "Module"]).path == "linnet.linen"
    assert home("flax.version").path == "linnet.flax.version"
    assert home("flax.nothing") is home("flax.linen.Nothing") is None
    found = home("flax.training.train_state.TrainState")
    assert found.is_in_module
    assert found.path.startswith("linnet.training.")


def test_the_command_line(tmp_path, capsys):
    old = "import flax.linen as nn\n"
    for name in ("a.py", "inner/b.py", ".hidden/c.py", "inner/__pycache__/d.py", "e.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(old)
    (tmp_path / "inner/broken.py").write_text("import flax (\n")
    assert rewriting.main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out.count("-import flax.linen as nn\n+import linnet.linen as nn\n") == 2
    assert "broken.py: not rewritten" in said.err
    (tmp_path / "inner/broken.py").unlink()
    assert rewriting.main([str(tmp_path)]) == 0
    assert rewriting.main([str(tmp_path), "--check"]) == 1
    assert (tmp_path / "a.py").read_text() == old
    assert rewriting.main([str(tmp_path), "--write"]) == 0
    assert (tmp_path / "a.py").read_text() == "import linnet.linen as nn\n"
    assert (tmp_path / ".hidden/c.py").read_text() == old
    capsys.readouterr()
    assert rewriting.main([str(tmp_path), "--check"]) == 0
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="there is no "):
        rewriting.main([str(tmp_path / "absent")])


def test_without_libcst_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("libcst"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'linnet-flax\[rewrite\]'"):
        rewriting.rewrite(b"import flax")


def notebook(*cells, indent=1, **options):
    made = [
        {"cell_type": "markdown", "metadata": {}, "source": ["import flax.linen as nn é"]},
        *(
            {
                "cell_type": "code",
                "execution_count": 1,
                "metadata": {"a": [1, 2.50, True, None]},
                "outputs": [{"text": ["import flax.linen as nn\n"]}],
                "source": cell,
            }
            for cell in cells
        ),
    ]
    return json.dumps({"cells": made, "nbformat": 4}, indent=indent, **options) + "\n"


CELLS = [
    ["%load_ext autoreload\n", "import flax.linen as nn\n", "from flax import struct  # é\n"],
    ["%%bash\n", "import flax.linen as nn\n"],
    [
        "!pip install flax\n",
        "if True:\n",
        "    !ls\n",
        "a = !ls flax\n",
        "nn.Dense?\n",
        "nn.Dense(3)",
    ],
    ["import flax\n"],
    ["a cell of flax in no language"],
    ["%%time\n", "flax.linen.Dense(3) % 2"],
    [],
]


@pytest.mark.parametrize("options", [{}, {"indent": None}, {"ensure_ascii": False, "indent": 4}])
def test_notebooks(options):
    source = notebook(*CELLS, "import flax.linen\nx = 1", **options)
    result = rewrite_notebook(source.encode(), rewriting.rewrite)
    cells = [list(c) for c in CELLS]
    cells[0][1:] = ["import linnet.linen as nn\n", "from linnet import struct  # é\n"]
    cells[3][0] = "import linnet.linen\n"
    cells[5][1] = "linnet.linen.Dense(3) % 2"
    expected = notebook(*cells, "import linnet.linen\nx = 1", **options)
    assert result.code.decode() == expected
    assert rewrite_notebook(result.code, rewriting.rewrite).code == result.code


def test_what_is_left_of_a_notebook_names_the_cell(tmp_path, capsys):
    (tmp_path / "a.ipynb").write_text(notebook(["x = 1\n", "y = 2"], ["import flax\n", "flax.no"]))
    assert rewriting.main([str(tmp_path), "--check"]) == 1
    assert "a.ipynb:2: (cell, line 2) flax.no is not in Linnet." in capsys.readouterr().out
    (tmp_path / "b.ipynb").write_text('{"flax": [')
    assert rewriting.main([str(tmp_path / "b.ipynb")]) == 1
    assert "b.ipynb: not rewritten: it isn't a notebook" in capsys.readouterr().err
