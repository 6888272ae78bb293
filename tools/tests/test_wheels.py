"""The files that are built for every package; each build gives the same bytes."""

import shutil
import subprocess
import time
import zipfile

import pytest

import wheelhouse
import workspace
from workspace import Package

STRUCT = workspace.find("struct")
LINEAR = workspace.find("layers-linear")


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_wheel_holds_the_package_and_nothing_of_its_siblings(package, tmp_path):
    (wheel,) = wheelhouse.build([package], tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        files = {n for n in archive.namelist() if ".dist-info/" not in n}
        (metadata,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        text = archive.read(metadata).decode()
        (license_file,) = (n for n in archive.namelist() if n.endswith("/licenses/LICENSE"))
        assert archive.read(license_file) == (workspace.ROOT / "LICENSE").read_bytes()
    assert wheel.name.startswith(f"{package.name.replace('-', '_')}-{package.version}-")
    assert files == {
        p.relative_to(package.source).as_posix()
        for p in package.source.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    packages = {n for n in files if not n.endswith(".pth")}
    assert {f"linnet.{n.split('/')[1]}" for n in packages} == set(package.import_names)
    assert f"\nVersion: {package.version}\n" in text
    assert "\nLicense-Expression: Apache-2.0\nLicense-File: LICENSE\n" in text


def test_wheels_are_small():
    """At most half a megabyte for struct and initializers, and three for all, without jax."""

    def size(*packages):
        files = (f for p in packages for f in p.source.rglob("*") if "__pycache__" not in f.parts)
        return sum(f.stat().st_size for f in files if f.is_file())

    assert size(STRUCT, workspace.find("initializers")) < 0.5e6
    assert size(*workspace.packages()) < 3e6


def test_the_same_bytes_at_another_time_and_place(tmp_path):
    first = wheelhouse.build([STRUCT], tmp_path / "first", sdist=True)
    copy = tmp_path / "repository" / "struct"
    shutil.copytree(STRUCT.folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file in copy.rglob("*"):
        file.touch()  # newer than the files here
    (copy.parent / ".git").mkdir()
    shutil.copy(workspace.ROOT / ".gitignore", copy.parent)
    time.sleep(1.1)  # archives store times in seconds, some in steps of two
    moved = Package(**{**vars(STRUCT), "folder": copy})
    second = wheelhouse.build([moved], tmp_path / "second", sdist=True)
    assert [f.name for f in first] == [f.name for f in second]
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


def test_an_existing_wheel_is_replaced_unless_only_missing_ones_are_built(tmp_path):
    (wheel,) = wheelhouse.build([STRUCT], tmp_path)
    built = wheel.read_bytes()
    wheel.write_bytes(b"of an earlier build")
    wheelhouse.main([str(tmp_path), "struct", "--missing"])
    assert wheel.read_bytes() == b"of an earlier build"
    # A folder that has a wheel but not its source distribution lacks something.
    wheelhouse.main([str(tmp_path), "struct", "--missing", "--sdist"])
    assert wheel.read_bytes() == built
    assert (tmp_path / f"linnet_struct-{STRUCT.version}.tar.gz").exists()


def test_what_cannot_be_built_is_named(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    broken = Package(**{**vars(STRUCT), "folder": tmp_path})
    with pytest.raises(RuntimeError, match=r"linnet-struct \S+ cannot be built: hatchling"):
        wheelhouse.build([broken], tmp_path)


def test_a_version_that_is_not_there_yet(tmp_path):
    wheel = wheelhouse.build_as(STRUCT, "0.99.0", tmp_path)
    assert wheel.name == "linnet_struct-0.99.0-py3-none-any.whl"
    assert STRUCT.version != "0.99.0"
    with zipfile.ZipFile(wheel) as archive:
        about = archive.read("linnet/struct/__about__.py").decode()
    assert '__version__ = "0.99.0"' in about


@pytest.fixture
def history(tmp_path, monkeypatch):
    """A repository in which struct was released at two versions that precede the tree's."""
    root = tmp_path / "repository"
    folder = root / "packages" / "struct"
    shutil.copytree(STRUCT.folder, folder, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    about = folder / "src/linnet/struct/__about__.py"

    def git(*arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=root, check=True, capture_output=True)

    git("init", "-q")
    for version in ("0.0.9", "0.1.0rc1"):
        about.write_text(f'__version__ = "{version}"\n')
        git("add", "-A")
        git("commit", "-qm", version)
        git("tag", f"linnet-struct-v{version}")
    git("tag", "linnet-struct-viewer")  # no version
    monkeypatch.setattr(workspace, "ROOT", root)
    return folder


def test_lowest_siblings_are_those_that_were_released(history, tmp_path):
    struct = Package(**{**vars(STRUCT), "folder": history})
    assert sorted(wheelhouse.released(struct)) == ["0.0.9", "0.1.0rc1"]
    # 0.1.0rc1 comes before 0.1, which the range begins with.
    assert wheelhouse.lowest_siblings(LINEAR)["linnet-struct"] == STRUCT.version
    wheel = wheelhouse.build_released(struct, "0.0.9", tmp_path / "wheels")
    assert wheel.name == "linnet_struct-0.0.9-py3-none-any.whl"


def test_ranges_that_admit_no_version(monkeypatch):
    impossible = {**LINEAR.siblings, "linnet-struct": "linnet-struct>=7,<8"}
    package = Package(**{**vars(LINEAR), "siblings": impossible})
    everything = [p if p != LINEAR else package for p in workspace.packages()]
    monkeypatch.setattr(workspace, "with_siblings", lambda chosen: [*everything[:5], package])
    with pytest.raises(RuntimeError, match=r"linnet-struct: none of .* is in all of the ranges"):
        wheelhouse.lowest_siblings(package)
