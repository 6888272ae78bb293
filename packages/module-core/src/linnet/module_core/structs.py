"""Recognizes dataclasses of `linnet.struct`, for code that inspects values."""

from __future__ import annotations


def is_struct(value: object) -> bool:
    """Whether `value` is an instance of a `linnet.struct` dataclass."""
    return getattr(type(value), "_linnet_dataclass", False) is True
