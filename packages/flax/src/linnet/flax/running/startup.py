"""Imported when Python starts with `LINNET_FLAX=1`, by a line in `linnet_flax.pth`."""

import os

from linnet.flax.running.hook import VARIABLE, install

OFF = ("", "0")

if os.environ.get(VARIABLE, "0") not in OFF:
    # Only this process reports, not those that it starts.
    install(report=os.environ.pop("LINNET_FLAX_REPORT", "0") not in OFF)
