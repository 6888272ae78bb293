"""The project's tasks, each in an environment of its own that is kept between runs.

    python -m pip install "nox[uv]"
    python -m nox -s quickstart                          a first model learns to read digits
    python -m nox -s examples -- resnet_digits           a longer program; all of them unless named
    python -m nox -s tests                               every package, on the newest jax
    python -m nox -s tests -- --jax 0.6.2 struct         one package, on another jax
    python -m nox -s tests -- struct -- -k frozen -x     the rest goes to pytest
    python -m nox -s lint types parity bench

Packages are installed from this checkout, editable, so a change needs no new installation. Which
there are, and what they need, is known to tools/workspace.py alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
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

# The Python that runs nox is the one to use; uv shall not fetch another.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

EXAMPLES = ROOT / "docs" / "examples"
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")
JAX = workspace.supported_jax()


@nox.session
def quickstart(session: nox.Session) -> None:
    """Train a small network on handwritten digits; what follows -- goes to the program."""
    install(session, workspace.packages(), "quickstart")
    # After Ctrl-C the program evaluates and saves what it has: give it the time.
    session.run("python", "docs/examples/quickstart.py", *session.posargs, interrupt_timeout=60)


@nox.session
def examples(session: nox.Session) -> None:
    """Run programs of docs/examples: -- [NAME ...] [OPTIONS OF THE PROGRAM]; all unless named."""
    names, options = example_arguments(session.posargs)
    install(session, workspace.packages(), "examples")
    for name in names:
        # After Ctrl-C a program evaluates and draws what it has: give it the time.
        session.run("python", f"docs/examples/{name}.py", *options, interrupt_timeout=60)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Run the tests: -- [--jax VERSION] [PACKAGE ...] [-- PYTEST ARGUMENTS]."""
    # Only hands over: each jax version has an environment of its own, in the session below.
    jax, *_ = test_arguments(session.posargs)
    session.notify(f"tests_on(jax-{jax})", posargs=session.posargs)


@nox.session(default=False)
@nox.parametrize("jax", [nox.param(version, id=f"jax-{version}") for version in JAX])
def tests_on(session: nox.Session, jax: str) -> None:
    """What `tests` runs, for one jax version."""
    _, chosen, options = test_arguments(session.posargs)
    # The examples' own tests run where everything is tested, on the newest jax.
    groups = ["tests", "quickstart"] if everything(jax, chosen) else ["tests"]
    packages = workspace.with_siblings(chosen)
    oldest = workspace.oldest_requirements(packages) if jax == JAX[0] else []
    install(session, packages, *groups, requirements=[f"jax=={jax}", *oldest])
    session.run(
        "pytest",
        "--numprocesses=2",
        "--doctest-modules",
        "--doctest-glob=README.md",
        *(str(p.folder.relative_to(ROOT)) for p in chosen),
        "tools/tests",
        *options,
        env=compiled_before(session),
    )


@nox.session
def parity(session: nox.Session) -> None:
    """Compare with Flax: -- PYTEST ARGUMENTS."""
    install(session, workspace.packages(), "parity")
    # Short tracebacks: what the other library's source looks like is none of our business.
    session.run(
        "pytest",
        "--numprocesses=2",
        "--tb=short",
        *(session.posargs or ["tools/parity"]),
        env=compiled_before(session),
    )


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
def types(session: nox.Session) -> None:
    """Check the types of every package, of the tools and of the examples with mypy --strict."""
    install(session, workspace.packages(), "types")
    sources = [str(p.source.relative_to(ROOT)) for p in workspace.packages()]
    tools = [str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("tools/*.py"))]
    session.run(
        "mypy",
        *sources,
        *tools,
        "tools/bench",
        "tools/tests",
        "noxfile.py",
        env={"MYPYPATH": os.pathsep.join([*sources, "tools"])},
    )
    # The examples return what libraries without annotations give them.
    path = os.pathsep.join([*sources, "docs/examples"])
    session.run("mypy", "--no-warn-return-any", "docs/examples", env={"MYPYPATH": path})


def install(
    session: nox.Session,
    packages: Iterable[workspace.Package],
    *groups: str,
    requirements: Iterable[str] = (),
) -> None:
    """Installs packages from here with all their extras, dependency groups, and the rest."""
    arguments = [*nox.project.dependency_groups(GROUPS, *groups), *requirements]
    for package in packages:
        # A package that an extra would bring is installed from here as well, or isn't asked for.
        extras = f"[{','.join(package.foreign_extras)}]" if package.foreign_extras else ""
        arguments += ["--editable", f"{package.folder}{extras}"]
    session.install(*arguments)


def compiled_before(session: nox.Session) -> dict[str, str]:
    """An environment in which what a run has compiled is there for the next one.

    Compiling takes two thirds of the time of the tests; a second run goes without it.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(session.cache_dir.resolve() / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def example_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Which examples `nox -s examples -- ...` asks for, and the options for each of them."""
    known = sorted(p.stem for p in EXAMPLES.glob("*.py") if "__main__" in p.read_text("utf-8"))
    known.remove("quickstart")  # it has a session of its own
    split = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    names, options = arguments[:split], arguments[split:]
    if unknown := set(names).difference(known):
        sys.exit(f"no example is called {', '.join(unknown)}; there are {', '.join(known)}")
    return names or known, options


def everything(jax: str, chosen: list[workspace.Package]) -> bool:
    """Whether all packages are tested, on the newest jax."""
    return jax == JAX[-1] and len(chosen) == len(workspace.packages())


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
