"""`scan` along any axes; see `linnet.module_core.functional.axes_scan`."""

from linnet.module_core.functional.axes_scan import broadcast as broadcast
from linnet.module_core.functional.axes_scan import scan as scan
