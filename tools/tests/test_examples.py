"""The examples as a user runs them, in their tiny configuration: what they print and write."""

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
# Additional output that only that example prints.
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


# Runs programs one after another, each with its options. A tiny example spends most of its time on
# imports that all examples share.
ONE_AFTER_THE_OTHER = """
import json, pathlib, runpy, sys
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
for program, options in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    sys.argv = [program, *json.loads(options)]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    print("END OF RUN")
"""


def started(*command, keras_home):
    """A process on a machine without a display, which compiles quickly."""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={
            **env,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "MPLBACKEND": "TkAgg",
            "KERAS_HOME": str(keras_home),  # where Keras writes when it is imported
        },
    )


def start(name, folder, *options):
    """Starts an example that writes into a folder."""
    command = [str(FOLDER / f"{name}.py"), "--tiny", "--out", str(folder), *options]
    return started(*command, keras_home=folder.with_name("keras"))


def run_all(folder, *runs):
    """Runs examples in one process; each run is a name, an output folder, and other options.

    Returns:
      The output of each run.
    """
    arguments = []
    for name, to, *options in runs:
        given = ["--tiny", "--out", str(to), *options]
        arguments += [str(FOLDER / f"{name}.py"), json.dumps(given)]
    with started("-c", ONE_AFTER_THE_OTHER, *arguments, keras_home=folder / "keras") as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, printed
    *printed, rest = printed.split("END OF RUN\n")
    assert rest == ""
    return printed


def check_results(name, folder, printed, *others):
    """Checks that an example wrote a complete picture and, apart from `others`, no other file.

    The printed output must end with the picture's path and the final figure.
    """
    *_, picture, figure = printed.splitlines()
    assert Path(picture.removeprefix("picture").strip()) == folder / f"{name}.png"
    assert re.match(FIGURES[name], figure), figure
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {f"{n}.png" for n in (name, *others)}
    png = (folder / f"{name}.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png.endswith(b"IEND\xaeB`\x82")


def losses(printed):
    return [float(x) for x in re.findall(r"^step +\d+/\d+ +(?:loss )?(\d+\.\d+)", printed, re.M)]


def check_run(name, folder, printed, *others):
    check_results(name, folder, printed, *others)
    assert re.search(PRINTED[name], printed)
    curve = losses(printed)
    assert len(curve) == 20
    assert sum(curve[-5:]) < sum(curve[:5])


def test_keras_trains_and_writes(tmp_path):
    folder = tmp_path / "new" / "folder"
    with start("keras_digits", folder) as program:
        printed, _ = program.communicate()
    assert program.returncode == 0, printed
    check_run("keras_digits", folder, printed)


def test_they_train_and_write(tmp_path):
    names = ["char_transformer", "resnet_digits", "nnx_digits"]
    folders = {name: tmp_path / "new" / name for name in names}
    for run, printed in zip(folders.items(), run_all(tmp_path, *folders.items()), strict=True):
        check_run(*run, printed)


def test_the_gpt_is_resumed_and_adapted_and_the_seed_decides_what_the_sorter_learns(tmp_path):
    both = [
        "nnx_char_gpt",
        "nnx_lora",
    ]  # in one folder, where the second finds the first one's model
    folders = dict.fromkeys(both, tmp_path / "gpt") | {"sequence_sorter": tmp_path / "sorter"}
    options = [[], ["--seed", "0"], ["--seed", "1"]]
    runs = [(name, folders[name]) for name in both]
    runs += [("sequence_sorter", folders["sequence_sorter"], *more) for more in options]
    printed = run_all(tmp_path, *runs)
    assert "No such model" not in printed[1]
    for (name, folder, *_), of_one in zip(runs, printed, strict=True):
        check_run(name, folder, of_one, *(both if name in both else ()))
    first, again, other = map(losses, printed[2:])
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
def test_bad_options_raise_an_error(options, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("program", FOLDER / "program.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(sys, "argv", ["example.py", *options])
    with pytest.raises(SystemExit):
        program.read_options("An example.", steps=1)
    assert f"error: {options[0]}: " in capsys.readouterr().err
