"""The quickstart as a user experiences it: what it writes, a second run, Ctrl-C in the middle."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Looked for, not imported: that would take seconds in every process that collects tests.
MISSING = [
    name
    for name in ("optax", "sklearn", "matplotlib", "safetensors")
    if importlib.util.find_spec(name) is None
]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)}: only the quickstart's session installs them"
)

PROGRAM = Path(__file__).parents[2] / "docs" / "examples" / "quickstart.py"
FILES = {"digits.png", "digits.safetensors"}


def start(folder, *, epochs):
    """The program on a machine without a display, compiled quickly."""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), "--out", str(folder), "--epochs", str(epochs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**env, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "MPLBACKEND": "TkAgg"},
    )


def check_results(folder, printed):
    """Complete files and no others; the last lines printed are their paths and the accuracy."""
    from safetensors.numpy import load_file

    assert "predictions are identical" in printed
    picture, parameters, accuracy = printed.splitlines()[-3:]
    assert Path(picture.removeprefix("picture").strip()) == folder / "digits.png"
    assert Path(parameters.removeprefix("parameters").strip()) == folder / "digits.safetensors"
    found = re.fullmatch(r"accuracy (\d\.\d{4})", accuracy)
    assert found, accuracy
    assert 0.2 < float(found[1]) <= 1  # guessing reaches 0.1
    assert {path.name for path in folder.iterdir()} == FILES
    png = (folder / "digits.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png.endswith(b"IEND\xaeB`\x82")
    assert load_file(folder / "digits.safetensors")["Conv_0/kernel"].shape == (3, 3, 1, 32)


def test_it_prints_the_model_trains_and_writes(tmp_path):
    folder = tmp_path / "new" / "folder"
    with start(folder, epochs=1) as program:
        printed, _ = program.communicate()
    assert program.returncode == 0, printed
    assert "CNN Summary" in printed
    assert "62,250" in printed  # parameters: 320 + 9,248 + 18,496 + 32,896 + 1,290
    assert re.search(r"epoch  1/1  loss \d\.\d+  accuracy 0\.\d+  held out 0\.\d+", printed)
    check_results(folder, printed)


@pytest.mark.skipif(sys.platform == "win32", reason="another process cannot be sent a Ctrl-C")
def test_ctrl_c_keeps_what_there_is_over_an_earlier_run_s_files(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("of an earlier run")
    printed = ""
    with start(tmp_path, epochs=1000) as program:
        assert program.stdout is not None
        for line in program.stdout:
            printed += line
            if line.startswith("epoch  1/1000"):
                program.send_signal(signal.SIGINT)
    assert program.returncode == 130, printed
    assert "Traceback" not in printed
    assert re.search(r"Stopped in epoch \d+ of 1000", printed)
    check_results(tmp_path, printed)
