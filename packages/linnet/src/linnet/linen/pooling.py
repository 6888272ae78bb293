"""Reductions over windows."""

from linnet.layers_linear.linen import avg_pool, max_pool, min_pool, pool

__all__ = ["avg_pool", "max_pool", "min_pool", "pool"]
