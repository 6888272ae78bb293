"""The project's tasks. Each has its own environment, which is kept between runs.

    python -m pip install "nox[uv]"
    python -m nox -s quickstart                          a first model learns to read digits
    python -m nox -s examples -- resnet_digits           a longer program, or all of them
    python -m nox -R -s quickstart                       again, without a network
    python -m nox -s tests                               every package, on the newest jax
    python -m nox -s tests -- --jax 0.6.2 struct         one package, on an older jax
    python -m nox -s tests -- struct -- -k frozen -x     the rest goes to pytest
    python -m nox -s lint types parity bench
    python -m nox -s fuzz -- --seconds 600 --seed 7      random programs, on Flax as well
    python -m nox -s clients -- clu_metrics              programs of libraries written for Flax
    python -m nox -s processes -- --jax 0.6.2            several processes that compute together
    python -m nox -s isolated                            each package's wheel, installed by itself
    python -m nox -s "floors(struct)"                    one wheel, on its oldest requirements
    python -m nox -s "matrix-3.12(jax-0.8.3)"            everything on that Python and that jax
    python -m nox -s downstream                          projects that need one or two packages

Most sessions install the packages from this checkout in editable mode, so a change needs no new
installation; isolated, floors and downstream install wheels, as users do. tools/workspace.py is the
only list of packages and their requirements.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tools"))

import workspace  # noqa: E402  (found by the line above)

nox.needs_version = ">=2025.5.1"  # dependency groups, uv as an extra
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["tests"]

# Sessions use the Python that runs nox; uv must not download another.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

# Bytecode is written into one folder, even where Python must not write it next to the sources.
# Without bytecode, each process would compile jax, which takes several times as long as importing.
BYTECODE = ROOT / ".nox" / ".cache" / "bytecode"
os.environ["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

EXAMPLES = ROOT / "docs" / "examples"
DOWNSTREAM = sorted(p.parent for p in EXAMPLES.glob("downstream/*/pyproject.toml"))
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")
# Examples that train for minutes; if all examples run, these are the last.
LONG = ("sequence_sorter", "nnx_lora", "char_transformer", "nnx_char_gpt")
# Tests of the types that users see.
TYPED = ("packages/linnet/tests/test_typing.py", "packages/struct/tests/test_typing.py")
# Tests run a program once, on a few numbers, so compiling it quickly matters more than its speed.
# These XLA flags more than halve the compile time; all supported versions of jax accept them.
COMPILED_QUICKLY = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
}
JAX = workspace.supported_jax()
PYTHON = workspace.supported_python()

each_jax = nox.parametrize("jax", [nox.param(version, id=f"jax-{version}") for version in JAX])
each_package = nox.parametrize(
    "package", [nox.param(p, id=p.short_name) for p in workspace.packages()]
)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Train a small network on handwritten digits; what follows -- goes to the program."""
    install(session, workspace.packages(), "quickstart")
    # After Ctrl-C, the program evaluates and saves what it has: give it time.
    session.run("python", "docs/examples/quickstart.py", *session.posargs, interrupt_timeout=60)


@nox.session
def examples(session: nox.Session) -> None:
    """Run programs in docs/examples: -- [NAME ...] [OPTIONS OF THE PROGRAM]; all without a name."""
    names, options = example_arguments(session.posargs)
    install(session, workspace.packages(), "examples")
    for number, name in enumerate(names, 1):
        session.log(f"{number} of {len(names)}: {name}")
        # After Ctrl-C, a program evaluates and draws what it has: give it time.
        session.run("python", f"docs/examples/{name}.py", *options, interrupt_timeout=60)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Run the tests: -- [--jax VERSION] [PACKAGE ...] [-- PYTEST ARGUMENTS]."""
    # Only delegates: each jax version has its own environment, in the session below.
    jax, *_ = test_arguments(session.posargs)
    session.notify(f"tests_on(jax-{jax})", posargs=session.posargs)


@nox.session(default=False)
@each_jax
def tests_on(session: nox.Session, jax: str) -> None:
    """Run the tests for `tests`, on one jax version."""
    _, chosen, options = test_arguments(session.posargs)
    if len(chosen) > 1 and jax == JAX[-1]:
        # The session `types` runs them in the same environment, on the same Python and jax.
        options = [*(f"--deselect={p}::test_mypy" for p in TYPED), *options]
    run_tests(session, [f"jax=={jax}"], chosen, options)


@nox.session
def processes(session: nox.Session) -> None:
    """Run the tests of several processes: -- [--jax VERSION] [-- PYTEST ARGUMENTS]."""
    jax, _, options = test_arguments(session.posargs)
    needs = [f"jax=={jax}"]
    # Newer versions of orbax enter `with jax.sharding.set_mesh(mesh)`, which jax 0.6 lacks.
    needs.append("orbax-checkpoint" + ("==0.11.24" if jax == JAX[0] else ""))
    install(session, workspace.packages(), "tests", "examples", requirements=needs)
    environment = compiled_before(session) | COMPILED_QUICKLY
    session.run("pytest", "tools/processes", *options, env=environment)


@nox.session(python=PYTHON, default=False)
@each_jax
def matrix(session: nox.Session, jax: str) -> None:
    """Run every test on each Python and each jax: -- PYTEST ARGUMENTS."""
    if not workspace.runs_on(jax, str(session.python)):
        session.skip(f"jax {jax} has no wheels for Python {session.python}")
    run_tests(session, [f"jax=={jax}"], list(workspace.packages()), session.posargs)


@nox.session(python=PYTHON[-1], default=False)
def nightly(session: nox.Session) -> None:
    """Run every test on the newest jax, release candidates too: -- PYTEST ARGUMENTS."""
    # Warnings are errors in every test. Here, jax's are, too, in each program that a test starts.
    session.env["PYTHONWARNINGS"] = "error:jax:DeprecationWarning"
    # Nobody waits for this session, so it tries more random histories of modules than others do.
    session.env["LINNET_HISTORIES"] = "500"
    # A bound with "dev" admits prereleases, of these two packages alone.
    newest = [f"{name}>={JAX[-1]}.dev0" for name in ("jax", "jaxlib")]
    # XLA aborts on flags that it doesn't know, or no longer knows.
    run_tests(session, newest, list(workspace.packages()), session.posargs, flags={})


@nox.session(reuse_venv=False, default=False)
@each_package
def isolated(session: nox.Session, package: workspace.Package) -> None:
    """Test a package's wheel with only its declared requirements: -- PYTEST ARGUMENTS."""
    run_alone(session, package, f"jax=={JAX[-1]}")


@nox.session(python=PYTHON[0], reuse_venv=False, default=False)
@each_package
def floors(session: nox.Session, package: workspace.Package) -> None:
    """Test a package's wheel on the lowest versions of its requirements: -- PYTEST ARGUMENTS."""
    run_alone(session, package, *declared(package), resolution="lowest-direct")


@nox.session(reuse_venv=False, default=False)
@nox.parametrize("project", [nox.param(folder, id=folder.name) for folder in DOWNSTREAM])
def downstream(session: nox.Session, project: Path) -> None:
    """Install and run projects that require one or two packages, then break their pins."""
    needs = workspace.project(project)["project"]["dependencies"]
    used = [workspace.find(workspace.requirement_name(need)) for need in needs]
    wheels = build(session, workspace.with_siblings(used))
    session.install(str(project), *map(str, wheels.values()), f"jax=={JAX[-1]}")
    share_bytecode(session)
    session.run(project.name)
    # The next breaking version of each package that it uses must be rejected, by name.
    for package, need in zip(used, needs, strict=True):
        breaking = workspace.next_breaking(package.version)
        broken = wheels | build(session, [package], "--as", breaking)
        command = ["uv", "pip", "install", "--dry-run", str(project), *map(str, broken.values())]
        said = str(session.run(*command, silent=True, success_codes=[1]))
        if f"{project.name}==" not in said or f"depends on {package.name}" not in said:
            session.error(f"{package.name} {breaking} was rejected, but not for {need}:\n{said}")
        session.log(f"{project.name} needs {need}; {package.name} {breaking} is rejected:\n{said}")


@nox.session
def parity(session: nox.Session) -> None:
    """Compare with Flax: -- PYTEST ARGUMENTS."""
    install(session, workspace.packages(), "parity")
    # Short tracebacks, which don't show the other library's source.
    session.run(
        "pytest",
        "--numprocesses=2",
        "--dist=worksteal",
        "--tb=short",
        *(session.posargs or ["tools/parity"]),
        # All optimizations, since bits are compared; both libraries' programs have the same flags.
        env=compiled_before(session) | {"XLA_FLAGS": COMPILED_QUICKLY["XLA_FLAGS"]},
    )


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run random programs here and on Flax: -- --help lists the options."""
    install(session, workspace.packages(), "parity")
    session.run("python", "tools/parity/fuzz", *session.posargs, env=compiled_before(session))


@nox.session(default=False)
def clients(session: nox.Session) -> None:
    """Run libraries that were written for Flax, on Linnet and on Flax: -- --help lists them."""
    install(session, [], "clients")
    folder = session.cache_dir.resolve() / "clients"
    session.run("python", "tools/clients", f"--folder={folder}", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against Flax and plain JAX; -- --help lists the options."""
    install(session, workspace.packages(), "bench")
    session.run("python", "tools/bench", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules and formatting with ruff."""
    install(session, [], "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def workflows(session: nox.Session) -> None:
    """Check the workflows in .github and CITATION.cff without running them."""
    install(session, [], "workflows")
    session.run("jactionlint", "--strict-exit")
    # The strictest of zizmor's three levels, offline.
    session.run("zizmor", "--offline", "--persona=auditor", "--strict-collection", ".github")
    forms = [p for p in sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")) if p.stem != "config"]
    schemas: dict[str, Sequence[str | Path]] = {
        "dependabot": [".github/dependabot.yml"],
        "github-actions": sorted(ROOT.glob(".github/actions/*/action.yml")),
        "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
        "github-issue-forms": forms,
        "github-workflows": sorted(ROOT.glob(".github/workflows/*.yml")),
        "citation-file-format": ["CITATION.cff"],
    }
    for schema, files in schemas.items():
        session.run("check-jsonschema", f"--builtin-schema=vendor.{schema}", *map(str, files))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/ and check its links; -- --serve shows it while you write."""
    install(session, [], "docs")
    # The theme's notice of its end in 2027; docs/maintaining/documentation.md has it.
    env = {"NO_MKDOCS_2_WARNING": "1"}
    if "--serve" in session.posargs:
        session.run("mkdocs", "serve", env=env)
        return
    session.run("mkdocs", "build", "--strict", *session.posargs, env=env)
    session.run("pytest", "tools/tests/test_site_build.py")


@nox.session
def release(session: nox.Session) -> None:
    """Plan, bump or build a release: -- [COMMAND ...], by default plan; -- --help lists them."""
    install(session, [], "release")
    session.run("python", "tools/release.py", *(session.posargs or ["plan"]))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of packages, tools and examples, and the types that users see."""
    install(session, workspace.packages(), "types")
    sources = [str(p.source.relative_to(ROOT)) for p in workspace.packages()]
    tools = [str(path.relative_to(ROOT)) for path in workspace.typed_tools()]
    # A program in tools/clients imports the files next to it.
    path = os.pathsep.join([*sources, "tools", "tools/clients", "tools/clients/programs"])
    session.run("mypy", *sources, *tools, "noxfile.py", env={"MYPYPATH": path})
    # The examples call functions of libraries without annotations, and return what these return.
    path = os.pathsep.join([*sources, "docs/examples"])
    lenient = ("--no-warn-return-any", "--allow-untyped-calls")
    session.run("mypy", *lenient, "docs/examples", env={"MYPYPATH": path})
    # The types that users see, by mypy and pyright. The first command fails if pyright is missing,
    # in which case the tests would be skipped.
    session.run("python", "-m", "basedpyright", "--version")
    session.run("pytest", *TYPED)
    session.run("python", "tools/unknown_types.py")


def install(
    session: nox.Session,
    packages: Iterable[workspace.Package],
    *groups: str,
    requirements: Iterable[str] = (),
) -> None:
    """Installs local packages with all their extras, dependency groups, and other requirements."""
    arguments = [*nox.project.dependency_groups(GROUPS, *groups), *requirements]
    for package in packages:
        # A package that an extra would install is installed from here as well, or isn't asked for.
        extras = f"[{','.join(package.foreign_extras)}]" if package.foreign_extras else ""
        arguments += ["--editable", f"{package.folder}{extras}"]
    session.install(*arguments)
    share_bytecode(session)


def run_tests(
    session: nox.Session,
    jax: list[str],
    chosen: list[workspace.Package],
    options: Sequence[str],
    flags: dict[str, str] = COMPILED_QUICKLY,
) -> None:
    """Tests local packages with the jax that the requirements `jax` select."""
    everything = len(chosen) == len(workspace.packages())
    # The examples' own tests run where everything is tested, on the newest jax.
    examples = ["quickstart", "guides"] if everything and jax == [f"jax=={JAX[-1]}"] else []
    packages = workspace.with_siblings(chosen)
    oldest = workspace.oldest_requirements(packages) if jax == [f"jax=={JAX[0]}"] else []
    needs = [need for p in packages for need in p.tests_need]
    install(session, packages, "tests", *examples, requirements=[*jax, *oldest, *needs])
    session.run(
        "pytest",
        "--numprocesses=2",
        "--dist=worksteal",  # a file's tests mostly run in one process, and share what it compiled
        "--doctest-modules",
        "--doctest-glob=README.md",
        *(str(p.folder.relative_to(ROOT)) for p in chosen),
        *(["tools/tests"] if everything else []),  # tests of the repository as a whole
        *options,
        env=compiled_before(session) | flags,
    )


def run_alone(
    session: nox.Session,
    package: workspace.Package,
    *requirements: str,
    resolution: str = "highest",
) -> None:
    """Tests a package's wheel in an environment with its requirements and the test tools.

    Args:
      session: the session, whose environment is empty.
      package: the package; its wheel and those of the siblings that it needs are built here.
      requirements: requirements that are narrower than the package's own.
      resolution: which versions of `requirements` uv takes, `highest` or `lowest-direct`.
    """
    if resolution == "highest":
        wheels = build(session, workspace.with_siblings([package]), "--sdist")
    else:
        wheels = build(session, [package], "--sdist", "--lowest")
    wheel, siblings = wheels.pop(package.name), wheels.values()
    session.install(f"--resolution={resolution}", str(wheel), *map(str, siblings), *requirements)
    share_bytecode(session)
    session.run("python", "tools/isolation.py", package.name)

    alone = versions(session)
    if package.foreign_extras:
        extras = [r for extra in package.foreign_extras for r in package.extras[extra].values()]
        session.install(f"--resolution={resolution}", *extras)
    session.install(*nox.project.dependency_groups(GROUPS, "alone"), *package.tests_need)
    now = versions(session)
    if changed := {n: now.get(n) for n, version in alone.items() if now.get(n) != version}:
        session.error(f"the tests' requirements replaced {alone} with {changed}")
    session.run(
        "pytest",
        "--numprocesses=2",
        "--dist=worksteal",  # a file's tests mostly run in one process, and share what it compiled
        "--doctest-modules",
        "--doctest-glob=README.md",
        str((package.folder / "tests").relative_to(ROOT)),
        str((package.folder / "README.md").relative_to(ROOT)),
        "--pyargs",
        *package.import_names,
        *session.posargs,
        env=compiled_before(session) | COMPILED_QUICKLY,
    )


def build(
    session: nox.Session, packages: Iterable[workspace.Package], *options: str
) -> dict[str, Path]:
    """Builds packages with options of tools/wheelhouse.py; returns the wheels by their names.

    One run of nox builds each wheel once, for all its sessions.
    """
    folder = wheels_of_this_run().name
    # In an environment of uv's own, since the packages don't require hatchling.
    release = nox.project.dependency_groups(GROUPS, "release")
    hatchling = next(need for need in release if need.startswith("hatchling"))
    tool = ["uv", "run", "--no-project", "--with", hatchling, "--python", sys.executable]
    names = [package.short_name for package in packages]
    command = [*tool, "tools/wheelhouse.py", folder, *names, "--missing", *options]
    listed = str(session.run(*command, silent=True))
    session.log(listed)
    wheels = [Path(folder, word) for word in listed.split() if word.endswith(".whl")]
    return {workspace.normalized(wheel.name.split("-")[0]): wheel for wheel in wheels}


@functools.cache
def wheels_of_this_run() -> tempfile.TemporaryDirectory[str]:
    """A folder that exists until nox ends."""
    return tempfile.TemporaryDirectory(prefix="wheels-")


def declared(package: workspace.Package) -> list[str]:
    """The package's requirements, siblings included."""
    return [*package.siblings.values(), *package.third_party.values()]


def versions(session: nox.Session) -> dict[str, str]:
    """The distributions that are installed for a session."""
    output = session.run("python", "tools/isolation.py", "--list", silent=True)
    return dict(json.loads(str(output)))


def compiled_before(session: nox.Session) -> dict[str, str]:
    """Environment variables that keep compiled programs for the next run.

    Compilation takes two thirds of the tests' time, and a second run needs none.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(session.cache_dir.resolve() / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def share_bytecode(session: nox.Session) -> None:
    """Lets a session's environments share bytecode: they get the same files from uv's cache.

    Python compares the time and the size of a source with those that its bytecode was made from, so
    another version of a library replaces it.
    """
    location = Path(session.virtualenv.location or "").resolve()
    own = BYTECODE / location.relative_to(location.anchor)
    if own.is_symlink():
        return
    shared = BYTECODE / "environments" / re.split(r"[-(]", session.name)[0]
    shared.mkdir(parents=True, exist_ok=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(own, ignore_errors=True)  # of an older version of this file
    with contextlib.suppress(OSError):  # on Windows, not every user may create links
        own.symlink_to(shared, target_is_directory=True)


def example_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The examples that `nox -s examples -- ...` asks for, and the options for each of them."""
    known = sorted(p.stem for p in EXAMPLES.glob("*.py") if "__main__" in p.read_text("utf-8"))
    known.remove("quickstart")  # it has a session of its own
    split = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    names, options = arguments[:split], arguments[split:]
    if unknown := set(names).difference(known):
        sys.exit(f"no example is called {', '.join(unknown)}; available: {', '.join(known)}")
    known.sort(key=lambda name: LONG.index(name) if name in LONG else -1)
    return names or known, options


def test_arguments(
    arguments: list[str],
) -> tuple[str, list[workspace.Package], list[str]]:
    """The jax version, the packages and pytest's options that `nox -s tests -- ...` asks for."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="nox -s tests --")
    parser.add_argument("--jax", choices=JAX, default=JAX[-1], help="default: the newest")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="default: all")
    options = parser.parse_args(arguments[:split])
    try:
        chosen = [workspace.find(name) for name in options.packages]
    except LookupError as error:
        parser.error(str(error))
    return options.jax, chosen or list(workspace.packages()), arguments[split + 1 :]
