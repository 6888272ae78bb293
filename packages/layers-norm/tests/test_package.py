"""The modules that an import loads, and docstrings."""

import pytest

import linnet.layers_norm
from fixtures import run_afresh
from linnet.layers_norm import functional, linen, nnx


def test_every_public_function_and_class_is_documented_with_an_example():
    public = [
        value
        for package in (functional, linen, nnx)
        for name, value in vars(package).items()
        if callable(value) and not name.startswith(("_", "default_"))
    ]
    assert len(public) > 15
    for value in public:
        assert value.__doc__, value
        named_tuple = hasattr(value, "_fields")
        assert named_tuple or ">>>" in value.__doc__, value


ABSENT = {
    "import linnet.layers_norm": ["functional", "linen", "nnx"],
    "from linnet.layers_norm import functional": ["linen", "nnx"],
    "from linnet.layers_norm import linen": ["nnx"],
    "from linnet.layers_norm import nnx": ["linen"],
}


def test_one_style_is_loaded_without_the_other():
    run_afresh(
        *(
            f"import sys\n{statement}\n"
            f"found = [n for n in {absent} if f'linnet.layers_norm.{{n}}' in sys.modules]\n"
            "assert not found, found"
            for statement, absent in ABSENT.items()
        )
    )


def test_unknown_names_raise_an_error():
    with pytest.raises(AttributeError, match="no attribute 'fnctional'"):
        linnet.layers_norm.fnctional
    assert set(dir(linnet.layers_norm)) == {"__version__", "functional", "linen", "nnx"}
