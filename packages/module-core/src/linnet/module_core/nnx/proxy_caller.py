"""Records attribute and item accesses before a call, and then applies them with the call."""

from .structure.calling import Caller
from .structure.calling import DelayedAccessor as DelayedAccessor
from .structure.calling import GetAttr as GetAttr
from .structure.calling import GetItem as GetItem

ApplyCaller = CallableProxy = Caller
