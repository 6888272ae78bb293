"""`BatchApply`, under the name of its module in Flax."""

from linnet.module_core.linen import BatchApply

__all__ = ["BatchApply"]
