"""Dataclasses with keyword-only fields, which Python supports itself."""

from dataclasses import KW_ONLY, dataclass, field

__all__ = ["KW_ONLY", "dataclass", "field"]
