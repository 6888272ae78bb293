"""The library's types: `typed/` holds files about which mypy and pyright must agree.

`*_table.py` names the types that users must see, `*_program.py` are programs that both must accept
under strict settings, and `mistakes.py` has lines that both must report.
"""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted((HERE / "typed").glob("*.py"))
MISTAKES = {
    ("mistakes.py", number)
    for number, line in enumerate((HERE / "typed/mistakes.py").read_text().splitlines(), start=1)
    if line.endswith("# bad")
}
# optax has annotations, but does not say so; in our own sources, only what users see is checked.
MYPY = """
[mypy]
strict = true
warn_unused_ignores = false
[mypy-optax.*]
ignore_missing_imports = true
[mypy-linnet.*]
ignore_errors = true
"""
PYRIGHT = {"typeCheckingMode": "strict", "reportMissingTypeStubs": False}


@pytest.fixture
def folder(tmp_path):
    """A folder with all files, like a user's project."""
    for file in FILES:
        shutil.copy(file, tmp_path)
    return tmp_path


def test_mypy(folder):
    api = pytest.importorskip("mypy.api", reason="this environment was made without mypy")
    (folder / "mypy.ini").write_text(MYPY)
    # All runs share a cache, so jax is read only once.
    cache = HERE.parents[2] / ".mypy_cache"
    out, err, _ = api.run(
        [
            f"--config-file={folder / 'mypy.ini'}",
            f"--cache-dir={cache}",
            "--no-error-summary",
            "--hide-error-context",
            *[str(folder / file.name) for file in FILES],
        ]
    )
    assert err == ""
    found = {
        (Path(error[1]).name, int(error[2])): error[3]
        for error in re.finditer(r"^(.*?\.py):(\d+): error: (.*)$", out, re.MULTILINE)
    }
    assert_mistakes_alone(found)


def test_pyright(folder):
    # Pyright with its program in the wheel: the package pyright would fetch it on its first run.
    pytest.importorskip("basedpyright", reason="this environment was made without basedpyright")
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    run = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", f"--pythonpath={sys.executable}"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    found = {}
    for error in json.loads(run.stdout)["generalDiagnostics"]:
        name, start = Path(error["file"]).name, error["range"]["start"]
        code = (folder / name).read_text().splitlines()[start["line"]][start["character"] :]
        # jax's own functions have arguments and results whose type pyright doesn't find.
        unknown = error.get("rule", "").startswith("reportUnknown")
        if not (unknown and code.startswith(("jax.", "jnp."))):
            found[name, start["line"] + 1] = error["message"]
    assert_mistakes_alone(found)


def assert_mistakes_alone(found):
    """Fails, listing lines that are reported but right and those that are wrong but accepted."""
    reported = [f"{n}:{i}: {text}" for (n, i), text in found.items() if (n, i) not in MISTAKES]
    accepted = [f"{n}:{i} was accepted" for n, i in sorted(MISTAKES) if (n, i) not in found]
    assert not reported + accepted, "\n".join(reported + accepted)


@pytest.mark.parametrize("program", ["linen_program", "nnx_program"])
def test_programs_run(program):
    pytest.importorskip("optax", reason="the programs train with optax")
    runpy.run_path(str(HERE / f"typed/{program}.py"), run_name="__main__")
