"""The packages' project files are correct, and every package is complete."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import workspace

PACKAGES = workspace.packages()
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.short_name)

# Distributions that are imported under a name other than their own.
IMPORTED_AS = {"scikit-learn": "sklearn", "tensorboardx": "tensorboardX"}


def imports(package, *, at_start):
    """The modules that `package` imports, or only those that it imports when it is imported itself.

    A sibling is named as in `linnet.struct`, and other modules by their first part: `jax` for
    `jax.numpy`. The package itself and the standard library are left out.
    """
    found = set()
    for path in package.modules:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for statement in statements(tree, at_start=at_start):
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and statement.level == 0:
                base = statement.module or ""
                names = (
                    [f"{base}.{a.name}" for a in statement.names] if base == "linnet" else [base]
                )
            else:
                continue
            found |= {".".join(n.split(".")[: 2 if n.startswith("linnet.") else 1]) for n in names}
    return found - set(package.import_names) - set(sys.stdlib_module_names)


def statements(tree, *, at_start):
    """All nodes, or those that run on import: not in functions, nor for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if at_start and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if at_start and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node, at_start=at_start)


def import_names(distributions):
    """The names under which distributions are imported."""
    siblings = {p.name: p.import_names for p in PACKAGES}
    return {
        name
        for d in distributions
        for name in siblings.get(d, (IMPORTED_AS.get(d, d.replace("-", "_")),))
    }


@each_package
def test_every_import_is_declared(package):
    extras = {name for extra in package.extras.values() for name in extra}
    required = {*package.siblings, *package.third_party}
    # Only type checkers need typing_extensions; nothing imports it at run time.
    known = import_names(required | extras) | {"typing_extensions"}
    undeclared = imports(package, at_start=False) - known
    assert not undeclared, f"{package.name} imports, but does not declare: {sorted(undeclared)}"
    optional = imports(package, at_start=True) - import_names(required)
    assert not optional, f"{package.name} cannot be imported without the optional {optional}"


@each_package
def test_everything_declared_is_imported(package):
    imported = imports(package, at_start=False)
    # An extra may install a sibling that the package doesn't depend on.
    extras = {name for extra in package.foreign_extras for name in package.extras[extra]}
    # A package may require a distribution that a sibling imports only if it is installed.
    siblings = [workspace.find(name) for name in package.siblings]
    theirs = {name for p in siblings for extra in p.extras.values() for name in extra}
    for distribution in {*package.siblings, *package.third_party, *extras} - theirs:
        assert import_names({distribution}) & imported, (
            f"{package.name} declares {distribution}, but does not import it"
        )


@each_package
def test_sibling_ranges_admit_the_siblings_here(package):
    for name, declared in all_siblings(package).items():
        version = workspace.find(name).version
        assert Requirement(declared).specifier.contains(version, prereleases=True), (
            f"{package.name} declares {declared!r}, but {name} is at {version}"
        )


@each_package
def test_sibling_ranges_end_at_the_next_breaking_version(package):
    """From 0.1 to below 0.2, from 1.4 to below 2: where semantic versioning allows a break."""
    for declared in all_siblings(package).values():
        lower = Version(next(s.version for s in bounds(declared) if s.operator == ">="))
        following = f"0.{lower.minor + 1}" if lower.major == 0 else f"{lower.major + 1}"
        assert bounds(declared) == SpecifierSet(f">={lower},<{following}"), declared


@each_package
def test_other_requirements_have_a_lower_bound_alone(package):
    optional = [r for extra in package.foreign_extras for r in package.extras[extra].values()]
    for declared in [*package.third_party.values(), *optional]:
        assert [s.operator for s in bounds(declared)] == [">="], declared
    if "jax" in package.third_party:
        assert package.third_party["jax"] == f"jax>={workspace.supported_jax()[0]}"


def all_siblings(package):
    """Requirements for packages of this repository, those of extras as well."""
    names = {p.name for p in PACKAGES}
    extras = {n: r for extra in package.extras.values() for n, r in extra.items() if n in names}
    return {**package.siblings, **extras}


def bounds(requirement):
    return Requirement(requirement).specifier


@each_package
def test_python_is_the_oldest_that_is_tested(package):
    project = workspace.project(package.folder)["project"]
    assert project["requires-python"] == f">={workspace.supported_python()[0]}"


@each_package
def test_classifiers_name_what_is_tested(package):
    project = workspace.project(package.folder)["project"]
    prefix = "Programming Language :: Python :: 3."
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if c.startswith(prefix)]
    assert named == workspace.supported_python()


@each_package
def test_package_is_complete(package):
    assert package.import_names
    for name in ("README.md", "CHANGELOG.md", "pyproject.toml", "tests"):
        assert (package.folder / name).exists(), f"{package.name} has no {name}"
    # Each has its own: a source distribution can hold nothing from outside its folder.
    license_file = package.folder / "LICENSE"
    assert license_file.exists(), f"{package.name} has no LICENSE: copy the repository's"
    assert license_file.read_bytes() == (workspace.ROOT / "LICENSE").read_bytes()
    for import_name in package.import_names:
        folder = package.source / import_name.replace(".", "/")
        for name in ("__init__.py", "py.typed"):
            assert (folder / name).exists(), f"{package.name}: {import_name} has no {name}"
    assert list(package.source.rglob("__about__.py")), f"{package.name} has no __about__.py"
    if package.name != "linnet":  # the facade, which has a name for each style
        (import_name,) = package.import_names
        assert package.name == import_name.replace(".", "-").replace("_", "-")


def test_linnet_is_a_namespace():
    """An `__init__.py` in one package would hide all the others."""
    assert not list(workspace.ROOT.glob("packages/*/src/linnet/__init__.py"))
    assert not list(workspace.ROOT.glob("packages/*/src/__init__.py"))


@each_package
def test_no_package_imports_flax(package):
    assert "flax" not in imports(package, at_start=False)


def test_order_and_dependents():
    names = [p.name for p in PACKAGES]
    for package in PACKAGES:
        for sibling in package.siblings:
            assert names.index(sibling) < names.index(package.name)
            assert package in workspace.dependents(workspace.find(sibling))
        closure = workspace.with_siblings([package])
        assert closure[-1] == package
        assert {s for p in closure for s in p.siblings} | {package.name} == {
            p.name for p in closure
        }


def test_find():
    for package in PACKAGES:
        assert workspace.find(package.name) is workspace.find(package.short_name) is package
    with pytest.raises(LookupError, match="no package is called 'strcut'; available: .*struct"):
        workspace.find("strcut")


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("jax>=0.6.2", "jax"),
        ("Linnet_Struct >=0.1,<0.2", "linnet-struct"),
        ("linnet[keras]; python_version > '3'", "linnet"),
    ],
)
def test_requirement_name(requirement, name):
    assert workspace.requirement_name(requirement) == name


def test_not_a_requirement():
    with pytest.raises(ValueError, match="'>=3' is not a requirement"):
        workspace.requirement_name(">=3")


def test_oldest_requirements_are_the_declared_bounds():
    pinned = workspace.oldest_requirements(PACKAGES)
    assert {workspace.requirement_name(r) for r in pinned} == {"keras"}
    (declared,) = (p.third_party["keras"] for p in PACKAGES if "keras" in p.third_party)
    assert pinned == [declared.replace(">=", "==")]
    assert workspace.oldest_requirements([workspace.find("struct")]) == []


def test_matrix_has_every_jax_on_every_python_that_it_has_wheels_for():
    jobs = workspace.matrix()["include"]
    cells = {(job["python"], job["jax"]) for job in jobs}
    assert len(cells) == len(jobs)
    assert cells == {
        (p, j)
        for p in workspace.supported_python()
        for j in workspace.supported_jax()
        if workspace.runs_on(j, p)
    }


def test_a_jax_runs_on_a_python_from_the_first_with_wheels_on():
    oldest, *_, newest = workspace.supported_jax()
    assert workspace.runs_on(newest, "3.14")
    assert not workspace.runs_on(oldest, "3.14")
    for python in workspace.supported_python():
        assert any(workspace.runs_on(jax, python) for jax in workspace.supported_jax())
    assert workspace.runs_on(oldest, workspace.supported_python()[0])


def test_command_line():
    def output(*arguments):
        command = [sys.executable, str(Path(workspace.__file__)), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert all(p.name in output() for p in PACKAGES)
    assert json.loads(output("--packages")) == [p.short_name for p in PACKAGES]
    assert json.loads(output("--matrix")) == workspace.matrix()
    assert output("--paths", "layers-norm", "struct").split() == [
        f"./packages/{name}" for name in ("struct", "initializers", "module-core", "layers-norm")
    ]


def test_an_old_python_gets_a_sentence():
    program = (
        "import runpy, sys; sys.version_info = (3, 10, 4); sys.modules['nox'] = sys;"
        "runpy.run_path(sys.argv[1])"
    )
    for file in (Path(workspace.__file__), workspace.ROOT / "noxfile.py"):
        command = [sys.executable, "-c", program, str(file)]
        said = subprocess.run(command, capture_output=True, text=True)
        assert said.returncode == 1
        assert said.stderr.startswith("Linnet needs Python 3.11 or newer, and this is 3.10."), said


@pytest.mark.parametrize(
    ("version", "following"), [("0.1.0", "0.2.0"), ("0.9.12", "0.10.0"), ("1.4.2", "2.0.0")]
)
def test_next_breaking(version, following):
    assert workspace.next_breaking(version) == following
