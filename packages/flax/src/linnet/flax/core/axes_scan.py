"""The names of `flax.core.axes_scan`."""

from linnet.module_core.linen import broadcast as broadcast
from linnet.module_core.typing import ScanAxis as ScanAxis
