"""`Sequential`, under the name of its module in Flax."""

from linnet.module_core.linen import Sequential

__all__ = ["Sequential"]
