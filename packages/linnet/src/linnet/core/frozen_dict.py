"""Frozen dictionaries; see `linnet.struct`."""

from linnet.struct import FrozenDict as FrozenDict
from linnet.struct import copy as copy
from linnet.struct import freeze as freeze
from linnet.struct import pop as pop
from linnet.struct import pretty_repr as pretty_repr
from linnet.struct import unfreeze as unfreeze
