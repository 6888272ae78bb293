"""What is built of every package: `hatch build` and `hatch version`, by the back end of both."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import workspace
from workspace import Package


def hatchling(package: Package, *arguments: str) -> str:
    command = [sys.executable, "-m", "hatchling", *arguments]
    return subprocess.run(
        command, cwd=package.folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("package", workspace.packages(), ids=lambda p: p.short_name)
def test_wheel_holds_the_package_and_nothing_of_its_siblings(
    package: Package, tmp_path: Path
) -> None:
    assert hatchling(package, "version").strip() == package.version
    hatchling(package, "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
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
    assert {f"linnet.{n.split('/')[1]}" for n in files} == set(package.import_names)
    assert f"\nVersion: {package.version}\n" in text
    assert "\nLicense-Expression: Apache-2.0\nLicense-File: LICENSE\n" in text
