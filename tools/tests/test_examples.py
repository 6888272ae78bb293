"""The examples as a user meets them, in their tiny configuration: what they print and write."""

import importlib.util
import json
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
    for name in ("optax", "sklearn", "matplotlib", "keras", "orbax")
    if importlib.util.find_spec(name) is None
]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)}: only the examples' session installs them"
)

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
FIGURES = {
    "char_transformer": r"held out +\d\.\d{3} bits per character, LZMA 1\.\d{3}",
    "sequence_sorter": r"sorted +[01]\.\d{4} of new sequences of 1 to 12 numbers, [01]\.\d{4} of",
    "resnet_digits": r"accuracy [01]\.\d{4}: \d+ of 360 held-out digits, nearest neighbor 35\d",
    "keras_digits": r"accuracy [01]\.\d{4}: \d+ of 360 held-out digits",
    "nnx_digits": r"accuracy [01]\.\d{4}: \d+ of 360 held-out digits, nearest neighbor 35\d",
    "nnx_char_gpt": r"held out +\d\.\d{3} bits per character, LZMA 1\.\d{3}",
    "nnx_lora": r"bits +decimal arithmetic \d\.\d{3} before, \d\.\d{3} after; manual \d\.\d{3}",
}
# Further output that only that example prints.
PRINTED = {
    "char_transformer": r"With the cache, logits differ by \d\.\de-0[5-9]",
    "sequence_sorter": r"becomes +\[[ \d\n]+\]",
    "resnet_digits": r"batch_stats",
    "keras_digits": r"(?s)\(FlaxLayer\).*loaded in a new process, which predicts the same\.",
    "nnx_digits": "BatchStat",
    "nnx_char_gpt": (
        r"(?s)With the cache, logits differ by \d\.\de-0[5-9].*next here +([\d. ]+),"
        r".*resumed +\1, in a new process: the same"
    ),
    "nnx_lora": r"Changed: 0 of the model's 22 parameters, 6 of the adapters' 6\.",
}


# A program that runs another one several times, with the options of each run in an argument.
SEVERAL_TIMES = """
import json, pathlib, runpy, sys
program, *runs = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(program).parent))
for options in runs:
    sys.argv = [program, *json.loads(options)]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    print("END OF RUN")
"""


def start(name, folder, *options, runs=()):
    """The program on a machine without a display, compiled quickly.

    Args:
      name: the program's name.
      folder: where it writes.
      options: further options.
      runs: the options of each run, if it should run several times in one process.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    program = str(FOLDER / f"{name}.py")
    given = ["--tiny", "--out", str(folder), *options]
    several = ["-c", SEVERAL_TIMES, program, *(json.dumps([*given, *more]) for more in runs)]
    return subprocess.Popen(
        [sys.executable, *(several if runs else [program, *given])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={
            **env,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "MPLBACKEND": "TkAgg",
            "KERAS_HOME": str(folder.with_name("keras")),  # where Keras writes when it is imported
        },
    )


def check_results(name, folder, printed):
    """One complete picture and no other file; the output gives its path and the final figure."""
    *_, picture, figure = printed.splitlines()
    assert Path(picture.removeprefix("picture").strip()) == folder / f"{name}.png"
    assert re.match(FIGURES[name], figure), figure
    assert [path.name for path in folder.iterdir() if path.is_file()] == [f"{name}.png"]
    png = (folder / f"{name}.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png.endswith(b"IEND\xaeB`\x82")


def losses(printed):
    return [float(x) for x in re.findall(r"^step +\d+/\d+ +(?:loss )?(\d+\.\d+)", printed, re.M)]


@pytest.fixture(scope="module")
def sorter_runs(tmp_path_factory):
    """The sorter's folders and output: two runs with the same seed, and one with another."""
    folder = tmp_path_factory.mktemp("sorter") / "new" / "folder"
    with start("sequence_sorter", folder, runs=([], ["--seed", "0"], ["--seed", "1"])) as program:
        printed, _ = program.communicate()
    assert program.returncode == 0, printed
    *printed, rest = printed.split("END OF RUN\n")
    assert rest == ""
    return folder, printed


def run(name, folder, *options):
    """The folder that it wrote to, and what it printed."""
    with start(name, folder, *options) as program:
        printed, _ = program.communicate()
    assert program.returncode == 0, printed
    return folder, printed


def check_run(name, folder, printed):
    check_results(name, folder, printed)
    assert re.search(PRINTED[name], printed)
    curve = losses(printed)
    assert len(curve) == 20
    assert sum(curve[-5:]) < sum(curve[:5])


@pytest.mark.parametrize(
    "name", ["char_transformer", "resnet_digits", "keras_digits", "nnx_digits"]
)
def test_it_trains_and_writes(name, tmp_path):
    check_run(name, *run(name, tmp_path / "new" / "folder"))


def test_the_gpt_is_resumed_and_adapted(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    check_run("nnx_char_gpt", *run("nnx_char_gpt", first))
    second.mkdir()
    (first / "nnx_char_gpt_tiny").rename(second / "nnx_char_gpt_tiny")
    folder, printed = run("nnx_lora", second)
    assert "No such model" not in printed
    check_run("nnx_lora", folder, printed)


def test_the_sorter_trains_and_writes(sorter_runs):
    folder, printed = sorter_runs
    for of_one in printed:
        check_run("sequence_sorter", folder, of_one)


def test_the_seed_decides(sorter_runs):
    first, again, other = map(losses, sorter_runs[1])
    assert first == again
    assert first != other


@pytest.mark.skipif(sys.platform == "win32", reason="another process cannot be sent a Ctrl-C")
def test_ctrl_c_keeps_what_there_is(tmp_path):
    name = "sequence_sorter"
    printed = ""
    with start(name, tmp_path, "--steps", "5000") as program:
        assert program.stdout is not None
        for line in program.stdout:
            printed += line
            if line.startswith("step  250/5000"):
                program.send_signal(signal.SIGINT)
    assert program.returncode == 130, printed
    assert "Traceback" not in printed
    assert re.search(r"Stopped after step \d+ of 5000", printed)
    check_results(name, tmp_path, printed)


@pytest.mark.parametrize("options", [["--steps", "0"], ["--out", __file__]])
def test_bad_options_are_refused(options, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("program", FOLDER / "program.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(sys, "argv", ["example.py", *options])
    with pytest.raises(SystemExit):
        program.read_options("An example.", steps=1)
    assert f"error: {options[0]}: " in capsys.readouterr().err
