"""The guides that are also notebooks run in a kernel; `test_site` checks that they are current."""

import importlib.util
import json

import pytest

import notebooks

MISSING = [
    name for name in ("nbclient", "ipykernel", "optax") if importlib.util.find_spec(name) is None
]


def test_cells_are_the_blocks_of_one_label():
    tabs = "/// tab | a\n\n```python\n1\n```\n\n///\n/// tab | b\n\n```python\n2\n```\n\n///\n"
    page = (
        f"# Page\n\nSee [x](y.md#z).\n\n{tabs}\n```python\nprint(3)\n```\n\n```\n3\n```\n\nEnd.\n"
    )
    cells = notebooks._cells(page, notebooks.Notebook("guides/page.md", "b"))
    assert [(kind, text.strip()) for kind, text in cells] == [
        ("markdown", "# Page\n\nSee [x](../guides/y.md#z)."),
        ("code", "2"),
        ("code", "print(3)"),
        ("markdown", "End."),
    ]


@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)}: where everything is tested")
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
@pytest.mark.parametrize("name", notebooks.NOTEBOOKS)
def test_it_runs(name, tmp_path):
    import nbclient
    import nbformat

    text = notebooks.written(notebooks.NOTEBOOKS[name])
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
    assert json.loads(text)["cells"]
