"""The commands of tools/release.py, run in a small repository of the same structure."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import workspace
from releasing import artifacts

SETTINGS = """
[tool.linnet]
jax = ["0.6.2"]
python = ["3.11"]
oldest = []
"""
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
description = "A package to release."
readme = "README.md"
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = [{dependencies}]
dynamic = ["version"]
{optional}
[tool.hatch.version]
path = "src/linnet/{leaf}/__about__.py"

[tool.hatch.build.targets.wheel]
packages = ["src/linnet"]
"""
# Folder, distribution, leaf, dependencies, optional dependencies, source.
CORE = '''"""Modules."""

from typing import dataclass_transform


@dataclass_transform()
class _Fields: ...


class Module(_Fields):
    def apply(self, variables, *, mutable=False): ...
'''
LAYERS = '''"""Layers."""

from linnet.core import Module


class Norm(Module):
    epsilon: float = 1e-6
    use_bias: bool = True

    def __call__(self, x): ...
'''
RANGE = ">=0.1,<0.2"
PACKAGES = [
    ("core", "linnet-core", "core", [], "", CORE),
    ("extra", "linnet-extra", "extra", ["core"], "", "from linnet.core import Module\n"),
    ("layers", "linnet-layers", "layers", ["core"], "", LAYERS),
    (
        "linnet",
        "linnet",
        "linen",
        ["core", "layers"],
        f'[project.optional-dependencies]\nmore = ["linnet-extra{RANGE}"]\n',
        "from linnet.core import Module as Module\nfrom linnet.layers import Norm as Norm\n",
    ),
]
TAGS = [f"{name}-v0.1.0" for _, name, *_ in PACKAGES]


@dataclass(frozen=True)
class Repository:
    root: Path

    def run(self, *command):
        nobody = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in WHO}
        alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        environment = {**os.environ, **nobody, **alone}
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True
        )

    def git(self, *arguments):
        finished = self.run("git", *arguments)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.strip()

    def release(self, *arguments):
        """The output of a command that succeeds."""
        finished = self.run(sys.executable, "tools/release.py", *arguments)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def refusal(self, *arguments):
        """The message of a command that fails and changes nothing."""
        before = self.git("status", "--porcelain"), self.git("diff")
        finished = self.run(sys.executable, "tools/release.py", *arguments)
        assert finished.returncode == 1, finished.stdout
        assert finished.stdout == ""
        assert (self.git("status", "--porcelain"), self.git("diff")) == before
        assert finished.stderr.startswith("refused: "), finished.stderr
        return finished.stderr

    def commit(self, message="A change"):
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def read(self, name):
        return (self.root / name).read_text()

    def edit(self, name, before, after):
        text = self.read(name)
        assert text.count(before) == 1, text
        (self.root / name).write_text(text.replace(before, after))

    def tell(self, package, section, entry):
        """Writes an entry, in a new section, into the unreleased part of a changelog."""
        told = f"## Unreleased\n\n### {section}\n\n- {entry}\n"
        self.edit(f"packages/{package}/CHANGELOG.md", "## Unreleased\n", told)


WHO = ("NAME", "EMAIL")
NORM = "packages/layers/src/linnet/layers/__init__.py"


@pytest.fixture(scope="module")
def unreleased(tmp_path_factory):
    """Four packages at 0.1.0, none of which was ever released."""
    root = tmp_path_factory.mktemp("unreleased") / "repository"
    here = workspace.ROOT / "tools"
    shutil.copytree(
        here / "releasing",
        root / "tools" / "releasing",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("workspace.py", "wheelhouse.py", "release.py"):
        shutil.copy(here / name, root / "tools")
    (root / "pyproject.toml").write_text(SETTINGS)
    (root / ".gitignore").write_text("__pycache__/\ndist/\n")
    for folder, name, leaf, needs, optional, source in PACKAGES:
        dependencies = ", ".join(f'"linnet-{need}{RANGE}"' for need in needs)
        files = {
            "pyproject.toml": PROJECT.format(
                name=name, leaf=leaf, dependencies=dependencies, optional=optional
            ),
            "README.md": f"# {name}\n",
            "LICENSE": "Do what you like.\n",
            "CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n### Added\n\n- All of it.\n",
            f"src/linnet/{leaf}/__about__.py": '__version__ = "0.1.0"\n',
            f"src/linnet/{leaf}/__init__.py": source,
            f"src/linnet/{leaf}/py.typed": "",
            "tests/test_it.py": "def test_it():\n    pass\n",
        }
        for file, text in files.items():
            path = root / "packages" / folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    repository = Repository(root)
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.commit("Four packages")
    return repository


@pytest.fixture(scope="module")
def released(unreleased, tmp_path_factory):
    """The same, after the first release of each."""
    repository = copy(unreleased, tmp_path_factory.mktemp("released"))
    for folder, name, *_ in PACKAGES:
        repository.release("bump", folder, "first", "--date", "2026-11-21")
        repository.commit(f"{name} 0.1.0")
    for tag in TAGS:
        repository.git("tag", tag)
    return repository


@pytest.fixture
def fresh(unreleased, tmp_path):
    return copy(unreleased, tmp_path)


@pytest.fixture
def repository(released, tmp_path):
    return copy(released, tmp_path)


def copy(repository, into):
    return Repository(Path(shutil.copytree(repository.root, into / "repository")))


def test_plan_of_first_releases(fresh):
    plan = json.loads(fresh.release("plan", "--json"))
    assert plan["tags"] == TAGS  # each after those that it needs
    assert {(p["last"], p["bump"], p["next"]) for p in plan["packages"]} == {
        (None, "first", "0.1.0")
    }
    table = fresh.release("plan")
    assert re.search(r"linnet-layers +none +0\.1\.0 +first +0\.1\.0 +first release", table)


def test_first_release(fresh):
    said = fresh.release("bump", "core", "first", "--date", "2026-11-21")
    assert fresh.git("diff", "--name-only") == "packages/core/CHANGELOG.md"
    assert fresh.read("packages/core/CHANGELOG.md") == (
        "# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-11-21\n\n### Added\n\n- All of it.\n"
    )
    assert "git tag linnet-core-v0.1.0\n" in said
    fresh.commit()
    plan = json.loads(fresh.release("plan", "--json"))["packages"]
    assert [p["bump"] for p in plan] == [None, "first", "first", "first"]
    assert fresh.release("check-tag", "linnet-core-v0.1.0") == "core\n"
    fresh.git("tag", "linnet-core-v0.1.0")
    assert fresh.release("check-tag", "linnet-core-v0.1.0") == "core\n"
    assert fresh.release("notes", "linnet-core-v0.1.0") == "### Added\n\n- All of it.\n"
    assert "was released before" in fresh.refusal("bump", "core", "first")


def test_nothing_is_due_when_all_is_released(repository):
    assert repository.release("plan") == "Nothing has changed since the last tags.\n"
    repository.edit("packages/core/tests/test_it.py", "pass", "assert True")
    repository.commit()
    assert json.loads(repository.release("plan", "--json"))["packages"] == []


def test_patch(repository):
    repository.edit(NORM, "def __call__(self, x): ...", "def __call__(self, x): return x")
    repository.tell("layers", "Fixed", "`Norm` returns something.")
    repository.commit()
    (due,) = json.loads(repository.release("plan", "--json"))["packages"]
    assert (due["short_name"], due["bump"], due["next"]) == ("layers", "patch", "0.1.1")
    repository.release("bump", "layers", "patch", "--date", "2026-12-01")
    assert repository.git("diff", "--name-only").splitlines() == [
        "packages/layers/CHANGELOG.md",
        "packages/layers/src/linnet/layers/__about__.py",
    ]
    assert '"0.1.1"' in repository.read("packages/layers/src/linnet/layers/__about__.py")
    assert "## Unreleased\n\n## 0.1.1 - 2026-12-01\n\n### Fixed\n" in repository.read(
        "packages/layers/CHANGELOG.md"
    )
    repository.commit()
    plan = repository.release("plan")
    assert re.search(r"linnet-layers +0\.1\.0 +0\.1\.1 +done +0\.1\.1", plan)


def test_additions_are_a_patch_below_1_and_a_minor_version_above(repository):
    repository.edit(NORM, "use_bias: bool = True", "use_bias: bool = True\n    axis: int = -1")
    repository.tell("layers", "Added", "`Norm(axis=)`.")
    repository.commit()
    repository.release("bump", "layers", "patch")
    repository.git("checkout", "--quiet", ".")
    about = "packages/layers/src/linnet/layers/__about__.py"
    repository.git("checkout", "--quiet", "HEAD~1")
    repository.edit(about, "0.1.0", "1.0.0")
    repository.commit()
    repository.git("tag", "linnet-layers-v1.0.0")
    repository.edit(NORM, "use_bias: bool = True", "use_bias: bool = True\n    axis: int = -1")
    repository.tell("layers", "Changed", "Something.")
    repository.commit()
    said = repository.refusal("bump", "layers", "patch")
    assert "linnet-layers 1.0.1 may not add anything to linnet-layers-v1.0.0" in said
    assert "linnet.layers.Norm(axis) is new" in said
    assert "Bump it by minor (1.0.0 -> 1.1.0)" in said


def test_changed_signature_under_a_patch_raises_an_error(repository):
    repository.edit(NORM, "epsilon: float = 1e-6", "epsilon: float = 1e-5")
    repository.tell("layers", "Fixed", "Epsilon.")
    repository.commit()
    said = repository.refusal("bump", "layers", "patch")
    assert "linnet-layers 0.1.1 may not break what linnet-layers-v0.1.0 offered" in said
    place = "packages/layers/src/linnet/layers/__init__.py:7"
    assert f"linnet.layers.Norm(epsilon) default was 1e-06, is 1e-05  ({place})" in said
    assert "Bump it by minor (0.1.0 -> 0.2.0), or let" in said
    # A break must be listed.
    said = repository.refusal("bump", "layers", "minor")
    assert "packages/layers/CHANGELOG.md does not say what linnet-layers 0.2.0 breaks" in said


def test_what_only_looks_like_a_break_is_excused_in_the_changelog(repository):
    repository.edit(NORM, "epsilon: float = 1e-6", "epsilon: float = 1 / 10**6")
    reason = "`linnet.layers.Norm(epsilon)`: the same number, written differently."
    repository.tell("layers", "Compatible", reason)
    repository.commit()
    repository.release("bump", "layers", "patch")
    repository.git("checkout", "--quiet", ".")
    repository.edit(NORM, "1 / 10**6", "1e-6")
    repository.commit()
    said = repository.refusal("bump", "layers", "patch")
    assert "linnet.layers.Norm(epsilon), which does not differ from linnet-layers-v0.1.0" in said


def test_breaking_bump_moves_the_ranges_of_those_who_need_it(repository):
    repository.edit(NORM, "    use_bias: bool = True\n", "")
    repository.tell("layers", "Breaking", "`Norm` has no `use_bias`.")
    repository.commit()
    plan = json.loads(repository.release("plan", "--json"))
    assert [(p["short_name"], p["bump"], p["next"]) for p in plan["packages"]] == [
        ("layers", "minor", "0.2.0"),
        ("linnet", "minor", "0.2.0"),  # it offers the same class
    ]
    assert plan["packages"][1]["follows"] == ["linnet-layers"]

    said = repository.release("bump", "layers", "minor", "--date", "2026-12-01")
    assert "linnet needs linnet-layers>=0.2,<0.3 now" in said
    assert repository.git("diff", "--name-only").splitlines() == [
        "packages/layers/CHANGELOG.md",
        "packages/layers/src/linnet/layers/__about__.py",
        "packages/linnet/CHANGELOG.md",
        "packages/linnet/pyproject.toml",
    ]
    project = repository.read("packages/linnet/pyproject.toml")
    assert '["linnet-core>=0.1,<0.2", "linnet-layers>=0.2,<0.3"]' in project
    assert "### Breaking\n\n- Needs `linnet-layers>=0.2,<0.3`.\n" in repository.read(
        "packages/linnet/CHANGELOG.md"
    )
    repository.commit("linnet-layers 0.2.0")
    repository.git("tag", "linnet-layers-v0.2.0")
    assert repository.release("check-tag", "linnet-layers-v0.2.0") == "layers\n"

    # A package that re-exports the class breaks as well.
    said = repository.refusal("bump", "linnet", "patch")
    assert "linnet.linen.Norm(use_bias) is gone" in said
    repository.release("bump", "linnet", "minor")
    repository.commit("linnet 0.2.0")
    repository.git("tag", "linnet-v0.2.0")
    assert repository.release("check-tag", "linnet-v0.2.0") == "linnet\n"
    assert repository.release("plan") == "Nothing has changed since the last tags.\n"


def test_breaking_bump_at_the_root_reaches_extras(repository):
    repository.tell("extra", "Breaking", "What it returns is different.")
    repository.edit("packages/extra/README.md", "# linnet-extra", "# linnet-extra, again")
    repository.commit()
    assert "has entries under '### Breaking'" in repository.refusal("bump", "extra", "patch")
    repository.release("bump", "extra", "minor")
    assert 'more = ["linnet-extra>=0.2,<0.3"]' in repository.read("packages/linnet/pyproject.toml")
    # None of it is re-exported, so users of the facade who don't have it notice nothing.
    assert "### Changed\n\n- Needs `linnet-extra>=0.2,<0.3`.\n" in repository.read(
        "packages/linnet/CHANGELOG.md"
    )


def test_range_begins_with_the_first_version_that_can_be_installed_with_the_rest(repository):
    repository.edit("packages/core/README.md", "# linnet-core", "# linnet-core, again")
    repository.tell("core", "Breaking", "What it returns is different.")
    repository.commit()
    repository.release("bump", "core", "minor")
    repository.commit("linnet-core 0.2.0")
    repository.git("tag", "linnet-core-v0.2.0")
    said = repository.release("bump", "layers", "patch")
    # 0.1.0 needs linnet-core<0.2, so the range that linnet needs begins after it.
    assert "linnet needs linnet-layers>=0.1.1,<0.2 now" in said
    project = repository.read("packages/linnet/pyproject.toml")
    assert '["linnet-core>=0.2,<0.3", "linnet-layers>=0.1.1,<0.2"]' in project
    assert repository.git("diff", "--name-only", "--", "packages/extra") == ""


def test_behavior_that_breaks_in_what_is_passed_on_breaks_there(repository):
    repository.edit(NORM, "def __call__(self, x): ...", "def __call__(self, x): return x")
    repository.tell("layers", "Breaking", "`Norm` returns something.")
    repository.commit()
    plan = json.loads(repository.release("plan", "--json"))["packages"]
    assert [(p["short_name"], p["bump"], p["broken"]) for p in plan] == [
        ("layers", "minor", []),
        ("linnet", "minor", []),
    ]
    assert "breaks with linnet-layers" in repository.release("plan")


def test_what_breaks_for_a_subclass_in_a_sibling_breaks_there(repository):
    core = "packages/core/src/linnet/core/__init__.py"
    repository.edit(core, "mutable=False", "collections=()")
    repository.commit()
    plan = json.loads(repository.release("plan", "--json"))["packages"]
    broken = {p["short_name"]: [b["name"] for b in p["broken"]] for p in plan}
    assert broken["core"] == ["linnet.core.Module.apply(mutable)"]
    assert broken["layers"] == ["linnet.layers.Norm.apply(mutable)"]
    assert not broken["extra"]  # it only imports the class


def test_dirty_tree_raises_an_error(repository):
    repository.tell("core", "Fixed", "It.")
    assert "The tree is not clean" in repository.refusal("bump", "core", "patch")
    repository.commit()
    (repository.root / "packages/core/new.py").touch()
    assert "packages/core/new.py" in repository.refusal("bump", "core", "patch")


def test_empty_changelog_raises_an_error(repository):
    said = repository.refusal("bump", "core", "patch")
    assert "packages/core/CHANGELOG.md has no entries under '## Unreleased'" in said


def test_unknown_package_raises_an_error(repository):
    said = repository.refusal("bump", "cores", "patch")
    assert "called 'cores'; available: core, extra, layers, linnet" in said.lower()


def test_version_below_the_last_tag_raises_an_error(repository):
    about = "packages/core/src/linnet/core/__about__.py"
    repository.edit(about, "0.1.0", "0.0.9")
    repository.tell("core", "Fixed", "It.")
    repository.commit()
    said = repository.refusal("bump", "core", "patch")
    assert "would become 0.0.10, which is not above its last tag linnet-core-v0.1.0" in said


def test_older_branch_has_a_last_tag_of_its_own(repository):
    repository.git("checkout", "--quiet", "-b", "newer")
    repository.tell("core", "Fixed", "It.")
    repository.commit()
    repository.git("tag", "linnet-core-v0.1.1")
    repository.git("tag", "linnet-core-v0.2.0")
    repository.git("checkout", "--quiet", "main")
    repository.tell("core", "Fixed", "It, here as well.")
    repository.commit()
    said = repository.refusal("bump", "core", "patch")
    assert "The tag linnet-core-v0.1.1 already exists" in said


def test_tags_that_release_nothing(repository):
    for tag in ("linnet-cores-v0.1.0", "linnet-core-v0.1"):
        assert "names no release of a package here" in repository.refusal("check-tag", tag)
    assert "linnet-core is at 0.1.0" in repository.refusal("check-tag", "linnet-core-v0.1.1")
    repository.edit("packages/core/CHANGELOG.md", " - 2026-11-21", "")
    assert "has no section '## 0.1.0 - YYYY" in repository.refusal(
        "check-tag", "linnet-core-v0.1.0"
    )


def test_tag_of_another_commit_raises_an_error(repository):
    repository.tell("core", "Fixed", "It.")
    repository.commit()
    assert "Check out the tag" in repository.refusal("check-tag", "linnet-core-v0.1.0")


def test_range_that_excludes_a_sibling_here_raises_an_error(repository):
    repository.edit("packages/layers/pyproject.toml", ">=0.1,<0.2", ">=0.2,<0.3")
    said = repository.refusal("check-tag", "linnet-layers-v0.1.0")
    assert "needs linnet-core>=0.2,<0.3, but linnet-core is at 0.1.0 here" in said


def test_break_in_a_hand_made_patch_raises_an_error(repository):
    repository.edit(NORM, "epsilon", "eps")
    repository.edit("packages/layers/src/linnet/layers/__about__.py", "0.1.0", "0.1.1")
    repository.tell("layers", "Fixed", "It.")
    repository.edit(
        "packages/layers/CHANGELOG.md",
        "## Unreleased\n",
        "## Unreleased\n\n## 0.1.1 - 2026-12-01\n",
    )
    repository.commit()
    said = repository.refusal("check-tag", "linnet-layers-v0.1.1")
    assert "0.1.1 is too small a step from linnet-layers-v0.1.0" in said
    assert "linnet.layers.Norm(epsilon) is gone" in said


def test_tag_of_a_commit_that_was_never_pushed_raises_an_error(repository, tmp_path):
    repository.git("clone", "--quiet", str(repository.root), str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    assert clone.release("check-tag", "linnet-core-v0.1.0") == "core\n"
    clone.git("tag", "--delete", "linnet-core-v0.1.0")
    (clone.root / "unseen").touch()
    clone.commit()
    said = clone.refusal("check-tag", "linnet-core-v0.1.0")
    assert "is not on any branch of the remote repository" in said


def test_clone_without_history_raises_an_error(repository, tmp_path):
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", repository.root.as_uri(), str(shallow))
    for command in (["plan"], ["bump", "core", "first"], ["check-tag", "linnet-core-v0.1.0"]):
        assert "does not have the whole history" in Repository(shallow).refusal(*command)


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_what_is_committed_of_each_package_could_be_released(package):
    artifacts.check_committed(package)


def test_build(repository):
    (repository.root / "packages/core/src/linnet/core/draft.py").write_text("not committed")
    said = repository.release("build", "core", "--into", "dist")
    wheel = repository.root / "dist/linnet_core-0.1.0-py3-none-any.whl"
    source = repository.root / "dist/linnet_core-0.1.0.tar.gz"
    assert sorted(wheel.parent.iterdir()) == [wheel, source]
    assert re.findall(r"^[0-9a-f]{64}  dist/(.+)$", said, re.MULTILINE) == [source.name, wheel.name]
    with zipfile.ZipFile(wheel) as archive:
        assert sorted(n for n in archive.namelist() if "dist-info" not in n) == [
            f"linnet/core/{name}" for name in ("__about__.py", "__init__.py", "py.typed")
        ]
    with tarfile.open(source) as archive:
        names = {name.removeprefix("linnet_core-0.1.0/") for name in archive.getnames()}
    assert {"tests/test_it.py", "LICENSE", "README.md", "CHANGELOG.md", "PKG-INFO"} <= names


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("src/linnet/other/__init__.py", "is outside src/linnet/core/"),
        ("src/linnet/core/tests/test_it.py", "is not part of what is installed"),
        ("src/linnet/core/notes.txt", "is not Python source"),
    ],
)
def test_stray_file_in_the_source_raises_an_error(repository, file, reason):
    path = repository.root / "packages/core" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("# stray\n")
    repository.commit()
    assert f"{file}: {reason}" in repository.refusal("build", "core")


def test_wheel_with_a_stray_file_raises_an_error(repository):
    with (repository.root / "packages/core/pyproject.toml").open("a") as file:
        file.write('[tool.hatch.build.targets.wheel.force-include]\n"tests" = "tests"\n')
    repository.commit()
    said = repository.refusal("build", "core")
    assert "linnet_core-0.1.0-py3-none-any.whl does not hold what it should" in said
    assert "tests/test_it.py: does not belong there" in said
    assert not (repository.root / "dist").exists()


def test_build_that_depends_on_its_surroundings_raises_an_error(repository):
    """Here, a file contains the folder in which it was built."""
    core = repository.root / "packages/core"
    (core / "hatch_build.py").write_text(
        "import os\n"
        "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\n"
        "class Hook(BuildHookInterface):\n"
        "    def initialize(self, version, build_data):\n"
        "        with open('src/linnet/core/__about__.py', 'a') as file:\n"
        "            file.write(f'# {os.getcwd()}\\n')\n"
    )
    with (core / "pyproject.toml").open("a") as file:
        file.write("[tool.hatch.build.hooks.custom]\n")
    repository.commit()
    said = repository.refusal("build", "core")
    assert "linnet_core-0.1.0.tar.gz has different bytes when it is built again" in said
    assert "linnet_core-0.1.0/src/linnet/core/__about__.py" in said
