"""What tools/isolation.py says about an installation."""

from importlib.metadata import distributions

import pytest

import isolation


def install(folder, name, *requires):
    """Writes the metadata of a distribution without files, as if installed in `folder`."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n")


@pytest.fixture
def folder(tmp_path):
    install(tmp_path, "jax", "jaxlib>=1", "numpy", "SciPy>=1", "cuda; extra == 'cuda'")
    for name in ("jaxlib", "numpy", "scipy"):
        install(tmp_path, name)
    install(tmp_path, "linnet-struct", "jax>=0.6.2", "numpy", "msgpack; extra == 'msgpack'")
    return tmp_path


def present(folder):
    return {isolation.normalized(d.metadata["Name"]): d for d in distributions(path=[str(folder)])}


def test_what_jax_brings_is_welcome(folder):
    assert isolation.complaints("linnet-struct", present(folder)) == []
    assert isolation.closure("linnet-struct", present(folder)) == set(present(folder))


def test_strangers_are_named(folder):
    install(folder, "msgpack")  # an extra that wasn't requested
    (complaint,) = isolation.complaints("linnet-struct", present(folder))
    assert complaint.startswith(
        "msgpack: installed, although neither linnet-struct nor its requirements"
    )


def test_requirements_that_the_project_does_not_allow_itself(folder):
    install(folder, "rich")
    install(folder, "linnet-module-core", "linnet-struct>=0.1", "jax", "rich (>=13)")
    (complaint,) = isolation.complaints("linnet-module-core", present(folder))
    assert complaint.startswith("linnet-module-core requires rich.")


def test_keras_is_the_bridge_s_alone(folder):
    install(folder, "keras")
    install(folder, "linnet-keras-bridge", "linnet-struct", "keras>=3")
    assert isolation.complaints("linnet-keras-bridge", present(folder)) == []
    install(folder, "linnet-layers-norm", "linnet-keras-bridge", "keras>=3")
    (complaint,) = isolation.complaints("linnet-layers-norm", present(folder))
    assert complaint.startswith("linnet-layers-norm requires keras.")


def test_not_installed(folder):
    (complaint,) = isolation.complaints("linnet-initializers", present(folder))
    assert complaint.startswith("linnet-initializers is not installed for ")


def test_imports():
    assert isolation.import_complaints(["json", "email.message"]) != []  # Python's own
    (complaint,) = isolation.import_complaints(["json", "no_such_module"])
    assert "ModuleNotFoundError: No module named 'no_such_module'" in complaint
    assert "This happened on import of no_such_module." in complaint
