"""Which modules an import loads, and which names are documented."""

import pytest

import linnet.layers_linear
from fixtures import run_afresh
from linnet.layers_linear import functional, linen, nnx


def test_every_public_function_and_class_is_documented_with_an_example():
    public = [
        value
        for package in (functional, linen, nnx)
        for name, value in vars(package).items()
        if callable(value)
        and not name.startswith(("_", "default_"))
        and name != "LoRAParam"  # a type of variable
        and name not in functional.activation.__all__  # documented by jax
    ]
    assert len(public) > 40
    for value in public:
        assert value.__doc__, value
        named_tuple = hasattr(value, "_fields")
        assert named_tuple or ">>>" in value.__doc__ or value is functional.check_rate, value


ABSENT = {
    "import linnet.layers_linear": ["functional", "linen", "nnx"],
    "from linnet.layers_linear import functional": ["linen", "nnx"],
    "from linnet.layers_linear import linen": ["nnx"],
    "from linnet.layers_linear import nnx": ["linen"],
}


def test_one_style_is_loaded_without_the_other():
    run_afresh(
        *(
            f"import sys\n{statement}\n"
            f"found = [n for n in {absent} if f'linnet.layers_linear.{{n}}' in sys.modules]\n"
            "assert not found, found"
            for statement, absent in ABSENT.items()
        )
    )


def test_unknown_names_raise_an_error():
    with pytest.raises(AttributeError, match="no attribute 'fnctional'"):
        linnet.layers_linear.fnctional
    assert set(dir(linnet.layers_linear)) == {"__version__", "functional", "linen", "nnx"}
