"""A required field after an optional one, in each kind of class that becomes a dataclass."""

import pytest

from linnet.module_core import linen, nnx


class LinenBase(linen.Module):
    a: int = 1


@nnx.dataclass
class NNXBase(nnx.Module):
    a: int = 1


class BridgeBase(nnx.bridge.Module):
    a: int = 1


def linen_child(kw_only=False):
    class Child(LinenBase, kw_only=kw_only):
        b: int

    return Child


def nnx_child(kw_only=False):
    @nnx.dataclass(kw_only=kw_only)
    class Child(NNXBase):
        b: int

    return Child


def bridge_child(kw_only=False):
    @nnx.dataclass(kw_only=True)
    class Base(nnx.bridge.Module):
        a: int = 1

    class Child(Base if kw_only else BridgeBase):
        b: int

    return Child


@pytest.mark.parametrize("make", [linen_child, nnx_child, bridge_child])
def test_the_error_says_what_to_write(make):
    with pytest.raises(TypeError, match="Child: non-default argument 'b'") as error:
        make()
    assert "Give b a default, or make the fields keyword-only" in str(error.value)
    assert "kw_only=True" in str(error.value)
    assert make(kw_only=True)(b=2).b == 2
