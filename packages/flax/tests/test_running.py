"""The ways to run a program, each seen from the program, and compared with `python` alone."""

import importlib
import importlib.metadata
import importlib.util
import os
import pickle
import subprocess
import sys
import types

import pytest

import linnet.flax
from linnet.flax.running import command, errors, hook, missing, plugins, remedies, report

PROGRAM = """
import sys, traceback, warnings
main = sys.modules["__main__"]
print(__name__, globals().get("__file__"), __spec__ and __spec__.name, sys.argv)
print(main.__dict__ is globals(), sys.path[0], sys.flags.dev_mode)
traceback.print_stack(file=sys.stdout)
warnings.warn("the caller's", stacklevel=2)
{more}
def fail():
    sys.exit(3) if sys.argv[-1] == "exit" else [].pop()
fail()
"""
USES_FLAX = "import flax.version; print(flax.version.__version__ == '0.12.8', file=sys.stderr)"


def run(*line, cwd, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LINNET_FLAX")}
    return subprocess.run(
        [sys.executable, *line],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [["program.py", "-m", "x"], ["-m", "package.module", "exit"], ["-c", PROGRAM.format(more="")]],
    ids=["file", "module", "code"],
)
def test_a_program_sees_what_it_sees_under_python(line, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    for file in ("program.py", "package/module.py"):
        (tmp_path / file).write_text(PROGRAM.format(more=""))
    alone = run("-X", "dev", *line, cwd=tmp_path)
    here = run("-X", "dev", "-m", "linnet.flax", *line, cwd=tmp_path)
    assert (here.returncode, here.stdout, here.stderr) == (
        alone.returncode,
        alone.stdout,
        alone.stderr,
    )
    assert alone.returncode in (1, 3)
    assert "True" in alone.stdout


def test_debuggers_and_profilers_run_the_program(tmp_path):
    (tmp_path / "program.py").write_text("import flax\nprint(flax.__name__)\n")
    for line in (
        ["-m", "linnet.flax", "-m", "cProfile", "program.py"],
        ["-m", "cProfile", "-m", "linnet.flax", "program.py"],
    ):
        result = run(*line, cwd=tmp_path)
        assert result.stdout.startswith("linnet.flax\n"), result.stderr
        assert "program.py:1(<module>)" in result.stdout


WHOLE = """
import importlib.metadata, importlib.util, multiprocessing, pickle, subprocess, sys

import flax

ASK = "import flax, sys; print(flax.__name__, sys.modules.get('linnet.flax') is flax)"


def child(queue):
    import flax.version

    queue.put((flax.__name__, flax.version.__name__))


def main():
    import jax, jax.numpy as jnp
    import flax.linen as nn
    from flax import nnx
    from flax.core import freeze
    import linnet.linen

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x)

    class Stateful(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(3, 2, rngs=rngs)

    assert flax is sys.modules["linnet.flax"] and flax.linen is nn is sys.modules["flax.linen"]
    assert nn.__name__ == nn.__spec__.name == "linnet.flax.linen", nn.__spec__
    assert nn.Dense is linnet.linen.Dense
    assert importlib.util.find_spec("flax").origin == flax.__file__
    assert importlib.metadata.version("flax") == flax.__version__ == "0.12.8"
    # A file that names classes as Flax does loads here, and one that is written here needs no hook.
    assert pickle.loads(b"cflax.linen\\nDense\\n.") is nn.Dense
    assert b"flax." not in pickle.dumps(nn.Dense(3)).replace(b"linnet.flax.", b"")

    for start in ("spawn", "forkserver") if sys.platform != "win32" else ("spawn",):
        context = multiprocessing.get_context(start)
        queue = context.SimpleQueue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert queue.get() == ("linnet.flax", "linnet.flax.version"), start
    said = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True).stdout
    assert said.split() == ["linnet.flax", "True"], said

    x = jnp.ones((1, 3))
    variables = freeze(Model().init(jax.random.key(0), x))
    stateful = Stateful(nnx.Rngs(0))
    nnx.jit(lambda m: m.layer(x))(stateful)
    print(Model().apply(variables, x).shape, hasattr(nn, "Nothing"))


if __name__ == "__main__":
    main()
"""


def test_a_whole_program_and_its_report(tmp_path):
    (tmp_path / "whole.py").write_text(WHOLE)
    result = run("-m", "linnet.flax", "--report", "whole.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "(1, 2) False\n"), result.stderr
    rows = {line.split()[0]: line for line in result.stderr.splitlines() if line.strip()}
    assert rows["flax.linen"].split(None, 1)[1] == "Dense, Module, compact"
    assert rows["flax.nnx"].split(None, 1)[1] == "Linear, Module, Rngs, jit"
    assert rows["flax.core"].split(None, 1)[1] == "freeze"
    seconds = {line.split()[2]: line.split()[:2] for line in result.stderr.splitlines()[-6:-1]}
    assert seconds["init:"][1] == seconds["dispatch:"][1] == "2"
    assert int(seconds["tracing:"][1]) > 0
    assert result.stderr.count("the names of Flax that this program used") == 1


def test_pytest_plugin(tmp_path):
    (tmp_path / "conftest.py").write_text("import flax\n")
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n    import flax\n    assert flax.__name__ == 'linnet.flax'\n"
    )
    line = ["-m", "pytest", "-q", "-W", "error", "-p", "linnet.flax", "-p", "no:cacheprovider"]
    line += [f"--basetemp={tmp_path / 'own'}", "--linnet-report"]
    result = run(*line, cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the names of Flax that this program used" in result.stderr


def test_without_the_startup_file_the_command_says_so(tmp_path):
    result = run(
        "-S",
        "-c",
        f"import sys; sys.path[:] = {sys.path!r}; import runpy; sys.argv = ['x', 'y.py'];"
        " runpy.run_module('linnet.flax', run_name='__main__')",
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert "this environment has no linnet_flax.pth" in result.stderr
    assert "linnet.flax.install()" in result.stderr


def test_the_command_line_without_a_program(tmp_path):
    result = run("-m", "linnet.flax", cwd=tmp_path)
    assert (result.returncode, result.stdout.splitlines()[0]) == (
        2,
        "The command line `python -m linnet.flax`.",
    )


@pytest.mark.parametrize(
    ("line", "behind", "options"),
    [
        (["python", "-X", "dev", "-m", "linnet.flax", "a.py", "3"], 2, ["-X", "dev"]),
        (["python", "-um", "linnet.flax", "-c", "pass"], 2, ["-u"]),
        (["python", "-mlinnet.flax", "a.py"], 1, []),
        (["python", "-umlinnet.flax", "a.py"], 1, ["-u"]),
        (["python", "-m", "pdb", "-m", "linnet.flax", "a.py"], 1, ["-m", "pdb"]),
        (
            ["python", "/bin/coverage", "run", "-m", "linnet.flax", "a.py"],
            1,
            ["/bin/coverage", "run"],
        ),
        (["launcher", "a.py"], 1, []),
    ],
)
def test_options_of_python_are_kept(line, behind, options):
    assert command.options_before(line, behind) == options


@pytest.fixture
def hooked():
    """The hook in this process, for as long as a test runs."""
    before = {n: m for n, m in sys.modules.items() if n == "flax" or n.startswith("flax.")}
    for name in before:
        del sys.modules[name]
    plugins.load_ipython_extension(None)
    yield
    plugins.unload_ipython_extension(None)
    sys.modules.update(before)


def test_it_is_undone(hooked):
    assert importlib.import_module("flax") is linnet.flax
    assert os.environ["LINNET_FLAX"] == "1"
    hook.install()
    assert sys.meta_path.count(hook.finder) == 1
    hook.uninstall()
    assert "flax" not in sys.modules
    assert "LINNET_FLAX" not in os.environ
    assert hook.finder not in sys.meta_path


def test_what_flax_lacks_too_is_not_found(hooked):
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'flax\.nothing'$"):
        importlib.import_module("flax.nothing")
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'linnet.flax.version"):
        exec("from flax.version import Nothing")
    assert importlib.util.find_spec("flax.nothing") is None
    names = [d.metadata["Name"] for d in importlib.metadata.distributions(name="Flax")]
    assert names[0] == "flax"
    assert importlib.metadata.files("flax") is None


def test_real_flax_raises_an_error(hooked, monkeypatch):
    hook.uninstall()
    real = types.ModuleType("flax")
    real.__file__ = "/site-packages/flax/__init__.py"
    monkeypatch.setitem(sys.modules, "flax", real)
    with pytest.raises(errors.RealFlaxError, match="real Flax .*flax/__init__.py. was imported"):
        linnet.flax.install()
    assert hook.finder not in sys.meta_path
    assert sys.modules["flax"] is real
    assert issubclass(errors.RealFlaxError, ImportError)


def test_a_missing_name_fails_where_it_is_used(hooked, monkeypatch):
    monkeypatch.setitem(remedies.REMEDIES, "flax.version.Missing", "Use Present instead.")
    monkeypatch.setitem(remedies.REMEDIES, "flax.gone", "Use flax.present.")
    monkeypatch.setattr(missing, "used", set())
    hook.uninstall()
    module = sys.modules.pop("linnet.flax.version")
    monkeypatch.setitem(sys.modules, "linnet.flax.version", module)
    hook.install()
    monkeypatch.setattr(module, "__getattr__", vars(module)["__getattr__"], raising=False)

    names = {}
    exec("import flax, flax.gone\nfrom flax.version import Missing", names)
    flax, Missing = names["flax"], names["Missing"]
    assert missing.used == {"flax.version.Missing", "flax.gone"}
    assert not hasattr(flax.version, "Missing")
    assert not isinstance(3, Missing)

    exec("def annotated(x: Missing | None) -> Missing: return x", names)

    for use in (
        lambda: Missing(3),
        lambda: Missing.attribute,
        lambda: Missing["key"],
        lambda: types.new_class("Sub", (Missing,)),
        lambda: pickle.dumps(Missing),
    ):
        with pytest.raises(errors.MissingNameError) as raised:
            use()
        assert str(raised.value) == "flax.version.Missing is not in Linnet.\n  Use Present instead."
    with pytest.raises(AttributeError, match="flax.version.Missing is not in Linnet"):
        flax.version.Missing
    with pytest.raises(errors.MissingNameError, match="flax.gone is not in Linnet"):
        flax.gone.anything()
    assert missing.used == {"flax.version.Missing", "flax.gone.anything"}
    assert "  flax.gone.anything: " in report.text()
    del flax.gone  # of the package, which other tests look at


OLDER = """
import flax
import flax.nnx as nnx

for line, error in {
    "from flax import optim": ImportError,
    "flax.optim.Adam": AttributeError,
    "import flax.nn": ModuleNotFoundError,
    "nnx.Scan": AttributeError,
    "from flax.nnx import Scan": ImportError,
}.items():
    try:
        exec(line)
    except error as raised:
        assert type(raised) is error, line
        print(str(raised).splitlines()[-1].strip())
print(hasattr(flax, "optim"), getattr(nnx, "GraphNode", 0))
"""


def test_names_of_older_versions_of_flax_say_what_replaced_them(tmp_path):
    (tmp_path / "older.py").write_text(OLDER)
    result = run("-m", "linnet.flax", "older.py", cwd=tmp_path)
    assert result.stdout.splitlines() == [
        "Use optax, with flax.training.train_state.TrainState.",
        "Use optax, with flax.training.train_state.TrainState.",
        "No module named 'flax.nn'",
        *["Apply a function transform, such as nnx.jit, to a method or function of the module."]
        * 2,
        "False 0",
    ], result.stderr
