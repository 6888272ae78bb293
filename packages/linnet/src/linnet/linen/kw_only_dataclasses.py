"""Dataclasses with fields that are given by keyword alone: Python has them itself."""

from dataclasses import KW_ONLY, dataclass, field

__all__ = ["KW_ONLY", "dataclass", "field"]
