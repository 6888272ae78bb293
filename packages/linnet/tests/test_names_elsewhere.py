"""The error about a name from another library says what replaces it here."""

import re

import pytest

from linnet import linen, nnx
from linnet.linen._names_elsewhere import NAMES as FOR_LINEN
from linnet.nnx._names_elsewhere import NAMES as FOR_NNX


@pytest.mark.parametrize(
    ("module", "name", "hint"),
    [(m, *item) for m, names in [(linen, FOR_LINEN), (nnx, FOR_NNX)] for item in names.items()],
)
def test_the_error_says_what_to_write(module, name, hint):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    text = f"module {module.__name__!r} has no attribute {name!r}.\n  {hint}"
    assert str(caught.value) == text
    named = re.findall(r"\bnnx?\.(\w+)", hint)
    assert all(hasattr(module, ours) for ours in named)


def test_a_name_that_nobody_has_gets_no_hint():
    with pytest.raises(AttributeError, match="^module 'linnet.nnx' has no attribute 'Dens'$"):
        nnx.Dens
