"""`tabulate`: a model's layers and sizes as a table."""

from linnet.module_core.linen import tabulate

__all__ = ["tabulate"]
